"""Greedy non-maximum suppression with static shapes."""

from keras import ops

from kerasseg.instances import boxes as geometry


def suppress(boxes, valid, threshold: float, groups=None):
    """Finds the boxes that greedy non-maximum suppression keeps.

    The first box is kept, boxes whose IoU with it is above the threshold are dropped,
    then the next one left is kept, and so on. Computed as a fixed point: a box is
    dropped if a kept one before it overlaps. Each pass decides at least one more box of
    every chain, and few passes suffice.

    Args:
        boxes: The best first, `[batch, n, 4]`.
        valid: Whether a box takes part, bool `[batch, n]`.
        threshold: IoU above which the later box is dropped.
        groups: Integers, `[batch, n]`; boxes of other groups, such as classes or
            levels, do not affect each other. None for a single group.

    Returns:
        Whether a box is kept, bool `[batch, n]`.
    """
    overlaps = geometry.iou(boxes, boxes) > threshold
    if groups is not None:
        overlaps &= groups[:, :, None] == groups[:, None, :]
    n = boxes.shape[1]
    before = ops.arange(n)[:, None] < ops.arange(n)[None, :]
    # suppressors[b, i, j]: box i drops box j, if i is kept.
    suppressors = ops.cast(overlaps & before & valid[:, :, None], "float32")

    def step(kept, _):
        # A product of matrices: a hundred times as fast as logical operations.
        hits = ops.einsum("bi,bij->bj", ops.cast(kept, "float32"), suppressors)
        return valid & (hits == 0), kept

    kept, _ = ops.while_loop(
        lambda kept, previous: ops.any(kept != previous),
        step,
        step(valid, valid),
        maximum_iterations=n,
    )
    return kept


def keep_best(kept, count: int):
    """Returns the indices of the first kept boxes.

    Args:
        kept: bool `[batch, n]`.
        count: Number of indices.

    Returns:
        Indices, int32 `[batch, count]`, and whether there is such a box, bool. Missing
        ones have other indices.
    """
    n = kept.shape[1]
    order = ops.where(kept, ops.arange(n, 0, -1), 0)
    values, indices = ops.top_k(order, min(count, n))
    missing = [[0, 0], [0, count - min(count, n)]]
    indices = ops.cast(ops.pad(indices, missing), "int32")
    return indices, ops.pad(values, missing) > 0


def take(x, indices):
    """Gathers rows of a batch.

    Args:
        x: `[batch, n, ...]`.
        indices: int32 `[batch, count]`.

    Returns:
        `[batch, count, ...]`.
    """
    rest = x.shape[2:]
    indices = ops.reshape(indices, (*ops.shape(indices), *(1 for _ in rest)))
    return ops.take_along_axis(x, indices, axis=1)
