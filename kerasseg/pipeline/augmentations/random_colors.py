"""The operations on colors of RandAugment."""

import cv2
import numpy as np

from kerasseg.pipeline import augmentations

_VALUES = np.arange(256)
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
    tables = [_stretched(counts) for counts in _histograms(image)]
    return _look_up(image, np.stack(tables, axis=-1))


def equalize(image, magnitude: float):
    """Equalizes the histogram of each channel; there is no magnitude."""
    del magnitude
    tables = [_equalized(counts) for counts in _histograms(image)]
    return _look_up(image, np.stack(tables, axis=-1))


def posterize(image, magnitude: float):
    """Keeps the highest 8 to 4 bits, for a magnitude in [0, 1)."""
    removed = int(5 * magnitude)
    return _look_up(image, _VALUES >> removed << removed)


def solarize(image, magnitude: float):
    """Inverts values from a threshold on, which is 256 times the magnitude."""
    return _look_up(image, np.where(256 * magnitude > _VALUES, _VALUES, 255 - _VALUES))


def brightness(image, magnitude: float):
    """Scales the values by 0.1 to 1.9."""
    return _look_up(image, _factor(magnitude) * _VALUES)


def contrast(image, magnitude: float):
    """Scales the difference to the mean gray value by 0.1 to 1.9."""
    mean = np.rint(_GRAY @ cv2.mean(image)[:3])
    return _look_up(image, mean + _factor(magnitude) * (_VALUES - mean))


def color(image, magnitude: float):
    """Scales the difference to the gray value of the pixel by 0.1 to 1.9."""
    factor = _factor(magnitude)
    gray = np.outer(np.ones(3), _GRAY)
    return cv2.transform(image, factor * np.eye(3) + (1 - factor) * gray)


def sharpness(image, magnitude: float):
    """Scales the difference to a smoothed image by 0.1 to 1.9."""
    factor = _factor(magnitude)
    smooth = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    unit = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    return cv2.filter2D(image, -1, factor * unit + (1 - factor) * smooth)


OPERATIONS = (
    *(autocontrast, equalize, posterize, solarize),
    *(brightness, contrast, color, sharpness),
)


def _factor(magnitude):
    return 0.1 + 1.8 * magnitude


def _histograms(image):
    """Returns the number of pixels of each value, for each channel."""
    return [
        cv2.calcHist([image], [i], None, [256], [0, 256]).ravel().astype(np.int64)
        for i in range(3)
    ]


def _stretched(counts):
    occurring = np.flatnonzero(counts)
    low, high = occurring[0], occurring[-1]
    return (_VALUES - low) * (255 / (high - low)) if low < high else _VALUES


def _equalized(counts):
    """Returns the table of Pillow's `ImageOps.equalize`."""
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return _VALUES
    return (np.cumsum(counts) - counts + step // 2) // step


def _look_up(image, table):
    """Replaces each value, by one table `[256]` or one for each channel `[256, 3]`."""
    table = np.rint(table).clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None] if table.ndim == 2 else table)
