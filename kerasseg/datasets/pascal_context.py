"""PASCAL-Context (Mottaghi et al., 2014): VOC 2010 with full scene labels, 59 classes.

Pixels of other than the 59 most frequent classes are ignored; in `pascal_context_60`
they are background. The order is that of FCN's classes-59.txt: the 20 classes of VOC,
then the others.
"""

from kerasseg import datasets
from kerasseg.datasets import pascal_voc

_OBJECTS = {k: v for k, v in pascal_voc.SPEC.classes.items() if k != "background"}

SPEC = datasets.DatasetSpec(
    source="https://cs.stanford.edu/~roozbeh/pascal-context",
    num_images={"train": 4998, "val": 5105},
    classes={
        **_OBJECTS,
        "bag": (128, 64, 128),
        "bed": (0, 192, 128),
        "bench": (128, 192, 128),
        "book": (64, 64, 0),
        "building": (192, 64, 0),
        "cabinet": (64, 192, 0),
        "ceiling": (192, 192, 0),
        "clothes": (64, 64, 128),
        "computer": (192, 64, 128),
        "cup": (64, 192, 128),
        "door": (192, 192, 128),
        "fence": (0, 0, 64),
        "floor": (128, 0, 64),
        "flower": (0, 128, 64),
        "food": (128, 128, 64),
        "grass": (0, 0, 192),
        "ground": (128, 0, 192),
        "keyboard": (0, 128, 192),
        "light": (128, 128, 192),
        "mountain": (64, 0, 64),
        "mouse": (192, 0, 64),
        "curtain": (64, 128, 64),
        "platform": (192, 128, 64),
        "sign": (64, 0, 192),
        "plate": (192, 0, 192),
        "road": (64, 128, 192),
        "rock": (192, 128, 192),
        "shelves": (0, 64, 64),
        "sidewalk": (128, 64, 64),
        "sky": (0, 192, 64),
        "snow": (128, 192, 64),
        "bedclothes": (0, 64, 192),
        "track": (128, 64, 192),
        "tree": (0, 192, 192),
        "truck": (128, 192, 192),
        "wall": (64, 64, 64),
        "water": (192, 64, 64),
        "window": (64, 192, 64),
        "wood": (192, 192, 64),
    },
)
