"""Subset of COCO 2017 for pretraining of DeepLab, with the 21 classes of PASCAL VOC.

"train" consists of the images with more than 1,000 pixels of VOC's classes, counted as
for the networks of torchvision; DeepLab v3 (Chen et al., 2017) has the same threshold.
"val" has all images. All other classes are background.
"""

from kerasseg import datasets
from kerasseg.datasets import pascal_voc

SPEC = datasets.DatasetSpec(
    source="https://cocodataset.org",
    num_images={"train": 92518, "val": 5000},
    classes=pascal_voc.SPEC.classes,
)
