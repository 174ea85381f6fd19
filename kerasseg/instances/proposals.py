"""Proposals: the best boxes of the region proposal network, without duplicates."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from kerasseg.instances import boxes as box_ops
from kerasseg.instances import gathering, nms

_INFINITY = float("inf")


class Proposals(NamedTuple):
    """Proposals of a batch, by descending score; they have no gradient.

    Attributes:
        boxes: float32 `[batch, count, 4]`, clipped to the image; 0 in padding.
        scores: float32 `[batch, count]`, logits; -inf in padding.
        valid: bool `[batch, count]`, False for padding.
    """

    boxes: Any
    scores: Any
    valid: Any


def propose(
    scores: Sequence,
    codes: Sequence,
    anchors: Sequence,
    image_size: Sequence,
    *,
    num_before: int,
    num_after: int,
    iou_threshold: float = 0.7,
    min_size: float = 1e-3,
) -> Proposals:
    """Selects proposals from the outputs of the region proposal network.

    Args:
        scores: Logits of each level, `[batch, n]`; n may be unknown.
        codes: Box codes of each level, `[batch, n, 4]`, see `boxes.encode`, with
            weights of 1.
        anchors: Anchors of each level, `[n, 4]`.
        image_size: Height and width in pixels, see `boxes.clip`.
        num_before: Best boxes of each level to which NMS is applied: 2000 in training
            and 1000 at test in the paper.
        num_after: Best boxes of all levels together that are returned, likewise.
        iou_threshold: Boxes of a level with a larger IoU are duplicates.
        min_size: Boxes with a shorter side in pixels are dropped.

    Returns:
        `num_after` proposals, or fewer where all levels together have fewer anchors.
        Boxes and scores that are not finite are dropped.

    Source: FPN (https://arxiv.org/abs/1612.03144), section 4.1 and 5.1.
    """
    best = [
        _best_of_level(*level, image_size, num_before, iou_threshold, min_size)
        for level in zip(scores, codes, anchors, strict=True)
    ]
    boxes, values = (
        ops.concatenate(parts, axis=1) for parts in zip(*best, strict=True)
    )
    values, indices = ops.top_k(values, min(num_after, values.shape[1]))
    valid = values > -_INFINITY
    boxes = gathering.rows(boxes, indices)
    boxes = ops.where(valid[..., None], boxes, 0.0)
    return Proposals(boxes, values, valid)


def _best_of_level(
    scores, codes, anchors, image_size, num_before, iou_threshold, min_size
):
    """Returns boxes `[batch, k, 4]` and scores, -inf for those that are dropped."""
    scores = ops.cast(ops.stop_gradient(scores), "float32")
    scores = ops.where(ops.isfinite(scores), scores, -_INFINITY)
    if scores.shape[1] is None:  # Then the level may have fewer anchors.
        scores = ops.pad(scores, [[0, 0], [0, num_before]], constant_values=-_INFINITY)
    count = min(num_before, scores.shape[1] or num_before)
    scores, indices = ops.top_k(scores, count)
    indices = ops.minimum(indices, ops.shape(codes)[1] - 1)
    codes = gathering.rows(ops.stop_gradient(codes), indices)
    boxes = box_ops.decode(
        codes, ops.take(anchors, indices, axis=0), box_ops.RPN_WEIGHTS
    )
    boxes = box_ops.clip(boxes, *image_size)
    finite = ops.all(ops.isfinite(boxes), axis=-1)
    boxes = ops.where(finite[..., None], boxes, 0.0)
    valid = ops.logical_and(scores > -_INFINITY, box_ops.are_at_least(boxes, min_size))
    kept = nms.suppress(boxes, valid, iou_threshold)
    return boxes, ops.where(kept, scores, -_INFINITY)
