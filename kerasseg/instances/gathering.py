"""Selection of rows by index, for each image of a batch."""

from keras import ops


def rows(values, indices):
    """Returns the rows of each image that its indices name.

    It is faster than `ops.take_along_axis`, which gathers numbers one by one.

    Args:
        values: `[batch, n, ...]`; batch and n may be unknown, the rest is not.
        indices: int32 `[batch, k]`, from 0 to n - 1.

    Returns:
        `[batch, k, ...]`.
    """
    values = ops.convert_to_tensor(values)
    batch, size = ops.shape(values)[:2]
    table = ops.reshape(values, (-1, *values.shape[2:]))
    first = ops.arange(batch, dtype="int32")[:, None] * size
    return ops.take(table, first + ops.cast(indices, "int32"), axis=0)
