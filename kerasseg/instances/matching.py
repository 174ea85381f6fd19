"""Matching of anchors and proposals to the ground truth.

The ground truth of an image is padded: `boxes` `[batch, n, 4]`, `classes` int32
`[batch, n]`, where 0 is padding, and `is_crowd` bool `[batch, n]`. Crowds never match.
A candidate that is not positive and has more than `CROWD_COVERAGE` of its area in one
crowd is ignored, since an object may well be there.
"""

from keras import ops

from kerasseg.instances import boxes as box_ops
from kerasseg.instances import gathering

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
CROWD_COVERAGE = 0.5  # Share of a candidate's area in one crowd.


def match_anchors(
    anchors,
    boxes,
    classes,
    is_crowd,
    *,
    positive_iou: float = 0.7,
    negative_iou: float = 0.3,
):
    """Matches anchors for the region proposal network.

    An anchor is positive if its IoU with an object is at least `positive_iou`, or is
    the largest of all anchors for an object that it overlaps. Other anchors are
    negative if all their IoUs are below `negative_iou`, and are ignored in between.

    Args:
        anchors: `[a, 4]`, the same for all images.
        boxes: Ground truth, see the module.
        classes: See the module.
        is_crowd: See the module.
        positive_iou: See above.
        negative_iou: See above.

    Returns:
        `(labels, matched)`, int32 `[batch, a]`: POSITIVE, NEGATIVE or IGNORED; and the
        index of the object with the largest IoU, which means something for positives
        only. A positive anchor that is the best of another object keeps the one that
        it overlaps most.

    Source: Faster R-CNN (https://arxiv.org/abs/1506.01497), section 3.1.2.
    """
    overlaps = _overlaps(anchors[None], boxes, _objects(classes, is_crowd))
    best, matched = ops.max(overlaps, axis=-1), ops.argmax(overlaps, axis=-1)
    best_of_object = ops.max(overlaps, axis=1, keepdims=True)
    is_best = ops.logical_and(overlaps > 0, overlaps >= best_of_object)
    positive = ops.logical_or(best >= positive_iou, ops.any(is_best, axis=-1))
    in_crowd = _lie_in_crowd(anchors[None], boxes, is_crowd)
    negative = ops.logical_and(best < negative_iou, ops.logical_not(in_crowd))
    labels = ops.where(positive, POSITIVE, ops.where(negative, NEGATIVE, IGNORED))
    return ops.cast(labels, "int32"), ops.cast(matched, "int32")


def match_proposals(proposals, boxes, classes, is_crowd, *, positive_iou: float = 0.5):
    """Matches proposals for the box and mask heads.

    Args:
        proposals: `[batch, p, 4]`.
        boxes: Ground truth, see the module.
        classes: See the module.
        is_crowd: See the module.
        positive_iou: Proposals with at least this IoU with an object have its class;
            others are background.

    Returns:
        `(labels, matched)`, int32 `[batch, p]`: the class, 0 for background or IGNORED;
        and the index of the object with the largest IoU, which means something for
        positives only.

    Source: Fast R-CNN (https://arxiv.org/abs/1504.08083), section 2.3.
    """
    overlaps = _overlaps(proposals, boxes, _objects(classes, is_crowd))
    best, matched = ops.max(overlaps, axis=-1), ops.argmax(overlaps, axis=-1)
    found = gathering.rows(ops.cast(classes, "int32"), matched)
    in_crowd = _lie_in_crowd(proposals, boxes, is_crowd)
    other = ops.where(in_crowd, IGNORED, NEGATIVE)
    labels = ops.where(best >= positive_iou, found, ops.cast(other, "int32"))
    return labels, ops.cast(matched, "int32")


def _objects(classes, is_crowd):
    """Returns which rows of the ground truth are single objects, `[batch, n]`."""
    return ops.logical_and(classes > 0, ops.logical_not(ops.cast(is_crowd, "bool")))


def _overlaps(candidates, boxes, usable):
    """Returns IoUs `[batch, candidates, n]`, 0 for rows that are not usable."""
    return ops.where(usable[:, None, :], box_ops.iou(candidates, boxes), 0.0)


def _lie_in_crowd(candidates, boxes, is_crowd):
    """Returns which candidates lie within a crowd, bool `[batch, candidates]`."""
    crowd = ops.cast(is_crowd, "bool")  # Also one of class 0, which is unknown.
    inside = box_ops.coverage(candidates, boxes) > CROWD_COVERAGE
    return ops.any(ops.logical_and(inside, crowd[:, None, :]), axis=-1)
