"""ClassMix: half of the classes of another crop are pasted."""

import cv2
import numpy as np

from kerasseg.datasets import IGNORE_LABEL
from kerasseg.pipeline import augmentations


@augmentations.register(source="https://arxiv.org/abs/2007.07936", partners=1)
def classmix(labels, rng):
    """Takes all pixels of half of the classes of the partner from it.

    An odd number of classes is rounded down, as in the released code. Ignored pixels
    of the partner are not taken.

    Args:
        labels: Two labels, uint8 `[height, width]`.
        rng: `numpy.random.Generator`.

    Source: ClassMix, section 3.2.
    """
    classes = classes_in(labels[1])
    return pixels_of(labels[1], rng.permutation(classes)[: len(classes) // 2])


def classes_in(label) -> np.ndarray:
    """Returns the classes that occur, without the ignored label, in ascending order."""
    counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel()
    counts[IGNORE_LABEL] = 0
    return np.flatnonzero(counts)


def pixels_of(label, classes) -> np.ndarray:
    """Returns where a label has one of some classes, uint8 0 or 1."""
    table = np.zeros(256, np.uint8)
    table[classes] = 1
    return cv2.LUT(label, table)
