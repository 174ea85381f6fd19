"""PASCAL-Person-Part (Chen et al., 2014): six parts of persons in VOC 2010.

Parts and splits are those published with DeepLab (Chen et al., 2016).
"""

from kerasseg import datasets

SPEC = datasets.DatasetSpec(
    source="http://liangchiehchen.com/projects/DeepLab.html",
    num_images={"train": 1716, "val": 1817},
    source_ignore=(255,),
    classes={
        "background": (0, 0, 0),
        "head": (128, 0, 0),
        "torso": (0, 128, 0),
        "upper arms": (128, 128, 0),
        "lower arms": (0, 0, 128),
        "upper legs": (128, 0, 128),
        "lower legs": (0, 128, 128),
    },
)
