"""NYU Depth V2 (Silberman et al., 2012): 480 x 640 indoor scenes, 40 classes.

The 894 categories of the labels are mapped to the 40 classes of Gupta et al. (2013).
"""

from kerasseg import datasets

SPEC = datasets.DatasetSpec(
    source="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    num_images={"train": 795, "test": 654},
    classes={
        "wall": (128, 0, 0),
        "floor": (0, 128, 0),
        "cabinet": (128, 128, 0),
        "bed": (0, 0, 128),
        "chair": (128, 0, 128),
        "sofa": (0, 128, 128),
        "table": (128, 128, 128),
        "door": (64, 0, 0),
        "window": (192, 0, 0),
        "bookshelf": (64, 128, 0),
        "picture": (192, 128, 0),
        "counter": (64, 0, 128),
        "blinds": (192, 0, 128),
        "desk": (64, 128, 128),
        "shelves": (192, 128, 128),
        "curtain": (0, 64, 0),
        "dresser": (128, 64, 0),
        "pillow": (0, 192, 0),
        "mirror": (128, 192, 0),
        "floor mat": (0, 64, 128),
        "clothes": (128, 64, 128),
        "ceiling": (0, 192, 128),
        "books": (128, 192, 128),
        "refrigerator": (64, 64, 0),
        "television": (192, 64, 0),
        "paper": (64, 192, 0),
        "towel": (192, 192, 0),
        "shower curtain": (64, 64, 128),
        "box": (192, 64, 128),
        "whiteboard": (64, 192, 128),
        "person": (192, 192, 128),
        "night stand": (0, 0, 64),
        "toilet": (128, 0, 64),
        "sink": (0, 128, 64),
        "lamp": (128, 128, 64),
        "bathtub": (0, 0, 192),
        "bag": (128, 0, 192),
        "otherstructure": (0, 128, 192),
        "otherfurniture": (128, 128, 192),
        "otherprop": (64, 0, 64),
    },
)
