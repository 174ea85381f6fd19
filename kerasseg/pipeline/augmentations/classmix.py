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
    pixels = label.ravel()
    end = pixels.size // 8 * 8
    # Runs of a class are passed over, 8 pixels at a time: faster than a histogram.
    words = pixels[:end].view(np.uint64)
    starts = words[1:][words[1:] != words[:-1]]
    kept = np.concatenate([words[:1], starts]).view(np.uint8)
    counts = np.bincount(np.concatenate([kept, pixels[end:]]), minlength=256)
    return np.flatnonzero(counts[:IGNORE_LABEL])


def pixels_of(label, classes) -> np.ndarray:
    """Returns where a label has one of some classes, uint8 0 or 1."""
    table = np.zeros(256, np.uint8)
    table[classes] = 1
    return cv2.LUT(label, table)
