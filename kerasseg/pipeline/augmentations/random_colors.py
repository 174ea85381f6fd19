"""The operations on colors of RandAugment."""

import math

import cv2
import numpy as np

from kerasseg.pipeline import augmentations

_GRAY = np.array([0.299, 0.587, 0.114])  # Weights of R, G and B.


@augmentations.register(source="https://arxiv.org/abs/1909.13719")
def random_colors(image, rng, *, num_operations: int = 2):
    """Applies operations that are drawn from a list, each at a drawn magnitude.

    The list is `OPERATIONS`. RandAugment also draws rotations, shears and shifts; here
    the geometry is that of the one warp of image and label. Its magnitude is a constant
    that is searched for; here it is drawn, as in https://arxiv.org/abs/2001.07685.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        rng: `numpy.random.Generator`.
        num_operations: Operations that are drawn, with replacement; 2 in the paper.

    Source: RandAugment, section 3 and figure 2. The ranges are those of its code.
    """
    for i in rng.integers(len(OPERATIONS), size=num_operations):
        image = OPERATIONS[i](image, rng.random())
    return image


def autocontrast(image, magnitude: float):
    """Stretches each channel to 0 to 255; there is no magnitude."""
    del magnitude
    rows = image.reshape(len(image), -1)
    low = rows.min(axis=0).reshape(-1, 3).min(axis=0).astype(float)
    high = rows.max(axis=0).reshape(-1, 3).max(axis=0)
    scale = np.where(low < high, 255 / np.maximum(high - low, 1), 1)
    return _scale(image, np.diag(scale), np.where(low < high, -scale * low, 0))


def equalize(image, magnitude: float):
    """Equalizes the histogram of each channel; there is no magnitude."""
    del magnitude
    channels = cv2.split(image)
    return cv2.merge([cv2.LUT(x, _equalized(x)) for x in channels])


def posterize(image, magnitude: float):
    """Keeps the highest 8 to 4 bits, for a magnitude in [0, 1)."""
    removed = int(5 * magnitude)
    return image & np.uint8(255 >> removed << removed)


def solarize(image, magnitude: float):
    """Inverts values from a threshold on, which is 256 times the magnitude."""
    below = math.ceil(256 * magnitude) - 1  # The largest value that is kept.
    _, inverted = cv2.threshold(image, below, 255, cv2.THRESH_BINARY)
    return image ^ inverted  # Where it is 255, 255 minus the value.


def brightness(image, magnitude: float):
    """Scales the values by 0.1 to 1.9."""
    return _scale(image, _factor(magnitude) * np.eye(3), 0)


def contrast(image, magnitude: float):
    """Scales the difference to the mean gray value by 0.1 to 1.9."""
    factor = _factor(magnitude)
    mean = np.rint(_GRAY @ cv2.mean(image)[:3])
    return _scale(image, factor * np.eye(3), (1 - factor) * mean)


def color(image, magnitude: float):
    """Scales the difference to the gray value of the pixel by 0.1 to 1.9."""
    factor = _factor(magnitude)
    return _scale(image, factor * np.eye(3) + (1 - factor) * _GRAY, 0)


def sharpness(image, magnitude: float):
    """Scales the difference to a smoothed image by 0.1 to 1.9."""
    # Of the 3x3 kernel that Pillow smooths with, the center has the weight 5 / 13 and
    # each neighbor 1 / 13: 9 / 13 of a mean of 3x3 pixels, and 4 / 13 of the center.
    mean_weight = (1 - _factor(magnitude)) * 9 / 13
    mean = cv2.blur(image, (3, 3))
    return cv2.addWeighted(image, 1 - mean_weight, mean, mean_weight, 0)


OPERATIONS = (
    *(autocontrast, equalize, posterize, solarize),
    *(brightness, contrast, color, sharpness),
)


def _factor(magnitude):
    return 0.1 + 1.8 * magnitude


def _scale(image, matrix, offset):
    """Returns `matrix @ rgb + offset` for each pixel, with one offset per channel."""
    offsets = np.broadcast_to(offset, 3)
    return cv2.transform(image, np.column_stack([matrix, offsets]))


def _equalized(channel):
    """Returns the table of Pillow's `ImageOps.equalize`, uint8 `[256]`."""
    counts = cv2.calcHist([channel], [0], None, [256], [0, 256]).ravel()
    counts = counts.astype(np.int64)
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return np.arange(256, dtype=np.uint8)
    table = (np.cumsum(counts) - counts + step // 2) // step
    return table.clip(0, 255).astype(np.uint8)
