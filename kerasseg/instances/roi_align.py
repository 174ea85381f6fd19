"""RoIAlign: features of boxes, by bilinear interpolation without rounding."""

import contextlib
import importlib
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


def roi_align(
    features,
    boxes,
    output_size: int,
    *,
    stride: float,
    sampling_ratio: int = 2,
    aligned: bool = True,
):
    """Pools the features of boxes from one feature map.

    Args:
        features: `[batch, height, width, channels]`, of any size, known or not.
        boxes: `[batch, n, 4]`, in pixels of the image. They get no gradient.
        output_size: Bins per side.
        stride: Pixels of the image to a cell of `features`.
        sampling_ratio: Samples per side of a bin, which are averaged.
        aligned: Whether the center of cell `i` is at pixel `(i + 0.5) * stride`. False
            is the former definition, at `i * stride` and with boxes of at least one
            cell, which the networks of torchvision are trained with.

    Returns:
        `[batch, n, output_size, output_size, channels]` in the dtype of `features`.
        Samples more than one cell beyond the centers of the outer cells are 0, others
        beyond them have the value of the outer cell.

    Source: Mask R-CNN (https://arxiv.org/abs/1703.06870), section 3; equals
    `torchvision.ops.roi_align`.
    """
    return pyramid_roi_align(
        [features],
        boxes,
        ops.zeros_like(boxes[..., 0], dtype="int32"),
        output_size,
        strides=[stride],
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )


def pyramid_roi_align(
    features: Sequence,
    boxes,
    levels,
    output_size: int,
    *,
    strides: Sequence[float],
    sampling_ratio: int = 2,
    aligned: bool = True,
):
    """Pools the features of each box from one of several feature maps.

    The cost does not depend on the number of levels. On TensorFlow the memory is about
    3 times that of the output, and 5 times with the gradient: samples are added one
    after the other.

    Args:
        features: Maps `[batch, height, width, channels]`, see `roi_align`.
        boxes: See `roi_align`.
        levels: Index of the map of each box, int32 `[batch, n]`; see `levels.assign`.
        output_size: See `roi_align`.
        strides: Stride of each map.
        sampling_ratio: See `roi_align`.
        aligned: See `roi_align`.

    Returns:
        See `roi_align`.
    """
    channels, dtype = features[0].shape[-1], features[0].dtype
    batch = ops.shape(boxes)[0]
    sizes = [[_integer(side) for side in ops.shape(map_)[1:3]] for map_ in features]
    heights, widths = (
        ops.take(ops.stack(sides), levels) for sides in zip(*sizes, strict=True)
    )
    starts, num_cells = _starts([height * width for height, width in sizes])
    flat = [ops.reshape(map_, (batch, -1, channels)) for map_ in features]
    table = ops.reshape(ops.concatenate(flat, axis=1), (-1, channels))
    first = ops.arange(batch, dtype="int32")[:, None] * num_cells
    first = first + ops.take(starts, levels)

    stride = ops.take(ops.array(strides, "float32"), levels)
    scaled = ops.cast(boxes, "float32") / stride[..., None]
    options = (output_size, sampling_ratio, aligned)
    rows = axis_taps(scaled[..., 0], scaled[..., 2], heights, *options)
    columns = axis_taps(scaled[..., 1], scaled[..., 3], widths, *options)
    total = _interpolate(table, first, *_stacked(rows), *_stacked(columns), widths)
    return ops.cast(total, keras.backend.standardize_dtype(dtype))


def axis_taps(start, end, num_cells, output_size: int, sampling_ratio: int, aligned):
    """Returns the cells along one axis from which each bin is interpolated.

    Args:
        start: First edge of each box in cells, `[batch, n]`.
        end: Second edge, likewise.
        num_cells: Cells along the axis, int32, which broadcasts to `[batch, n]`.
        output_size: See `roi_align`.
        sampling_ratio: See `roi_align`.
        aligned: See `roi_align`.

    Returns:
        `2 * sampling_ratio` pairs `(cell, weight)`, int32 and float32
        `[batch, n, output_size]`. The weights of a bin add up to 1, or less where
        samples are outside of the map.
    """
    start, end = ops.stop_gradient(start), ops.stop_gradient(end)
    if aligned:
        start, end = start - 0.5, end - 0.5
    length = end - start if aligned else ops.maximum(end - start, 1.0)
    # The order of the operations is that of torchvision, so that rounding is the same.
    size = length[..., None] / output_size
    last = ops.broadcast_to(num_cells, ops.shape(start))[..., None] - 1
    limit = ops.cast(last, "float32")
    bins = ops.arange(output_size, dtype="float32")
    taps = []
    for i in range(sampling_ratio):
        offset = (i + 0.5) * size / sampling_ratio
        position = start[..., None] + bins * size + offset
        inside = ops.logical_and(position >= -1, position <= limit + 1)
        # A coordinate that is not a number must not become an index.
        position = ops.where(inside, ops.clip(position, 0.0, limit), 0.0)
        low = ops.floor(position)
        fraction = position - low
        share = ops.cast(inside, "float32") / sampling_ratio
        cell = ops.cast(low, "int32")
        taps.append((cell, (1 - fraction) * share))
        taps.append((ops.minimum(cell + 1, last), fraction * share))
    return taps


def _integer(side):
    """Returns a size as an int32 scalar tensor."""
    return ops.convert_to_tensor(side, dtype="int32")


def _starts(counts):
    """Returns the index of the first cell of each map, and the number of all cells."""
    starts = [ops.zeros_like(counts[0])]
    for count in counts:
        starts.append(starts[-1] + count)
    return ops.stack(starts[:-1]), starts[-1]


def _stacked(taps):
    """Returns the cells and the weights of taps, `[taps, batch, n, bins]`."""
    cells, weights = zip(*taps, strict=True)
    return ops.stack(cells), ops.stack(weights)


def _taps(first, rows, row_weights, columns, column_weights, widths):
    """Yields the cells of the table and their weights, `[batch, n, bins, bins]`."""
    for i in range(rows.shape[0]):
        row = first[..., None] + rows[i] * widths[..., None]
        for j in range(columns.shape[0]):
            cells = row[..., :, None] + columns[j][..., None, :]
            yield cells, row_weights[i][..., :, None] * column_weights[j][..., None, :]


def _sum(table, *taps):
    """Adds the weighted cells of the table, in float32."""
    total = ops.zeros((), "float32")
    for cells, weights in _taps(*taps):
        with _after(total):
            values = ops.cast(ops.take(table, cells, axis=0), "float32")
        total = total + values * weights[..., None]
    return total


def _sum_and_gradient(table, *taps):
    """Returns the sum, and its gradient, which needs the memory of one tap at a time.

    TensorFlow's would concatenate the gradients of all taps.
    """

    def gradient(upstream):
        size, channels = ops.shape(table)[0], table.shape[-1]
        total = ops.zeros((), "float32")
        for cells, weights in _taps(*taps):
            with _after(total):
                slopes = ops.reshape(upstream * weights[..., None], (-1, channels))
            total = total + ops.segment_sum(slopes, ops.reshape(cells, (-1,)), size)
        return [ops.cast(total, table.dtype), *[None] * len(taps)]

    return _sum(table, *taps), gradient


def _after(total):
    """Starts no operation before the total is known, which bounds the memory."""
    return tf.control_dependencies([total]) if tf else contextlib.nullcontext()


_interpolate = ops.custom_gradient(_sum_and_gradient) if tf else _sum
