"""SUN RGB-D (Song et al., 2015): indoor scenes of four depth cameras, 37 classes.

The classes are the first 37 of NYU Depth V2's 40.
"""

from kerasseg import datasets
from kerasseg.datasets import nyu_depth_v2

SPEC = datasets.DatasetSpec(
    source="https://rgbd.cs.princeton.edu",
    num_images={"train": 5285, "test": 5050},
    classes=dict(list(nyu_depth_v2.SPEC.classes.items())[:37]),
)
