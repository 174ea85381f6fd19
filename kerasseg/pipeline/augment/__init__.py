"""Image and label together through one fused warp, then the image's colours."""

import cv2
import numpy as np

from kerasseg.pipeline.augment.drawing import (
    Augmentation,
    crop_matrix,
    resize_factor,
    sample_displacements,
    sample_matrix,
)
from kerasseg.pipeline.augment.warping import PADDING_COLOR, bend, warp, warp_instances

__all__ = [
    "PADDING_COLOR",
    "Augmentation",
    "augment",
    "bend",
    "change_colors",
    "crop_matrix",
    "resize_factor",
    "sample_displacements",
    "sample_matrix",
    "warp",
    "warp_instances",
]


def augment(image, label, augmentation: Augmentation, rng, instances=None):
    """Draws and applies one augmentation.

    Args:
        image: uint8 `[height, width, 3]`, RGB.
        label: uint8 `[height, width]`, class numbers.
        augmentation: What may happen.
        rng: `numpy.random.Generator`.
        instances: uint16 `[height, width]`, instance numbers, or None.

    Returns:
        uint8 image and label at `augmentation.crop_size`, and the instance numbers
        where some were given.
    """
    height, width = label.shape
    size = augmentation.crop_size
    source = sample_matrix(augmentation, height, width, rng)
    if augmentation.elastic_deformation:
        source = bend(source, sample_displacements(augmentation, rng), size)
    image, label = warp(image, label, source, size)
    image = change_colors(image, augmentation, rng)
    if instances is None:
        return image, label
    return image, label, warp_instances(instances, source, size)


def change_colors(image, augmentation: Augmentation, rng):
    """Changes brightness, contrast and saturation of a uint8 `[..., 3]` RGB image."""
    shift = 255 * augmentation.brightness * (2 * rng.random() - 1)
    contrast = 1 + augmentation.contrast * (2 * rng.random() - 1)
    saturation = 1 + augmentation.saturation * (2 * rng.random() - 1)
    if augmentation.brightness or augmentation.contrast:
        table = (np.arange(256) - 127.5) * contrast + 127.5 + shift
        image = cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8))
    if augmentation.saturation:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=-1)
        image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    return image
