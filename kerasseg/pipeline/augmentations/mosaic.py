"""Mosaic: four crops, each in one quadrant."""

import numpy as np

from kerasseg.pipeline import augmentations


@augmentations.register(source="https://arxiv.org/abs/2004.10934", partners=3)
def mosaic(labels, rng, *, margin: float = 0.25):
    """Divides the crop at a point, and takes each part from another crop.

    A part shows what its crop has at this place. Which crop is in which part is drawn.
    Ignored pixels stay ignored.

    Args:
        labels: Four labels, uint8 `[height, width]`.
        rng: `numpy.random.Generator`.
        margin: Smallest distance of the point from the edges, as a fraction of the
            sides; 0.25 in the code of YOLOv5.

    Source: YOLOv4, section 3.3 and figure 3.
    """
    height, width = labels[0].shape
    y, x = np.rint(rng.uniform(margin, 1 - margin, 2) * (height, width)).astype(int)
    choice = np.empty((height, width), np.uint8)
    parts = [choice[:y, :x], choice[:y, x:], choice[y:, :x], choice[y:, x:]]
    for part, index in zip(parts, rng.permutation(4), strict=True):
        part[:] = index
    return choice
