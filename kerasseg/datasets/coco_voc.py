"""The part of COCO 2017 that DeepLab was pretrained on, in PASCAL VOC's 21 classes.

"train" are the pictures with more than 1,000 pixels of VOC's classes, as counted for
torchvision's networks; DeepLab v3 (Chen et al., 2017) asks for as many. "val" are all.
Everything else in them is background.
"""

from kerasseg import datasets
from kerasseg.datasets import pascal_voc

SPEC = datasets.DatasetSpec(
    source="https://cocodataset.org",
    num_images={"train": 92518, "val": 5000},
    classes=pascal_voc.SPEC.classes,
)
