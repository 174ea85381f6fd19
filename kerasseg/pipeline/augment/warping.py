"""Crops cut out of image, label and instances, one warp each."""

import cv2
import numpy as np

from kerasseg.datasets import IGNORE_LABEL

PADDING_COLOR = (124, 116, 104)  # The rounded mean colour of ImageNet, RGB.


def bend(matrix, displacements, crop_size):
    """Makes a warp elastic: what the crop would show is moved before it is cut.

    Points in the middles of equal parts of the crop read as far from where they are as
    their displacements say, all others bicubically between them.

    Args:
        matrix: From crop to source, see `sample_matrix`.
        displacements: float32 `[rows, columns, 2]`: x and y, in pixels of the crop.
        crop_size: Height and width of the crop.

    Returns:
        For each pixel of the crop x and y in the source, float32 `[height, width]`.

    Source: https://arxiv.org/abs/1505.04597, section 3.1, which does not say where its
    3x3 points lie.
    """
    height, width = crop_size
    moved = cv2.resize(displacements, (width, height), interpolation=cv2.INTER_CUBIC)
    x = moved[..., 0] + np.arange(width, dtype=np.float32)
    y = moved[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return tuple(a * x + b * y + c for a, b, c in matrix.tolist())


def warp(image, label, source, crop_size):
    """Cuts the crop out of image and label, one interpolation each.

    Args:
        image: uint8 `[height, width, 3]`, RGB.
        label: uint8 `[height, width]`, class numbers.
        source: What is read: a matrix from crop to source (`sample_matrix`), or the
            places that `bend` returns.
        crop_size: Height and width of the crop.

    Returns:
        uint8 image, bilinear, `PADDING_COLOR` outside of the source; and uint8 label,
        nearest neighbour, `IGNORE_LABEL` outside.
    """
    image = _cut(image, source, crop_size, cv2.INTER_LINEAR, PADDING_COLOR)
    return image, _cut(label, source, crop_size, cv2.INTER_NEAREST, IGNORE_LABEL)


def warp_instances(instances, source, crop_size):
    """Cuts the crop out of uint16 instance numbers, as `warp` does of a label.

    Outside of the source is no instance, 0.
    """
    return _cut(instances, source, crop_size, cv2.INTER_NEAREST, 0)


def _cut(pixels, source, crop_size, interpolation, outside):
    if isinstance(source, tuple):
        x, y = source
        return cv2.remap(pixels, x, y, interpolation, borderValue=outside)
    flags = cv2.WARP_INVERSE_MAP | interpolation
    return cv2.warpAffine(
        pixels, source, crop_size[::-1], flags=flags, borderValue=outside
    )
