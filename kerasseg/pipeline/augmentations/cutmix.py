"""CutMix: a box of another crop is pasted."""

import math

import numpy as np

from kerasseg.pipeline import augmentations


@augmentations.register(source="https://arxiv.org/abs/1905.04899", partners=1)
def cutmix(labels, rng):
    """Takes the pixels of a box, see `cut_box`, from the partner.

    Ignored pixels of the partner stay ignored.

    Args:
        labels: Two labels, uint8 `[height, width]`.
        rng: `numpy.random.Generator`.

    Source: CutMix, section 3.2; for segmentation https://arxiv.org/abs/1906.01916.
    """
    choice = np.zeros_like(labels[0])
    top, left, height, width = cut_box(len(choice), len(choice[0]), rng)
    choice[top : top + height, left : left + width] = 1
    return choice


def cut_box(
    height: int,
    width: int,
    rng,
    *,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
) -> tuple[int, int, int, int]:
    """Draws a box inside a crop.

    Args:
        height: Height of the crop in pixels.
        width: Width of the crop in pixels.
        rng: `numpy.random.Generator`; the number of draws is always the same.
        area: Bounds of the area, as a fraction of the crop, below 1. It is uniform.
        ratio: Bounds of the ratio of height to width, in units of the sides of the
            crop, so that it is that of pixels in a square one. It is uniform among
            those with which the box fits; 1 must be in between.

    Returns:
        Top, left, height and width in pixels, rounded, at least 1 pixel high and wide.

    Source: the released code of UniMatch, https://arxiv.org/abs/2208.09910, which draws
    ratio and place again until the box fits.
    """
    fraction = rng.uniform(*area)
    drawn = rng.uniform(max(ratio[0], fraction), min(ratio[1], 1 / fraction))
    box_height = max(1, round(height * math.sqrt(fraction * drawn)))
    box_width = max(1, round(width * math.sqrt(fraction / drawn)))
    top = int(rng.integers(height - box_height + 1))
    left = int(rng.integers(width - box_width + 1))
    return top, left, box_height, box_width
