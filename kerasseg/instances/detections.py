"""Detections: boxes of all classes without duplicates, at test."""

from typing import Any, NamedTuple

from keras import ops

from kerasseg.instances import boxes as box_ops
from kerasseg.instances import gathering


class Detections(NamedTuple):
    """Detections of a batch, by descending score.

    Attributes:
        boxes: float32 `[batch, count, 4]`, clipped to the image; 0 in padding.
        scores: float32 `[batch, count]`, probabilities; 0 in padding.
        classes: int32 `[batch, count]`, from 1; 0 in padding.
        valid: bool `[batch, count]`, False for padding.
    """

    boxes: Any
    scores: Any
    classes: Any
    valid: Any


def detect(
    logits,
    codes,
    proposals,
    valid,
    *,
    image_size,
    count: int = 100,
    min_score: float = 0.05,
    iou_threshold: float = 0.5,
    min_size: float = 1e-2,
) -> Detections:
    """Selects detections from the outputs of the box head.

    NMS is applied to each class. The best box is chosen `count` times, and those of its
    class that overlap it are dropped, so all candidates are considered whatever their
    number, and equal scores are chosen by class, then by proposal.

    Args:
        logits: `[batch, n, 1 + num_classes]`, the background first.
        codes: Box codes of each class, `[batch, n, 1 + num_classes, 4]`, see
            `boxes.encode`; those of the background are not used.
        proposals: `[batch, n, 4]`.
        valid: bool `[batch, n]`, False for padding.
        image_size: Height and width in pixels, see `boxes.clip`.
        count: Number of detections.
        min_score: Only probabilities above it are detected.
        iou_threshold: Boxes of a class with a larger IoU are duplicates.
        min_size: Boxes with a shorter side in pixels are dropped.

    Returns:
        `count` detections, without gradient.

    Source: Fast R-CNN (https://arxiv.org/abs/1504.08083), section 2.4.
    """
    scores = ops.softmax(ops.cast(ops.stop_gradient(logits), "float32"))[..., 1:]
    codes = ops.stop_gradient(codes)[:, :, 1:]
    boxes = box_ops.decode(codes, proposals[:, :, None, :], box_ops.ROI_WEIGHTS)
    boxes = ops.transpose(boxes, (0, 2, 1, 3))  # [batch, classes, n, 4].
    boxes = box_ops.clip(boxes, *_for_classes(image_size))
    finite = ops.all(ops.isfinite(boxes), axis=-1)
    boxes = ops.where(finite[..., None], boxes, 0.0)
    usable = ops.logical_and(valid[:, None, :], box_ops.are_at_least(boxes, min_size))
    scores = ops.transpose(scores, (0, 2, 1))
    usable = ops.logical_and(usable, scores > min_score)
    return select(boxes, ops.where(usable, scores, 0.0), count, iou_threshold)


def select(boxes, scores, count: int, iou_threshold: float) -> Detections:
    """Chooses the best boxes of all classes, with NMS in each class.

    Args:
        boxes: `[batch, num_classes, n, 4]`, class 1 first.
        scores: `[batch, num_classes, n]`; candidates have a score above 0.
        count: Number of detections.
        iou_threshold: See `detect`.

    Returns:
        The detections.
    """
    batch = ops.shape(scores)[0]
    num_classes, num_boxes = scores.shape[1:]
    numbers = ops.arange(num_classes, dtype="int32")[None, :, None]
    ranks = ops.arange(num_boxes, dtype="int32")[None, None, :]
    slots = ops.arange(count, dtype="int32")[None]

    def is_unfinished(step, scores, *_):
        return ops.logical_and(step < count, ops.any(scores > 0))

    def choose(step, scores, best_indices, best_scores):
        flat = ops.reshape(scores, (batch, num_classes * num_boxes))
        best, index = ops.top_k(flat, 1)  # ONNX lacks what Keras' argmax is made of.
        index = ops.cast(index, "int32")
        here = ops.equal(slots, step)
        best_scores = ops.where(here, best, best_scores)
        best_indices = ops.where(here, index, best_indices)
        number, rank = index // num_boxes, index % num_boxes  # [batch, 1].
        of_class = gathering.rows(boxes, number)[:, 0]
        box = gathering.rows(of_class, rank)
        duplicate = box_ops.iou(box, of_class) > iou_threshold
        duplicate = ops.logical_or(duplicate, ops.equal(ranks, rank[..., None]))
        dropped = ops.logical_and(duplicate, ops.equal(numbers, number[..., None]))
        return step + 1, ops.where(dropped, 0.0, scores), best_indices, best_scores

    start = (
        ops.convert_to_tensor(0, dtype="int32"),
        ops.cast(scores, "float32"),
        ops.zeros((batch, count), "int32"),
        ops.zeros((batch, count), "float32"),
    )
    *_, indices, scores = ops.while_loop(is_unfinished, choose, start)
    valid = scores > 0
    boxes = ops.reshape(boxes, (batch, num_classes * num_boxes, 4))
    boxes = gathering.rows(boxes, indices)
    classes = ops.where(valid, indices // num_boxes + 1, 0)
    return Detections(ops.where(valid[..., None], boxes, 0.0), scores, classes, valid)


def _for_classes(image_size):
    """Adds a dimension for the classes to sizes that are given for each image."""
    sizes = [ops.cast(side, "float32") for side in image_size]
    return [side[:, None] if len(side.shape) else side for side in sizes]
