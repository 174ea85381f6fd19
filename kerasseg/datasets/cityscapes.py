"""Cityscapes (Cordts et al., 2016): 1024 x 2048 street scenes of 50 cities, 19 classes.

Class numbers are the "train ids" of the authors' scripts. "train_coarse" consists of
"train" and "train_extra" with coarse labels. The labels of the 1,525 images of "
""test" are
not public.
"""

from kerasseg import datasets

SPEC = datasets.DatasetSpec(
    source="https://www.cityscapes-dataset.com",
    num_images={"train": 2975, "val": 500, "trainval": 3475, "train_coarse": 22973},
    classes={
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    },
)
