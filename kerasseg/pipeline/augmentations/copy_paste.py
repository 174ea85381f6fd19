"""Copy-paste of a rare class of another crop."""

import numpy as np

from kerasseg.pipeline import augmentations
from kerasseg.pipeline.augmentations import classmix


@augmentations.register(
    source="https://arxiv.org/abs/2012.07177", partners=1, needs_frequencies=True
)
def copy_paste(labels, rng, frequencies):
    """Takes all pixels of one class of the partner from it.

    The class is drawn from those that occur, with a probability proportional to the
    inverse of its frequency in the training split. Ignored pixels are not taken.

    Args:
        labels: Two labels, uint8 `[height, width]`.
        rng: `numpy.random.Generator`.
        frequencies: Fraction of the labeled pixels of each class, `[num_classes]`.

    Source: Copy-Paste, section 3, which pastes instances that are scaled on their own;
    the partner has its own scale, too. Rare classes are preferred as in
    https://arxiv.org/abs/2111.14887, section 3.2, by another formula.
    """
    classes = classmix.classes_in(labels[1])
    if not len(classes):
        return np.zeros_like(labels[0])
    weights = 1 / np.maximum(frequencies[classes], 1e-9)
    pasted = rng.choice(classes, p=weights / weights.sum())
    return (labels[1] == pasted).view(np.uint8)
