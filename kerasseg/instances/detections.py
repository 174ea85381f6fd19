"""The objects that a detector returns."""

from typing import Any, NamedTuple

from keras import ops

from kerasseg.instances import boxes as geometry
from kerasseg.instances import nms

WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # Of the deltas of regions ([Girshick15], Detectron).


class Detected(NamedTuple):
    """Objects of images, the best first; missing ones are 0.

    Attributes:
        boxes: `[batch, count, 4]`.
        scores: From 0 to 1, `[batch, count]`.
        classes: From 1, int32 `[batch, count]`.
        valid: bool `[batch, count]`.
    """

    boxes: Any
    scores: Any
    classes: Any
    valid: Any


def detect(
    regions,
    valid,
    logits,
    deltas,
    size,
    *,
    count: int = 100,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    num_before: int = 1000,
) -> Detected:
    """Selects objects from classified regions ([He17] section 3.1, inference).

    Args:
        regions: `[batch, regions, 4]`.
        valid: bool `[batch, regions]`.
        logits: Of each class, background first, `[batch, regions, 1 + classes]`.
        deltas: From the region to the box of each class, `[batch, regions, 4 * (1 +
            classes)]`.
        size: Height and width of the image in pixels.
        count: Number of objects that are returned.
        score_threshold: Scores of objects are above it.
        nms_threshold: IoU with a better box of its class from which a box is dropped.
        num_before: Pairs of a region and a class, the best ones, that non-maximum
            suppression looks at.
    """
    num_regions, num_classes = logits.shape[1], logits.shape[2] - 1
    scores = ops.softmax(logits, axis=-1)[..., 1:]
    shifts = ops.reshape(deltas, (-1, num_regions, num_classes + 1, 4))[:, :, 1:]
    scores = ops.where(valid[..., None], scores, 0.0)
    scores = ops.reshape(scores, (-1, num_regions * num_classes))
    shifts = ops.reshape(shifts, (-1, num_regions * num_classes, 4))
    num_before = min(num_before, num_regions * num_classes)
    scores, pairs = ops.top_k(scores, num_before)
    pairs = ops.cast(pairs, "int32")
    boxes = geometry.decode(
        nms.take(shifts, pairs), nms.take(regions, pairs // num_classes), WEIGHTS
    )
    boxes = geometry.clip(boxes, *size)
    classes = pairs % num_classes + 1
    is_object = (scores > score_threshold) & (geometry.area(boxes) > 0)
    kept = nms.suppress(boxes, is_object, nms_threshold, classes)
    index, found = nms.keep_best(kept, count)
    return Detected(
        ops.where(found[..., None], nms.take(boxes, index), 0.0),
        ops.where(found, nms.take(scores, index), 0.0),
        ops.where(found, nms.take(classes, index), 0),
        found,
    )
