"""What takes the place of a layer so that its map keeps more cells.

A layer that would stride beyond the output stride keeps every cell instead, and the
windows of all that follow are spread by the stride it lost. At every `rate`-th cell
such a dense map equals the original one. That holds at every size only if a window's
place does not depend on the size. So

- where the graph pads explicitly (ResNet), the first window stays where it is;
- "same", and no padding at all, put it where TensorFlow's "same" puts it at sizes that
  the stride divides (kernel 3, stride 2: no cell before the map, kernel 5: one);
- behind the map there is room for ceil(size / stride) windows, always.

Explicit paddings and convolutions see zeros outside the map; pools see nothing there.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasseg import blocks, errors
from kerasseg.backbones import layer_scale, pooling

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
# By the name of the class, because Keras does not make the last one public.
_OURS = {
    "BatchNormalization": blocks.BatchNormalization,
    "Conv2D": blocks.Conv2D,
    "LayerScale": layer_scale.LayerScale,
}
_POOLS = {layers.MaxPooling2D: "max", layers.AveragePooling2D: "average"}


@dataclasses.dataclass(frozen=True)
class Map:
    """A tensor and where its cells lie.

    Attributes:
        x: The tensor.
        stride: Pixels from cell to cell in the original graph; 0 for a mean over the
            picture.
        rate: Cells of `x` from one cell of the original graph to the next.
        before: Zeros above and left of `x` that the next window sees (negative: cells
            of `x` that it does not see); None where the graph says nothing.
    """

    x: Any
    stride: int
    rate: int = 1
    before: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class _Window:
    """How a window moves over a map in the new graph.

    Attributes:
        stride: Cells from one window to the next.
        rate: Cells from one row of the window to the next.
        padding: Cells it reaches `((above, below), (left, right))` of the map.
        is_same: Whether Keras' "same" pads so, at every size.
    """

    stride: int
    rate: int
    padding: tuple[tuple[int, int], ...]
    is_same: bool


def replace(layer, args, kwargs, output_stride, name):
    """Calls what takes the place of one layer of the original graph.

    Args:
        layer: The layer, or another operation.
        args: Its arguments; a `Map` for every tensor.
        kwargs: Likewise.
        output_stride: Pixels from cell to cell that no map may exceed.
        name: Of the new layer.

    Returns:
        A `Map`.

    Raises:
        ValueError: The layer cannot be dilated, or strides over `output_stride`.
    """
    maps = [m for m in keras.tree.flatten((args, kwargs)) if isinstance(m, Map)]
    m = max(maps, key=lambda each: each.stride)
    if isinstance(layer, layers.Rescaling | layers.Normalization):
        return m
    if isinstance(layer, layers.ZeroPadding2D):
        return dataclasses.replace(m, before=_add(m.before, layer.padding, 1))
    if isinstance(layer, layers.Cropping2D):
        return dataclasses.replace(m, before=_add(m.before, layer.cropping, -1))
    if isinstance(layer, _CONVOLUTIONS) and m.stride:
        return _convolve(layer, m, output_stride, name)
    if isinstance(layer, tuple(_POOLS)):
        return _pool(layer, m, output_stride, name)
    spreads = any(hasattr(layer, key) for key in ("kernel_size", "pool_size", "size"))
    if m.before or (spreads and m.stride):
        raise errors.UserError(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot be dilated, or "
            "stands between a padding and its window; use this encoder unchanged."
        )
    if isinstance(layer, layers.GlobalAveragePooling2D):
        x = m.x if m.rate == 1 else m.x[:, :: m.rate, :: m.rate]
        return Map(_copy(layer, name, [x]), 0)
    args, kwargs = keras.tree.map_structure(
        lambda part: part.x if isinstance(part, Map) else part, (args, kwargs)
    )
    return dataclasses.replace(m, x=_copy(layer, name, args, kwargs))


def _add(before, padding, sign):
    top, left = before or (0, 0)
    return top + sign * padding[0][0], left + sign * padding[1][0]


def _convolve(layer, m, output_stride, name):
    window = _window(layer, layer.kernel_size, m, output_stride)
    x = m.x if window.is_same else _pad(m.x, window.padding, name)
    changes = {
        "strides": window.stride,
        "dilation_rate": window.rate,
        "padding": "same" if window.is_same else "valid",
    }
    return _moved(m, _copy(layer, name, [x], changes=changes), layer, window)


def _pool(layer, m, output_stride, name):
    window = _window(layer, layer.pool_size, m, output_stride)
    x, padding = m.x, window.padding
    if m.before:
        x, padding = _pad(x, padding, name), ((0, 0), (0, 0))
    elif window.is_same and window.rate == 1:
        changes = {"strides": window.stride, "padding": "same"}
        return _moved(m, _copy(layer, name, [x], changes=changes), layer, window)
    pool = pooling.Pool2D(
        _POOLS[type(layer)],
        layer.pool_size,
        stride=window.stride,
        rate=window.rate,
        padding=padding,
        dtype=layer.dtype_policy,
        name=name,
    )
    return _moved(m, pool(x), layer, window)


def _window(layer, size, m, output_stride):
    stride = layer.strides[0]
    is_dense = m.stride * stride > output_stride
    if m.stride < output_stride and is_dense:
        raise errors.UserError(
            f"Output stride {output_stride} cannot be reached: layer '{layer.name}' "
            f"goes from {m.stride} to {m.stride * stride}; choose one of these."
        )
    before = m.before or [max(side - stride, 0) // 2 for side in size]
    padding = tuple(
        (first * m.rate, (side - 1 - first) * m.rate)
        for first, side in zip(before, size, strict=True)
    )
    kept = 1 if is_dense else stride
    is_same = all(first == (first + last) // 2 for first, last in padding)
    return _Window(kept, m.rate, padding, is_same and (kept == 1 or max(size) <= kept))


def _moved(m, x, layer, window):
    stride = layer.strides[0]
    return Map(x, m.stride * stride, m.rate * stride // window.stride)


def _pad(x, padding, name):
    zeros = [(max(first, 0), last) for first, last in padding]
    x = layers.ZeroPadding2D(zeros, name=f"{name}_pad")(x)
    cut = [(max(-first, 0), 0) for first, _ in padding]
    return layers.Cropping2D(cut, name=f"{name}_cut")(x) if np.any(cut) else x


def _copy(layer, name, args, kwargs=None, *, changes=None):
    """Calls a copy of `layer` that has its weights."""
    kind: Any = _OURS.get(type(layer).__name__, type(layer))
    config = {**layer.get_config(), "name": name, **(changes or {})}
    weights = layer.get_weights() if isinstance(layer, layers.Layer) else []
    if kind is blocks.Conv2D and _is_depthwise(layer):
        own = ("filters", "groups", "kernel_initializer", "kernel_regularizer")
        config = {
            k: v for k, v in config.items() if k not in (*own, "kernel_constraint")
        }
        kind, weights[0] = layers.DepthwiseConv2D, np.swapaxes(weights[0], 2, 3)
    copy = kind.from_config(config)
    x = copy(*args, **(kwargs or {}))
    if weights:
        copy.set_weights(weights)
    return x


def _is_depthwise(layer):
    return layer.groups == layer.filters > 1 and layer.kernel.shape[2] == 1
