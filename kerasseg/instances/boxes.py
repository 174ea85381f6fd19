"""Areas, overlaps and coding of boxes."""

import math
from collections.abc import Sequence

from keras import ops

# Weights of (dy, dx, dh, dw) in the heads of Mask R-CNN.
RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
ROI_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MAX_LOG_SCALE = math.log(1000 / 16)  # A box grows at most 62.5-fold in decoding.
_SMALLEST_SIDE = 1e-6  # Pixels. Keeps the codes of empty boxes finite.


def area(boxes):
    """Returns the areas, `[..., n]`, of boxes `[..., n, 4]`, in square pixels.

    A box whose corners are exchanged has the area 0.
    """
    y1, x1, y2, x2 = _coordinates(boxes)
    return ops.relu(y2 - y1) * ops.relu(x2 - x1)


def intersection(boxes, others):
    """Returns the areas that pairs of boxes share.

    Args:
        boxes: `[..., n, 4]`.
        others: `[..., m, 4]`, with leading dimensions that broadcast.

    Returns:
        `[..., n, m]`, in square pixels.
    """
    y1, x1, y2, x2 = (side[..., :, None] for side in _coordinates(boxes))
    top, left, bottom, right = (side[..., None, :] for side in _coordinates(others))
    height = ops.relu(ops.minimum(y2, bottom) - ops.maximum(y1, top))
    width = ops.relu(ops.minimum(x2, right) - ops.maximum(x1, left))
    return height * width


def iou(boxes, others):
    """Returns the intersection over union of pairs of boxes.

    Args:
        boxes: See `intersection`.
        others: See `intersection`.

    Returns:
        `[..., n, m]`, from 0 to 1; 0 where a box has no area.
    """
    shared = intersection(boxes, others)
    union = area(boxes)[..., :, None] + area(others)[..., None, :] - shared
    return _ratio(shared, union)


def coverage(boxes, others):
    """Returns the share of each box that lies within each of the others.

    It is the intersection over the area of the first, which replaces the IoU with
    crowds in the evaluation of COCO.

    Args:
        boxes: See `intersection`.
        others: See `intersection`.

    Returns:
        `[..., n, m]`, from 0 to 1; 0 for boxes without area.
    """
    return _ratio(intersection(boxes, others), area(boxes)[..., :, None])


def encode(boxes, references, weights: Sequence[float] = ROI_WEIGHTS):
    """Encodes boxes relative to references, as the targets of a regression.

    Args:
        boxes: Targets, `[..., 4]`.
        references: Anchors or proposals, `[..., 4]`.
        weights: Factors of (dy, dx, dh, dw).

    Returns:
        Codes (dy, dx, dh, dw), `[..., 4]`: the shift of the center in heights and
        widths of the reference, and the logarithms of the ratios of the sides. They
        are finite for empty boxes too.

    Source: R-CNN (https://arxiv.org/abs/1311.2524), appendix C.
    """
    y, x, height, width = _centers(boxes)
    y0, x0, height0, width0 = _centers(references)
    height, width, height0, width0 = (
        ops.maximum(side, _SMALLEST_SIDE) for side in (height, width, height0, width0)
    )
    codes = [
        (y - y0) / height0,
        (x - x0) / width0,
        ops.log(height / height0),
        ops.log(width / width0),
    ]
    return ops.stack(codes, axis=-1) * ops.array(weights, "float32")


def decode(codes, references, weights: Sequence[float] = ROI_WEIGHTS):
    """Inverts `encode`.

    Args:
        codes: (dy, dx, dh, dw), `[..., 4]`; dh and dw count at most as
            log(1000 / 16) after division by their weights, so that no box overflows.
        references: Anchors or proposals, `[..., 4]`.
        weights: Those of `encode`.

    Returns:
        Boxes, `[..., 4]`, not clipped to the image.
    """
    codes = ops.cast(codes, "float32") / ops.array(weights, "float32")
    y0, x0, height0, width0 = _centers(references)
    y = codes[..., 0] * height0 + y0
    x = codes[..., 1] * width0 + x0
    scales = ops.exp(ops.minimum(codes[..., 2:], MAX_LOG_SCALE))
    half_height, half_width = (
        0.5 * scales[..., 0] * height0,
        0.5 * scales[..., 1] * width0,
    )
    sides = [y - half_height, x - half_width, y + half_height, x + half_width]
    return ops.stack(sides, axis=-1)


def clip(boxes, height, width):
    """Clips boxes to the image.

    Args:
        boxes: `[..., n, 4]`.
        height: Height of the image in pixels: a number, a scalar tensor, or one for
            each image, `[batch]`.
        width: Its width, likewise.

    Returns:
        `[..., n, 4]`; boxes outside the image become empty.
    """
    height, width = (ops.cast(side, "float32") for side in (height, width))
    limits = ops.stack([height, width, height, width], axis=-1)
    boxes = ops.cast(boxes, "float32")
    return ops.minimum(ops.relu(boxes), ops.expand_dims(limits, -2))


def are_at_least(boxes, side: float):
    """Returns whether both sides of each box have at least this length, `[..., n]`."""
    y1, x1, y2, x2 = _coordinates(boxes)
    return ops.logical_and(y2 - y1 >= side, x2 - x1 >= side)


def _coordinates(boxes):
    """Splits boxes into y1, x1, y2 and x2."""
    boxes = ops.cast(boxes, "float32")
    return [boxes[..., i] for i in range(4)]


def _centers(boxes):
    """Returns the centers and sides of boxes: y, x, height, width."""
    y1, x1, y2, x2 = _coordinates(boxes)
    height, width = y2 - y1, x2 - x1
    return y1 + 0.5 * height, x1 + 0.5 * width, height, width


def _ratio(part, whole):
    """Divides, and returns 0 where there is nothing to divide by."""
    positive = whole > 0
    return ops.where(positive, part / ops.where(positive, whole, 1.0), 0.0)
