"""Anchors: boxes of fixed shapes around every cell of a feature map."""

from collections.abc import Sequence

import numpy as np
from keras import ops


def shapes(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Computes the anchors of a cell around the origin.

    Coordinates are rounded to pixels, as in torchvision.

    Args:
        sizes: Square roots of the areas, in pixels.
        ratios: Heights divided by widths.

    Returns:
        float32 `[ratios * sizes, 4]`, sizes varying fastest.
    """
    sizes, roots = np.asarray(sizes, np.float64), np.sqrt(ratios)
    heights = (roots[:, None] * sizes).ravel()
    widths = ((1 / roots)[:, None] * sizes).ravel()
    sides = np.stack([-heights, -widths, heights, widths], axis=-1) / 2
    return np.round(sides).astype(np.float32)


def grid(height, width, stride: int, sizes: Sequence[float], ratios: Sequence[float]):
    """Computes the anchors of a feature map ([Ren15] section 3.1.1).

    Cell (i, j) lies at pixel (i * stride, j * stride), as in torchvision.

    Args:
        height: Number of rows, an integer or a tensor.
        width: Number of columns.
        stride: Distance of neighboring cells in pixels.
        sizes: See `shapes`.
        ratios: See `shapes`.

    Returns:
        float32 `[height * width * anchors, 4]`: rows, columns, anchors of a cell.
    """
    rows = ops.cast(ops.arange(height) * stride, "float32")[:, None]
    columns = ops.cast(ops.arange(width) * stride, "float32")[None, :]
    y, x = (
        ops.broadcast_to(rows, (height, width)),
        ops.broadcast_to(columns, (height, width)),
    )
    shifts = ops.stack([y, x, y, x], axis=-1)[:, :, None, :]
    return ops.reshape(shifts + ops.convert_to_tensor(shapes(sizes, ratios)), (-1, 4))
