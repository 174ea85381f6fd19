"""Replacement of strided layers by dilated ones.

A layer whose stride exceeds the output stride gets stride 1, and all layers after it
are dilated by the stride it lost. Every `rate`-th cell of such a dense map equals a
cell of the original map. For this to hold at every image size, the position of a window
must not depend on the size. Therefore

- after explicit padding (ResNet), the first window stays where it is;
- with "same" padding or none, it is where TensorFlow's "same" puts it at sizes
  divisible by the stride (no cell of padding before the map for kernel 3 and stride 2,
  one for kernel 5), or with `Windows.is_symmetric` where PyTorch's networks put it;
- the padding after the map always leaves room for ceil(size / stride) windows.

Explicit padding and convolutions read zeros outside the map; pools ignore those cells.
"""

import dataclasses
import enum
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasseg import backbones, blocks, errors
from kerasseg.backbones import layer_scale, pooling

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
# By class name, because LayerScale of Keras is not public.
_REPLACEMENTS = {
    "BatchNormalization": blocks.BatchNormalization,
    "Conv2D": blocks.Conv2D,
    "LayerScale": layer_scale.LayerScale,
}
_POOLS = {layers.MaxPooling2D: "max", layers.AveragePooling2D: "average"}


class Origin(enum.Enum):
    """What a feature map is the output of."""

    CONVOLUTION = enum.auto()
    # A normalization that does not belong to a convolution before it, but starts what
    # follows, as in networks with pre-activation; and the activation after it.
    NORM_FIRST = enum.auto()
    OTHER = enum.auto()


@dataclasses.dataclass(frozen=True)
class Map:
    """A feature map and the position of its cells.

    Attributes:
        x: The tensor.
        stride: Stride in the original graph, in pixels; 0 for a mean over the image.
        rate: Distance in `x` of neighboring cells of the original graph.
        before: Rows and columns of zeros before `x` that the next window covers, from
            explicit padding; negative for cropping; None without either.
        origin: What it is the output of.
    """

    x: Any
    stride: int
    rate: int = 1
    before: tuple[int, int] | None = None
    origin: Origin = Origin.OTHER


@dataclasses.dataclass(frozen=True)
class Windows:
    """Rules for the windows of the new graph.

    Attributes:
        output_stride: Largest stride of a map in pixels.
        is_symmetric: Whether strided windows have the same padding on all sides, as in
            PyTorch.
        first_rate: Rate of a layer whose stride is replaced: "old" for that of its
            input, "new" for that of its output. With "old", global means are those of
            the original cells; with "new", of all cells.
    """

    output_stride: int
    is_symmetric: bool = False
    first_rate: str = "old"


@dataclasses.dataclass(frozen=True)
class _Window:
    """Window of a convolution or pool in the new graph.

    Attributes:
        stride: Stride of the window.
        rate: Dilation rate.
        padding: Cells of padding, `((top, bottom), (left, right))`.
        is_same: Whether "same" padding of Keras is equal at every size.
    """

    stride: int
    rate: int
    padding: tuple[tuple[int, int], ...]
    is_same: bool


