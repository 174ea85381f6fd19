"""Which ground-truth object an anchor or region is trained on."""

from typing import Any, NamedTuple

from keras import ops

from kerasseg.instances import boxes as geometry

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
_IN_CROWD = 0.5  # Part of a box inside of a crowd region from which it is ignored.


class Matches(NamedTuple):
    """Matches of candidate boxes with the objects of an image.

    Attributes:
        kind: POSITIVE, NEGATIVE or IGNORED, int32 `[batch, candidates]`.
        index: Number of the object with the largest IoU, int32 `[batch, candidates]`;
            meaningless for candidates that are not positive.
    """

    kind: Any
    index: Any


def match(
    candidates,
    boxes,
    classes,
    is_crowd,
    *,
    positive: float,
    negative: float,
    with_best: bool,
) -> Matches:
    """Matches candidates with objects by IoU ([Ren15] section 3.1.2).

    A candidate of which more than half lies in a crowd region is ignored, unless it is
    positive for an object.

    Args:
        candidates: `[batch, candidates, 4]` or `[candidates, 4]`.
        boxes: Boxes of the objects, `[batch, objects, 4]`.
        classes: Classes, int32 `[batch, objects]`; 0 is padding.
        is_crowd: Whether an object is a crowd region, bool `[batch, objects]`.
        positive: Smallest IoU of a positive candidate; 0.7 for anchors, 0.5 for
            regions.
        negative: IoU below which a candidate is negative; 0.3 for anchors, 0.5 for
            regions.
        with_best: Whether the best candidates of each object are positive, too, as for
            anchors, if they overlap it at all.
    """
    is_object = (classes > 0) & ~is_crowd
    overlaps = geometry.iou(candidates, boxes)
    overlaps = ops.where(is_object[:, None, :], overlaps, -1.0)
    best = ops.max(overlaps, axis=-1)
    index = ops.cast(ops.argmax(overlaps, axis=-1), "int32")
    is_positive = best >= positive
    if with_best:
        largest = ops.max(overlaps, axis=1, keepdims=True)
        is_best = (overlaps == largest) & (largest > 0)
        # A candidate that is the best of an object is trained on this one.
        own = ops.any(is_best, axis=-1)
        of_best = ops.argmax(ops.where(is_best, overlaps, -1.0), axis=-1)
        index = ops.where(own & ~is_positive, ops.cast(of_best, "int32"), index)
        is_positive |= own
    crowds = (classes > 0) & is_crowd
    inside = geometry.coverage(candidates, boxes) > _IN_CROWD
    in_crowd = ops.any(inside & crowds[:, None, :], axis=-1)
    is_negative = (best < negative) & ~in_crowd
    kind = ops.where(is_negative, NEGATIVE, IGNORED)
    return Matches(ops.where(is_positive, POSITIVE, kind), index)
