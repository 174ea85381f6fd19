"""Random choice of the anchors and RoIs that a training step learns from.

The random numbers are arguments, so that the caller's seed decides.
"""

from typing import Any, NamedTuple

from keras import ops

from kerasseg.instances import boxes as box_ops
from kerasseg.instances import gathering, matching, nms


class Sample(NamedTuple):
    """Candidates that were chosen; positives come first, then negatives, then padding.

    Attributes:
        indices: int32 `[batch, count]`; those of padding are valid indices too.
        is_positive: bool `[batch, count]`.
        valid: bool `[batch, count]`, False for padding.
    """

    indices: Any
    is_positive: Any
    valid: Any


class Rois(NamedTuple):
    """RoIs that were chosen; positives come first, then background, then padding.

    Attributes:
        boxes: float32 `[batch, count, 4]`.
        classes: int32 `[batch, count]`; 0 is background or padding.
        matched: int32 `[batch, count]`, index of the ground truth of positives.
        valid: bool `[batch, count]`, False for padding.
    """

    boxes: Any
    classes: Any
    matched: Any
    valid: Any


def sample(labels, random, count: int, positive_fraction: float) -> Sample:
    """Chooses candidates at random.

    Args:
        labels: `[batch, n]`: above 0 positive, 0 negative, below 0 ignored.
        random: Independent uniform numbers in [0, 1), `[batch, n]`.
        count: Number to choose, at most `n`.
        positive_fraction: At most this share of `count` is positive. Negatives fill up
            the rest, and if there are too few, the sample is padded.

    Returns:
        The sample. Its positives are among the first `max_positives(count,
        positive_fraction)`.
    """
    limit = max_positives(count, positive_fraction)
    positive, found = _choose(labels > 0, random, max(limit, 1))
    found = ops.logical_and(found, limit > 0)
    negative, found_negative = _choose(ops.equal(labels, 0), random, count)
    num_positives = ops.sum(ops.cast(found, "int32"), axis=1, keepdims=True)
    rank = ops.arange(count, dtype="int32")[None]
    found_negative = ops.logical_and(found_negative, rank < count - num_positives)
    order, valid = nms.first_true(
        ops.concatenate([found, found_negative], axis=1), count
    )
    candidates = ops.concatenate([positive, negative], axis=1)
    indices = gathering.rows(candidates, order)
    is_positive = ops.logical_and(valid, rank < num_positives)
    return Sample(indices, is_positive, valid)


def max_positives(count: int, positive_fraction: float) -> int:
    """Returns the largest number of positives of a sample, rounded down."""
    return int(count * positive_fraction)


def sample_rois(
    proposals,
    valid,
    boxes,
    classes,
    *,
    is_crowd,
    random,
    count: int = 512,
    positive_fraction: float = 0.25,
    positive_iou: float = 0.5,
) -> Rois:
    """Adds the objects to the proposals, matches and samples them.

    Args:
        proposals: `[batch, p, 4]`.
        valid: bool `[batch, p]`, which proposals are not padding.
        boxes: Ground truth `[batch, n, 4]`, see `matching`. Crowds, padding and empty
            boxes are not added.
        classes: int32 `[batch, n]`, 0 for padding.
        is_crowd: bool `[batch, n]`.
        random: Uniform numbers in [0, 1), `[batch, p + n]`.
        count: Number of RoIs, at most `p + n`.
        positive_fraction: See `sample`.
        positive_iou: See `matching.match_proposals`.

    Returns:
        The RoIs, without gradient.

    Source: Fast R-CNN (https://arxiv.org/abs/1504.08083), section 2.3.
    """
    boxes = ops.cast(boxes, "float32")
    objects = ops.logical_and(classes > 0, ops.logical_not(ops.cast(is_crowd, "bool")))
    objects = ops.logical_and(objects, box_ops.area(boxes) > 0)
    candidates = ops.stop_gradient(ops.concatenate([proposals, boxes], axis=1))
    usable = ops.concatenate([ops.cast(valid, "bool"), objects], axis=1)
    labels, matched = matching.match_proposals(
        candidates, boxes, classes, is_crowd, positive_iou=positive_iou
    )
    labels = ops.where(usable, labels, matching.IGNORED)
    chosen = sample(labels, random, count, positive_fraction)
    labels = gathering.rows(labels, chosen.indices)
    return Rois(
        gathering.rows(candidates, chosen.indices),
        ops.where(chosen.is_positive, labels, 0),
        gathering.rows(matched, chosen.indices),
        chosen.valid,
    )


def _choose(mask, random, count):
    """Returns the indices of `count` true elements at random, and which are true."""
    values, indices = ops.top_k(ops.where(mask, random, -1.0), count)
    return ops.cast(indices, "int32"), values >= 0
