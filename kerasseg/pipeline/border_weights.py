"""Loss weights that make a network separate objects that almost touch (U-Net)."""

import functools
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from kerasseg import errors

_NEGLIGIBLE = 1e-7  # Added to a weight of 1 in float32, it hardly changes it.
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def border_weights(
    instances,
    labels=None,
    *,
    class_weights: Sequence[float] | np.ndarray | None = None,
    w0: float = 10.0,
    sigma: float = 5.0,
) -> np.ndarray:
    """Computes the weight of each pixel: larger where two objects are close.

    `w = w_c + w0 * exp(-(d1 + d2)**2 / (2 * sigma**2))`, where `d1` is the distance to
    the border of the nearest object and `d2` to that of the second nearest. The border
    of an object are its pixels with a neighbor, above, below, left or right, that does
    not belong to it; the edge of the image is not a border.

    Args:
        instances: Instance ids, `[height, width]`; 0 is no object.
        labels: Class indices, uint8 `[height, width]`; only needed for
            `class_weights`.
        class_weights: `w_c` of each class; None for 1. Other labels, such as the
            ignored one, have the weight 0.
        w0: Weight between two objects that touch; 10 in the paper.
        sigma: Scale of the distances, in pixels; about 5 in the paper.

    Returns:
        float32 `[height, width]`; only `w_c` if there are fewer than two objects.

    Raises:
        errors.UserError: The arrays have different sizes, or `w0` or `sigma` is out of
            range.

    Source: https://arxiv.org/abs/1505.04597, equation 2. The paper first draws a gap of
    background between objects that touch; here labels are not changed.
    """
    _check(w0, sigma)
    weights = _class_map(instances, labels, class_weights)
    reach = sigma * math.sqrt(2 * math.log(max(w0, 1.0) / _NEGLIGIBLE))
    nearest, second = _two_distances(instances, math.ceil(reach))
    near = np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return (weights + w0 * near).astype(np.float32)


def weight_map_fn(
    class_weights: Sequence[float] | np.ndarray | None, *, w0: float, sigma: float
) -> Callable | None:
    """Returns a function of instances and labels that computes their weights.

    See `border_weights` for the arguments.

    Returns:
        The function, or None if `w0` is 0.

    Raises:
        errors.UserError: `w0` or `sigma` is out of range.
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
            f"w0 must be at least 0 and sigma above 0, both finite; got {w0} and "
            f"{sigma}."
        )


def _class_map(instances, labels, class_weights):
    if class_weights is None:
        return np.ones(instances.shape)
    if labels is None or labels.shape != instances.shape:
        shape = None if labels is None else labels.shape
        raise errors.UserError(
            f"Class weights need labels of the size of the instances, "
            f"{instances.shape}, got {shape}."
        )
    table = np.zeros(256)
    table[: len(class_weights)] = class_weights
    return table[labels]


def _two_distances(instances, reach):
    """Returns the distances to the two nearest borders; infinite beyond `reach`."""
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
        inside = cv2.erode(mask, _CROSS)  # Does not erode from the edge of the image.
        if np.array_equal(inside, mask):
            continue  # It fills the image, and so has no border.
        no_border = np.uint8(1) - (mask - inside)
        distance = cv2.distanceTransform(no_border, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        before = nearest[window]
        second[window] = np.minimum(second[window], np.maximum(before, distance))
        nearest[window] = np.minimum(before, distance)
    return nearest, second
