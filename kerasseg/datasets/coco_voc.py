"""Subset of COCO 2017 for pretraining of DeepLab, with the 21 classes of PASCAL VOC.

"train" is selected as in DeepLab v3 (Chen et al., 2017, section 4): the images with an
annotated region of more than 1,000 pixels of one of VOC's classes. train2017 is the
paper's set "trainval minus minival", and val2017 is minival. "val" has all images. All
other classes are background. See `coco_voc_torchvision` for the larger selection of
torchvision.
"""

from kerasseg import datasets
from kerasseg.datasets import pascal_voc

SPEC = datasets.DatasetSpec(
    source="https://cocodataset.org",
    # The paper states "about 60K" images of "train", and lists none.
    num_images={"train": 60000, "val": 5000},
    classes=pascal_voc.SPEC.classes,
)
