"""Boxes: areas, overlaps, and the deltas that networks predict."""

import math
from collections.abc import Sequence

from keras import ops

# Largest logarithm of a predicted scale: boxes of untrained networks would overflow.
MAX_LOG_SCALE = math.log(1000 / 16)


def area(boxes):
    """Computes areas; those of inverted boxes are 0.

    Args:
        boxes: `[..., 4]`.

    Returns:
        Square pixels, `[...]`.
    """
    y1, x1, y2, x2 = ops.unstack(boxes, 4, axis=-1)
    return ops.maximum(y2 - y1, 0) * ops.maximum(x2 - x1, 0)


def intersection(a, b):
    """Computes the areas that pairs of boxes have in common.

    Args:
        a: `[..., n, 4]`.
        b: `[..., m, 4]`.

    Returns:
        Square pixels, `[..., n, m]`.
    """
    ay1, ax1, ay2, ax2 = (x[..., :, None] for x in ops.unstack(a, 4, axis=-1))
    by1, bx1, by2, bx2 = (x[..., None, :] for x in ops.unstack(b, 4, axis=-1))
    height = ops.minimum(ay2, by2) - ops.maximum(ay1, by1)
    width = ops.minimum(ax2, bx2) - ops.maximum(ax1, bx1)
    return ops.maximum(height, 0) * ops.maximum(width, 0)


def iou(a, b):
    """Computes the intersection over union of pairs of boxes.

    Args:
        a: `[..., n, 4]`.
        b: `[..., m, 4]`.

    Returns:
        From 0 to 1, `[..., n, m]`; 0 where a box is empty.
    """
    common = intersection(a, b)
    union = area(a)[..., :, None] + area(b)[..., None, :] - common
    return common / ops.where(union > 0, union, 1.0)


def coverage(a, b):
    """Computes which part of each box `a` lies in each box `b`.

    This takes the place of IoU for crowd regions, as in COCO's evaluation.

    Args:
        a: `[..., n, 4]`.
        b: `[..., m, 4]`.

    Returns:
        From 0 to 1, `[..., n, m]`; 0 where `a` is empty.
    """
    own = area(a)[..., :, None]
    return intersection(a, b) / ops.where(own > 0, own, 1.0)


def encode(boxes, anchors, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)):
    """Computes the deltas from anchors to boxes ([Girshick14] appendix C).

    Args:
        boxes: `[..., 4]`, with sides above 0; others give finite deltas.
        anchors: `[..., 4]`, with sides above 0.
        weights: Factors of the four deltas.

    Returns:
        Shift of the center in sides of the anchor, and logarithm of the scale: (dy, dx,
        dh, dw), `[..., 4]`.
    """
    y, x, height, width = _centers(boxes)
    ay, ax, aheight, awidth = _centers(anchors)
    deltas = (
        (y - ay) / aheight,
        (x - ax) / awidth,
        ops.log(height / aheight),
        ops.log(width / awidth),
    )
    return ops.stack([w * d for w, d in zip(weights, deltas, strict=True)], axis=-1)


def decode(deltas, anchors, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)):
    """Applies deltas to anchors; inverts `encode` up to a scale of 62.5.

    Args:
        deltas: `[..., 4]`.
        anchors: `[..., 4]`.
        weights: Factors of the four deltas.

    Returns:
        Boxes, `[..., 4]`.
    """
    parts = ops.unstack(deltas, 4, axis=-1)
    dy, dx, dh, dw = (d / w for d, w in zip(parts, weights, strict=True))
    ay, ax, aheight, awidth = _centers(anchors)
    y, x = ay + dy * aheight, ax + dx * awidth
    height = aheight * ops.exp(ops.minimum(dh, MAX_LOG_SCALE))
    width = awidth * ops.exp(ops.minimum(dw, MAX_LOG_SCALE))
    sides = y - height / 2, x - width / 2, y + height / 2, x + width / 2
    return ops.stack(sides, axis=-1)


def clip(boxes, height, width):
    """Clips boxes to an image.

    Args:
        boxes: `[..., 4]`.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    y1, x1, y2, x2 = ops.unstack(boxes, 4, axis=-1)
    height, width = ops.cast(height, boxes.dtype), ops.cast(width, boxes.dtype)

    def inside(value, largest):
        return ops.minimum(ops.maximum(value, 0), largest)

    sides = inside(y1, height), inside(x1, width), inside(y2, height), inside(x2, width)
    return ops.stack(sides, axis=-1)


def _centers(boxes):
    y1, x1, y2, x2 = ops.unstack(boxes, 4, axis=-1)
    height, width = ops.maximum(y2 - y1, 1e-6), ops.maximum(x2 - x1, 1e-6)
    return (y1 + y2) / 2, (x1 + x2) / 2, height, width
