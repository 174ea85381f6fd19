"""Weights that make a network keep objects apart that nearly touch (U-Net)."""

import functools
import math

import cv2
import numpy as np

from kerasseg import errors

_NEGLIGIBLE = 1e-7  # Of a weight of 1: what float32 cannot tell from nothing.
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def border_weights(
    instances, labels=None, *, class_weights=None, w0: float = 10.0, sigma: float = 5.0
) -> np.ndarray:
    """Weighs each pixel by its class, and more where two objects are near.

    `w = w_c + w0 * exp(-(d1 + d2)**2 / (2 * sigma**2))`, `d1` the distance to the
    border of the nearest object and `d2` to that of the second nearest. The border of
    an object is those of its pixels that have a neighbour, above, below or beside, of
    something else; the edge of the picture is none.

    Args:
        instances: Numbers of objects, `[height, width]`; 0 belongs to none.
        labels: Class numbers, uint8 `[height, width]`; only for `class_weights`.
        class_weights: `w_c` of each class; None for 1. Labels beyond have none.
        w0: Weight between two objects that touch; 10 in the paper.
        sigma: How far it reaches, in pixels; about 5 in the paper.

    Returns:
        float32 `[height, width]`; `w_c` alone where fewer than two objects are seen.

    Raises:
        ValueError: Maps of different sizes, or numbers that make no weights.

    Source: https://arxiv.org/abs/1505.04597, equation 2. The paper first draws a gap of
    background between objects that touch; labels are left as they are here.
    """
    _check(w0, sigma)
    weights = _class_map(instances, labels, class_weights)
    reach = sigma * math.sqrt(2 * math.log(max(w0, 1.0) / _NEGLIGIBLE))
    nearest, second = _two_distances(instances, math.ceil(reach))
    near = np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return (weights + w0 * near).astype(np.float32)


def weigher(class_weights, *, w0: float, sigma: float):
    """Returns a function of instances and labels to weights, None where `w0` is 0.

    See `border_weights`, also for what is raised, here already.
    """
    if not w0:
        return None
    _check(w0, sigma)
    return functools.partial(
        border_weights, class_weights=class_weights, w0=w0, sigma=sigma
    )


def _check(w0, sigma):
    if not (0 <= w0 < math.inf and 0 < sigma < math.inf):
        raise errors.UserError(
            f"w0 is at least 0 and sigma above 0, both finite; got {w0} and {sigma}."
        )


def _class_map(instances, labels, class_weights):
    if class_weights is None:
        return np.ones(instances.shape)
    if labels is None or labels.shape != instances.shape:
        shape = None if labels is None else labels.shape
        raise errors.UserError(
            f"Class weights need labels of the size of the instances, "
            f"{instances.shape}; got {shape}."
        )
    table = np.zeros(256)
    table[: len(class_weights)] = class_weights
    return table[labels]


def _two_distances(instances, reach):
    """Measures to the two nearest borders, those further than `reach` left infinite."""
    nearest = np.full(instances.shape, np.inf, np.float32)
    second = nearest.copy()
    for number in np.unique(instances):
        if number == 0:
            continue
        mask = (instances == number).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        window = (
            slice(max(top - reach, 0), top + height + reach),
            slice(max(left - reach, 0), left + width + reach),
        )
        mask = np.ascontiguousarray(mask[window])
        inside = cv2.erode(mask, _CROSS)  # The picture's edge takes nothing away.
        if np.array_equal(inside, mask):
            continue  # All of the picture: its border is not seen.
        elsewhere = np.uint8(1) - (mask - inside)
        found = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        before = nearest[window]
        second[window] = np.minimum(second[window], np.maximum(before, found))
        nearest[window] = np.minimum(before, found)
    return nearest, second
