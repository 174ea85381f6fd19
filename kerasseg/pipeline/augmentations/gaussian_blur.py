"""Gaussian blur."""

import math

import cv2

from kerasseg.pipeline import augmentations


@augmentations.register(source="https://arxiv.org/abs/2002.05709")
def gaussian_blur(image, rng, *, min_sigma: float = 0.1, max_sigma: float = 2.0):
    """Blurs the image.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        rng: `numpy.random.Generator`.
        min_sigma: Smallest standard deviation in pixels.
        max_sigma: Largest standard deviation in pixels.

    Source: SimCLR, appendix A. The kernel ends at two standard deviations.
    """
    sigma = rng.uniform(min_sigma, max_sigma)
    size = 2 * math.ceil(2 * sigma) + 1
    return cv2.GaussianBlur(image, (size, size), sigma)
