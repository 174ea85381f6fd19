"""Shapes: a synthetic data set, to try all commands without a download.

`tfrecords_tools.converters.shapes` draws the images, of 240 x 320 pixels. They are the
same for the same seed.
"""

from kerasseg import datasets

SPEC = datasets.DatasetSpec(
    source="tfrecords_tools.shapes",  # Stored in dataset.json; never change it.
    num_images={"train": 400, "val": 100},
    source_ignore=(255,),
    classes={
        "ground": (0, 0, 0),
        "circle": (228, 26, 28),
        "square": (55, 126, 184),
        "triangle": (77, 175, 74),
        "star": (255, 205, 40),
        "ring": (152, 78, 163),
    },
)
