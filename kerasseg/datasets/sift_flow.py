"""SIFT Flow (Liu et al., 2009): 256 x 256 outdoor scenes, 33 classes.

Three classes (cow, desert, moon) do not occur in "test".
"""

from kerasseg import datasets

SPEC = datasets.DatasetSpec(
    source="http://www.cs.unc.edu/~jtighe/Papers/ECCV10",
    num_images={"train": 2488, "test": 200},
    classes={
        "awning": (128, 0, 0),
        "balcony": (0, 128, 0),
        "bird": (128, 128, 0),
        "boat": (0, 0, 128),
        "bridge": (128, 0, 128),
        "building": (0, 128, 128),
        "bus": (128, 128, 128),
        "car": (64, 0, 0),
        "cow": (192, 0, 0),
        "crosswalk": (64, 128, 0),
        "desert": (192, 128, 0),
        "door": (64, 0, 128),
        "fence": (192, 0, 128),
        "field": (64, 128, 128),
        "grass": (192, 128, 128),
        "moon": (0, 64, 0),
        "mountain": (128, 64, 0),
        "person": (0, 192, 0),
        "plant": (128, 192, 0),
        "pole": (0, 64, 128),
        "river": (128, 64, 128),
        "road": (0, 192, 128),
        "rock": (128, 192, 128),
        "sand": (64, 64, 0),
        "sea": (192, 64, 0),
        "sidewalk": (64, 192, 0),
        "sign": (192, 192, 0),
        "sky": (64, 64, 128),
        "staircase": (192, 64, 128),
        "streetlight": (64, 192, 128),
        "sun": (192, 192, 128),
        "tree": (0, 0, 64),
        "window": (128, 0, 64),
    },
)
