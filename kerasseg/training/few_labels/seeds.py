"""Seeds: labels of pixels from the class maps of an image classifier.

Sources: https://arxiv.org/abs/1512.04150 (CAM), section 3.2, for thresholds relative to
the maximum (20 % there); https://arxiv.org/abs/1210.5644 for the CRF that refines them.
"""

import numpy as np

from kerasseg import crf, errors
from kerasseg.datasets import IGNORE_LABEL


def seeds(
    logits: np.ndarray,
    tags: np.ndarray,
    *,
    threshold: float = 0.3,
    background_threshold: float | None = None,
) -> np.ndarray:
    """Returns labels of the classes that an image is known to show.

    The map of a class is its logits where they are above 0, divided by their maximum.

    Args:
        logits: Logits of one image, float `[height, width, classes]`, of a network
            that was trained with `semi=cam`. Those of class 0, the background, are not
            read.
        tags: Whether the image shows each class, bool `[classes]`; the tag of class 0
            is not read.
        threshold: Smallest value of a map where its class is the label, above 0 and at
            most 1.
        background_threshold: Where all maps are below it, the label is 0; from 0 to
            `threshold`, which is the default.

    Returns:
        uint8 `[height, width]`: the class with the highest map; 0, the background; or
        255 where no class is at least `threshold` and one is at least
        `background_threshold`, and where the maps of two classes are equally high.

    Raises:
        errors.UserError: Shapes or thresholds do not fit.
    """
    low = threshold if background_threshold is None else background_threshold
    _check(logits, tags, threshold, low)
    shown = np.flatnonzero(tags[1:]) + 1
    if not shown.size:
        return np.zeros(logits.shape[:2], np.uint8)
    maps = np.maximum(logits[..., shown].astype(np.float64), 0.0)
    highest = maps.max(axis=(0, 1))
    maps /= np.where(highest > 0, highest, 1.0)
    best = maps.max(axis=-1)
    label = shown[maps.argmax(axis=-1)].astype(np.uint8)
    is_tie = (maps == best[..., np.newaxis]).sum(axis=-1) > 1
    label[(best < threshold) | is_tie] = IGNORE_LABEL
    label[best < low] = 0
    return label


def refined(
    image: np.ndarray,
    label: np.ndarray,
    num_classes: int,
    *,
    confidence: float = 0.7,
    **settings,
) -> np.ndarray:
    """Refines seeds with the dense CRF, which aligns them with edges of the image.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        label: What `seeds` returned, uint8 `[height, width]`.
        num_classes: Number of classes.
        confidence: Probability of the label of a pixel; the other classes in `label`
            share the rest. At 255, all of them are equally probable.
        settings: Settings of the CRF, see `crf.dense_crf`.

    Returns:
        uint8 `[height, width]`: classes that occur in `label`, without 255. If there is
        at most one, `label` itself.

    Raises:
        errors.UserError: Arrays or settings are invalid.
    """
    present = np.setdiff1d(np.unique(label), IGNORE_LABEL)
    if present.size < 2:
        return label
    if present[-1] >= num_classes:
        raise errors.UserError(
            f"`label` contains class {present[-1]}, expected 0 to {num_classes - 1} "
            f"and {IGNORE_LABEL}. Check `num_classes={num_classes}`."
        )
    if not 1 / present.size < confidence < 1:
        raise errors.UserError(
            f"`confidence` must be above 1 / {present.size}, for {present.size} "
            f"classes, and below 1, got {confidence}."
        )
    one_hot = label[..., np.newaxis] == present
    others = (1 - confidence) / (present.size - 1)
    probabilities = np.where(one_hot, confidence, others)
    probabilities[label == IGNORE_LABEL] = 1 / present.size
    result = crf.dense_crf(image, probabilities, **settings)
    return present[result.argmax(axis=-1)].astype(np.uint8)


def _check(logits, tags, threshold, low):
    """Raises a UserError if the arguments of `seeds` do not fit."""
    if np.ndim(logits) != 3 or np.shape(tags) != np.shape(logits)[-1:]:
        raise errors.UserError(
            f"`logits` must have the shape [height, width, classes] and `tags` one "
            f"value for each class, got {np.shape(logits)} and {np.shape(tags)}."
        )
    if not 0 < threshold <= 1:
        raise errors.UserError(
            f"`threshold` must be above 0 and at most 1, got {threshold}."
        )
    if not 0 <= low <= threshold:
        raise errors.UserError(
            f"`background_threshold` must be from 0 to `threshold={threshold}`, got "
            f"{low}."
        )
