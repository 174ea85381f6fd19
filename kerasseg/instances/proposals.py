"""The regions that a region proposal network proposes."""

from keras import ops

from kerasseg.instances import boxes as geometry
from kerasseg.instances import nms

_SMALLEST_SIDE = 1e-3  # Pixels.


def propose(
    objectness,
    deltas,
    anchors,
    size,
    *,
    num_before: int,
    num_after: int,
    threshold: float = 0.7,
):
    """Selects the best regions of each level, and of all ([Lin17] section 4.1).

    Args:
        objectness: Logits of each level, `[batch, anchors]`.
        deltas: Deltas of each level, `[batch, anchors, 4]`.
        anchors: Anchors of each level, `[anchors, 4]`.
        size: Height and width of the image in pixels.
        num_before: Number of regions of a level before non-maximum suppression.
        num_after: Number of regions over all levels.
        threshold: IoU of non-maximum suppression, within each level.

    Returns:
        Regions, the best first, `[batch, num_after, 4]`, their logits, `[batch,
        num_after]`, and whether there is one, bool; missing ones are 0.
    """
    parts = []
    for logits, shifts, of_level in zip(objectness, deltas, anchors, strict=True):
        scores, indices = _top(logits, num_before)
        decoded = geometry.decode(
            nms.take(shifts, indices), ops.take(of_level, indices, axis=0)
        )
        regions = geometry.clip(decoded, *size)
        y1, x1, y2, x2 = ops.unstack(regions, 4, axis=-1)
        valid = (y2 - y1 >= _SMALLEST_SIDE) & (x2 - x1 >= _SMALLEST_SIDE)
        valid &= ops.isfinite(scores)
        parts.append((regions, scores, nms.suppress(regions, valid, threshold)))
    regions, scores, kept = (
        ops.concatenate(part, axis=1) for part in zip(*parts, strict=True)
    )
    scores = ops.where(kept, scores, -float("inf"))
    scores, indices = _top(scores, num_after)
    valid = scores > -float("inf")
    regions = ops.where(valid[..., None], nms.take(regions, indices), 0.0)
    return regions, ops.where(valid, scores, 0.0), valid


def _top(scores, count):
    """Returns the largest scores and their indices, padded with -inf to `count`."""
    missing = [[0, 0], [0, count]]  # The number of anchors may not be known yet.
    padded = ops.pad(scores, missing, constant_values=-float("inf"))
    values, indices = ops.top_k(padded, count)
    indices = ops.minimum(ops.cast(indices, "int32"), ops.shape(scores)[1] - 1)
    return values, indices
