"""What is to be seen of a picture: its errors, and where the network was unsure."""

import dataclasses
import functools

import cv2
import numpy as np

from kerasseg.datasets import IGNORE_LABEL
from kerasseg.report import encoding

WRONG = 214, 0, 92  # RGB: seen on any grey, by the colour-blind, too.
VOID = 150, 150, 150
_ROWS = 2**24  # Values of the probabilities at a time.
_SMALLEST = 1e-12  # Probability that counts, in the logarithm.


def cleaned(look, num_classes: int):
    """Replaces predictions that are no class, as masks may have at void pixels.

    Args:
        look: `evaluation.Sample`.
        num_classes: Classes are 0 to `num_classes - 1`.
    """
    known = look.prediction < num_classes
    prediction = np.where(known, look.prediction, IGNORE_LABEL).astype(np.uint8)
    return dataclasses.replace(look, prediction=prediction)


def errors(look, size: tuple[int, int]) -> np.ndarray:
    """Marks the wrong pixels over a faint picture; pixels that do not count are grey.

    Args:
        look: `evaluation.Sample`.
        size: Height and width of the result.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    void = look.label == IGNORE_LABEL
    wrong = (look.label != look.prediction) & ~void
    if look.image is None:
        grey = np.full(size, 255, np.uint8)
    else:
        grey = cv2.cvtColor(encoding.resized(look.image, size), cv2.COLOR_RGB2GRAY)
    base = np.repeat(170 + grey[..., None].astype(np.float32) / 3, 3, axis=-1)
    for marked, color in ((void, VOID), (wrong, WRONG)):
        share = encoding.resized(marked.view(np.uint8) * np.uint8(255), size)
        # Thin lines stay to be seen when they are shrunk.
        weight = np.minimum(share[..., None].astype(np.float32) * (1.5 / 255), 1)
        base += weight * (np.array(color, np.float32) - base)
    return base.astype(np.uint8)


def entropy(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shows how unsure the network was: dark where sure, bright where it wavered.

    Args:
        probabilities: float `[height, width, num_classes]`; read in parts.
        size: Height and width of the result, no larger.

    Returns:
        RGB, uint8 `[height, width, 3]`: the entropy as a share of the largest there
        can be, in the colours "inferno".
    """
    height, width, num_classes = probabilities.shape
    step = max(height // size[0], 1)
    rows = step * max(_ROWS // (step * width * num_classes), 1)
    parts = [
        _shrunk(_entropy(probabilities[start : start + rows]), step)
        for start in range(0, height, rows)
    ]
    found = encoding.resized(np.concatenate(parts), size)
    found = np.clip(255 * found / max(np.log(num_classes), _SMALLEST), 0, 255)
    return entropy_colors()[found.astype(np.uint8)]


@functools.cache
def entropy_colors() -> np.ndarray:
    """Returns the RGB of each of 256 levels, uint8 `[256, 3]`."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, ::-1]


def _entropy(probabilities):
    p = np.asarray(probabilities, np.float32)
    return -np.sum(p * np.log(np.maximum(p, _SMALLEST)), axis=-1)


def _shrunk(rows, step):
    """Takes the mean of squares of `step` pixels; of less at the lower, right ends."""
    height, width = -(-rows.shape[0] // step), -(-rows.shape[1] // step)
    return encoding.resized(rows, (height, width))
