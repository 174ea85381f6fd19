"""Anchors of the region proposal network, one size for each level of the pyramid."""

from collections.abc import Sequence

import numpy as np
from keras import ops

SIZES = (32, 64, 128, 256, 512)  # Pixels, for P2 to P6.
RATIOS = (0.5, 1.0, 2.0)  # Height over width.


def base_anchors(
    size: float | Sequence[float], ratios: Sequence[float] = RATIOS
) -> np.ndarray:
    """Returns the anchors of one cell, around the origin.

    Args:
        size: Square root of the area in pixels, or several, which vary fastest.
        ratios: Heights over widths.

    Returns:
        float32 `[ratios * sizes, 4]`. Coordinates are rounded to whole pixels, halves
        to even numbers, as the networks of torchvision do.
    """
    roots = np.sqrt(np.asarray(ratios, "float32"))[:, None]
    sizes = np.asarray(size, "float32")
    heights, widths = (sizes * roots).ravel(), (sizes * (1 / roots)).ravel()
    corners = np.stack([-heights, -widths, heights, widths], axis=-1) / 2
    return np.round(corners).astype("float32")


def strides(image_size: Sequence, feature_sizes: Sequence[Sequence]) -> list[tuple]:
    """Returns the stride of each feature map, rounded down to whole pixels.

    Args:
        image_size: Height and width of the image in pixels; integers or scalar tensors.
        feature_sizes: Height and width of each feature map, likewise.

    Returns:
        The vertical and horizontal stride of each map. At sizes that a stride does not
        divide they can differ from the nominal ones, as in torchvision.
    """
    return [
        (image_size[0] // height, image_size[1] // width)
        for height, width in feature_sizes
    ]


def level_anchors(height, width, stride, size, ratios: Sequence = RATIOS):
    """Returns the anchors of one feature map.

    The anchors of cell `(i, j)` are centered at its corner `(i, j) * stride`.

    Args:
        height: Rows of the map: an integer or a scalar tensor.
        width: Columns, likewise.
        stride: Pixels of the image to a cell: a number, or a pair for y and x.
        size: See `base_anchors`.
        ratios: See `base_anchors`.

    Returns:
        float32 `[height * width * anchors, 4]`, ordered by row, column and ratio.
    """
    pair = stride if isinstance(stride, tuple | list) else (stride, stride)
    y, x = (
        ops.cast(ops.arange(cells, dtype="int32"), "float32")
        * ops.cast(step, "float32")
        for cells, step in zip((height, width), pair, strict=True)
    )
    y, x = ops.meshgrid(y, x, indexing="ij")
    shifts = ops.stack([y, x, y, x], axis=-1)[:, :, None]
    return ops.reshape(shifts + base_anchors(size, ratios), (-1, 4))


def pyramid_anchors(
    feature_sizes: Sequence[Sequence],
    strides: Sequence,
    sizes: Sequence[float] = SIZES,
    ratios: Sequence[float] = RATIOS,
) -> list:
    """Returns the anchors of each level of a pyramid, see `level_anchors`.

    At 1024x1024 and strides of 4 to 64 there are 261,888 in all.

    Args:
        feature_sizes: Height and width of each level.
        strides: Stride of each level, see `level_anchors`.
        sizes: Size of the anchors of each level.
        ratios: Heights over widths, the same for all levels.

    Returns:
        One tensor `[height * width * len(ratios), 4]` for each level.

    Source: FPN (https://arxiv.org/abs/1612.03144), section 4.1.
    """
    return [
        level_anchors(height, width, stride, size, ratios)
        for (height, width), stride, size in zip(
            feature_sizes, strides, sizes, strict=True
        )
    ]
