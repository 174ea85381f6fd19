"""RoIAlign: the features of boxes, at exact places ([He17] section 3)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras import ops


class Samples(NamedTuple):
    """Bilinear samples along one axis of boxes.

    Attributes:
        low: Cell at or before each sample, int32 `[batch, boxes, cells]`.
        high: Cell after it.
        low_weight: Weight of `low`, `[batch, boxes, cells]`; both are 0 outside.
        high_weight: Weight of `high`.
    """

    low: Any
    high: Any
    low_weight: Any
    high_weight: Any

    def ends(self) -> list[tuple]:
        """Returns cells and weights of both ends."""
        return [(self.low, self.low_weight), (self.high, self.high_weight)]


def roi_align(
    maps: Sequence,
    boxes,
    levels,
    strides: Sequence[int],
    size: int,
    *,
    ratio: int = 2,
    aligned: bool = True,
):
    """Takes the features of boxes from a feature pyramid, without rounding.

    Each of `size` x `size` cells of a box is the mean of `ratio` x `ratio` bilinear
    samples. Beyond a border the value at the border is taken, further than a cell away
    0, as in torchvision.

    Args:
        maps: Feature maps, `[batch, height, width, channels]` each.
        boxes: Boxes in pixels, `[batch, boxes, 4]`.
        levels: Number of the map of each box, int32 `[batch, boxes]`.
        strides: Distance of neighboring cells of each map in pixels.
        size: Height and width of the result.
        ratio: Samples of a cell along each axis.
        aligned: Whether the value of a cell lies at its center; False is half a cell
            off, and takes boxes smaller than a cell as a cell, like older networks and
            torchvision's.

    Returns:
        `[batch, boxes, size, size, channels]`.
    """
    sides = [ops.shape(x)[1:3] for x in maps]
    channels = maps[0].shape[-1]
    flat = ops.concatenate(
        [ops.reshape(x, (ops.shape(x)[0], -1, channels)) for x in maps], axis=1
    )
    cells = ops.shape(flat)[1]
    batch = ops.shape(boxes)[0]
    flat = ops.reshape(flat, (-1, channels))
    height, width, start, stride = _of_level(levels, sides, strides)
    start = start + ops.arange(batch, dtype="int32")[:, None] * cells
    total = 0.0
    scaled = boxes / ops.cast(stride, boxes.dtype)[..., None]
    for y, x in sample_pairs(scaled, height, width, size, ratio=ratio, aligned=aligned):
        for row, row_weight in y.ends():
            for column, column_weight in x.ends():
                index = start[..., None, None] + (
                    row[..., :, None] * width[..., None, None] + column[..., None, :]
                )
                weight = row_weight[..., :, None] * column_weight[..., None, :]
                weight = ops.cast(weight / ratio**2, flat.dtype)
                total += ops.take(flat, index, axis=0) * weight[..., None]
    return total


def sample_pairs(
    boxes, height, width, size: int, *, ratio: int = 2, aligned: bool = True
) -> Iterator[tuple[Samples, Samples]]:
    """Yields the `ratio` x `ratio` samples of the cells of boxes.

    Args:
        boxes: Boxes in cells of the map, `[batch, boxes, 4]`.
        height: Number of rows of the map of each box, int32 `[batch, boxes]`.
        width: Number of columns.
        size: Cells of a box along each axis.
        ratio: See `roi_align`.
        aligned: See `roi_align`.

    Yields:
        The samples along y and those along x.
    """
    y1, x1, y2, x2 = ops.unstack(boxes, 4, axis=-1)
    for i in range(ratio):
        y = _samples(y1, y2, height, size, (i + 0.5) / ratio, aligned)
        for j in range(ratio):
            yield y, _samples(x1, x2, width, size, (j + 0.5) / ratio, aligned)


def _samples(start, end, length, size, offset, aligned):
    extent = end - start
    if aligned:
        start = start - 0.5
    else:
        extent = ops.maximum(extent, 1.0)
    steps = (ops.arange(size, dtype="float32") + offset) / size
    place = start[..., None] + extent[..., None] * steps
    last = ops.cast(length, "float32")[..., None]
    inside = ops.cast((place >= -1.0) & (place <= last), "float32")
    place = ops.clip(place, 0.0, last - 1.0)
    low = ops.floor(place)
    part = place - low
    cells = ops.cast(low, "int32")
    after = ops.minimum(cells + 1, length[..., None] - 1)
    return Samples(cells, after, (1.0 - part) * inside, part * inside)


def _of_level(levels, sides, strides):
    """Returns height, width, number of the first cell, and stride of each box's map."""
    height = width = start = stride = 0
    first = 0
    for i, ((rows, columns), step) in enumerate(zip(sides, strides, strict=True)):
        here = ops.cast(levels == i, "int32")
        height, width = height + here * rows, width + here * columns
        start, stride = start + here * first, stride + here * step
        first += rows * columns
    return height, width, start, stride
