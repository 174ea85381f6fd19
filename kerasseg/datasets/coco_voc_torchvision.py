"""Subset of COCO 2017 on which the networks of torchvision are trained, as `coco_voc`.

"train" consists of the images with more than 1,000 pixels of VOC's classes, summed over
the annotations. "val" has all images. All other classes are background.
"""

from kerasseg import datasets
from kerasseg.datasets import pascal_voc

SPEC = datasets.DatasetSpec(
    source="https://cocodataset.org",
    num_images={"train": 92518, "val": 5000},
    classes=pascal_voc.SPEC.classes,
)
