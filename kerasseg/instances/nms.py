"""Non-maximum suppression (NMS), exact and with static sizes."""

from keras import ops

from kerasseg.instances import boxes as box_ops


def suppress(boxes, valid, iou_threshold: float, classes=None):
    """Marks the boxes that greedy NMS keeps.

    The boxes are visited in their order, and each is kept unless its IoU with one that
    is already kept exceeds the threshold. It is computed for all boxes at once: a box
    is kept if no kept box before it suppresses it, which is repeated until nothing
    changes. The first `t` boxes are final after `t` rounds, so the result is that of
    the greedy loop, usually after a few rounds.

    Args:
        boxes: `[batch, n, 4]`, by descending score. Memory grows with `n ** 2`.
        valid: bool `[batch, n]`; other boxes are neither kept nor suppress any.
        iou_threshold: Boxes with a larger IoU are duplicates.
        classes: Boxes of different classes are no duplicates: int32 `[batch, n]`, or
            None if all are of one class.

    Returns:
        bool `[batch, n]`.
    """
    boxes, valid = ops.stop_gradient(boxes), ops.cast(valid, "bool")
    duplicate = box_ops.iou(boxes, boxes) > iou_threshold
    if classes is not None:
        same = ops.equal(classes[..., :, None], classes[..., None, :])
        duplicate = ops.logical_and(duplicate, same)
    order = ops.arange(boxes.shape[1], dtype="int32")
    before = order[None, :] < order[:, None]  # Column before row.
    # Counting suppressors is a product of matrices, faster than a reduction of bools.
    matrix = ops.cast(ops.logical_and(duplicate, before), "float32")

    def has_changed(_, changed):
        return changed

    def repeat(kept, _):
        count = ops.matmul(matrix, ops.cast(kept, "float32")[..., None])[..., 0]
        updated = ops.logical_and(valid, count < 0.5)
        return updated, ops.any(ops.not_equal(updated, kept))

    changed = ops.convert_to_tensor(True)
    return ops.while_loop(has_changed, repeat, (valid, changed))[0]


def nms(boxes, valid, num_outputs: int, iou_threshold: float, classes=None):
    """Returns the indices of the boxes that greedy NMS keeps.

    Args:
        boxes: See `suppress`.
        valid: See `suppress`.
        num_outputs: Boxes to return, at most `n`.
        iou_threshold: See `suppress`.
        classes: See `suppress`.

    Returns:
        `(indices, valid)`: int32 and bool `[batch, num_outputs]`. The first boxes that
        are kept, in their order; the rest is padding with valid indices.
    """
    kept = suppress(boxes, valid, iou_threshold, classes)
    return first_true(kept, num_outputs)


def first_true(mask, num_outputs: int):
    """Returns the indices of the first true elements along the last axis.

    Args:
        mask: bool `[batch, n]`.
        num_outputs: Number of indices, at most `n`.

    Returns:
        `(indices, valid)`: int32 and bool `[batch, num_outputs]`. Indices of false
        elements follow where there are too few; they are not valid.
    """
    size = mask.shape[1]
    keys = ops.where(mask, size, 0) - ops.arange(size, dtype="int32")
    values, indices = ops.top_k(keys, num_outputs)
    return ops.cast(indices, "int32"), values > 0