def replace(layer, args, kwargs, windows: Windows, name: str) -> Map:
    """Calls the replacement of a layer of the original graph.

    Args:
        layer: Layer, or another operation.
        args: Its positional arguments, with a `Map` for every tensor.
        kwargs: Its keyword arguments, with a `Map` for every tensor.
        windows: Rules for its window.
        name: Name of the new layer.

    Returns:
        The result.

    Raises:
        UserError: The layer cannot be dilated, or its stride skips `output_stride`.
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
        return _convolve(layer, m, windows, name)
    if isinstance(layer, tuple(_POOLS)):
        return _pool(layer, m, windows, name)
    has_window = any(
        hasattr(layer, key) for key in ("kernel_size", "pool_size", "size")
    )
    if m.before or (has_window and m.stride):
        raise errors.UserError(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot be dilated, or is "
            "between padding and the layer that the padding is for. Use this encoder "
            "unchanged."
        )
    if isinstance(layer, layers.GlobalAveragePooling2D):
        is_dense = m.rate == 1 or windows.first_rate == "new"
        x = m.x if is_dense else m.x[:, :: m.rate, :: m.rate]
        return Map(_copy(layer, name, [x]), 0)
    args, kwargs = keras.tree.map_structure(
        lambda part: part.x if isinstance(part, Map) else part, (args, kwargs)
    )
    return dataclasses.replace(m, x=_copy(layer, name, args, kwargs))


def _add(before, padding, sign):
    top, left = before or (0, 0)
    return top + sign * padding[0][0], left + sign * padding[1][0]


def _convolve(layer, m, windows, name):
    window = _window(layer, layer.kernel_size, m, windows)
    x = m.x if window.is_same else _pad(m.x, window.padding, name)
    changes = {
        "strides": window.stride,
        "dilation_rate": window.rate,
        "padding": "same" if window.is_same else "valid",
    }
    return _map_after(m, _copy(layer, name, [x], changes=changes), layer, window)


def _pool(layer, m, windows, name):
    window = _window(layer, layer.pool_size, m, windows)
    x, padding = m.x, window.padding
    if m.before:
        x, padding = _pad(x, padding, name), ((0, 0), (0, 0))
    elif window.is_same and window.rate == 1:
        changes = {"strides": window.stride, "padding": "same"}
        return _map_after(m, _copy(layer, name, [x], changes=changes), layer, window)
    pool = pooling.Pool2D(
        _POOLS[type(layer)],
        layer.pool_size,
        stride=window.stride,
        rate=window.rate,
        padding=padding,
        dtype=layer.dtype_policy,
        name=name,
    )
    return _map_after(m, pool(x), layer, window)


def _window(layer, size, m, windows):
    stride, output_stride = layer.strides[0], windows.output_stride
    is_dense = m.stride * stride > output_stride
    if m.stride < output_stride and is_dense:
        raise errors.UserError(
            f"Output stride {output_stride} is not possible: layer '{layer.name}' "
            f"goes from {m.stride} to {m.stride * stride}. Choose one of these."
        )
    before = m.before or [max(side - stride, 0) // 2 for side in size]
    if windows.is_symmetric and stride > 1:
        before = [side // 2 if side % 2 else 0 for side in size]
    rate = m.rate * stride if is_dense and windows.first_rate == "new" else m.rate
    padding = tuple(
        (first * rate, (side - 1 - first) * rate)
        for first, side in zip(before, size, strict=True)
    )
    new_stride = 1 if is_dense else stride
    is_same = all(first == (first + last) // 2 for first, last in padding)
    is_same = is_same and (new_stride == 1 or max(size) <= new_stride)
    return _Window(new_stride, rate, padding, is_same)


def _map_after(m, x, layer, window):
    stride = layer.strides[0]
    return Map(x, m.stride * stride, m.rate * stride // window.stride)


def _pad(x, padding, name):
    zeros = [(max(first, 0), last) for first, last in padding]
    x = layers.ZeroPadding2D(zeros, name=f"{name}_pad")(x)
    cut = [(max(-first, 0), 0) for first, _ in padding]
    return layers.Cropping2D(cut, name=f"{name}_cut")(x) if np.any(cut) else x


def _copy(layer, name, args, kwargs=None, *, changes=None):
    """Calls a copy of `layer` with its weights."""
    kind: Any = _REPLACEMENTS.get(type(layer).__name__, type(layer))
    config = {**layer.get_config(), "name": name, **(changes or {})}
    weights = layer.get_weights() if isinstance(layer, layers.Layer) else []
    if kind is blocks.Conv2D and _is_depthwise(layer):
        dropped = ("filters", "groups", "kernel_initializer", "kernel_regularizer")
        config = {
            k: v for k, v in config.items() if k not in (*dropped, "kernel_constraint")
        }
        kind, weights[0] = layers.DepthwiseConv2D, np.swapaxes(weights[0], 2, 3)
    copy = kind.from_config(config)
    x = copy(*args, **(kwargs or {}))
    if isinstance(copy, layers.Conv2D):
        weights[0] = backbones.inflate(weights[0], copy.kernel.shape)
    if weights:
        copy.set_weights(weights)
    return x


def _is_depthwise(layer):
    return layer.groups == layer.filters > 1 and layer.kernel.shape[2] == 1
