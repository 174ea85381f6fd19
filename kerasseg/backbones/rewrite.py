"""Rewriting of keras.applications models to any output stride."""

import collections
import dataclasses
import re
from typing import Any

import keras
from keras import layers

from kerasseg import blocks
from kerasseg.backbones import dilation

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_NORMS = (layers.BatchNormalization, layers.LayerNormalization)
# Layers of inverted residual units that can be their last one, after the unit's name.
_UNIT_END = re.compile(r"(.*)_(?:project_bn|project_BN|add)")
ENDS = ("expansion", "last", "first")
_KEPT = (layers.Activation, layers.ReLU, layers.ZeroPadding2D, layers.Cropping2D)


def encoder(
    source: keras.Model,
    image,
    *,
    output_stride: int = 32,
    widest: bool = False,
    own_ends: bool = True,
    crop: bool = False,
    ends: str = "expansion",
    is_symmetric: bool = False,
    first_rate: str = "old",
) -> dict[str, Any]:
    """Builds the graph of `source` again, on `image`, with its weights.

    Layers keep their names, so weights can be loaded at another output stride. Layers
    that Keras named automatically get a stable number, because Keras counts over the
    whole process. Rescaling and normalization layers are left out. A grouped
    convolution with one channel per group becomes a depthwise convolution, which is 20
    times faster on a CPU.

    Args:
        source: Functional model of keras.applications without its top.
        image: Image normalized as `source` expects it, after its own normalization
            layers if it has any, `[batch, height, width, 3]`.
        output_stride: Stride of "c5" in pixels, a power of 2.
        widest: Whether the endpoint of a stride is the last of its widest maps, for
            models whose stages end in branches or narrow maps; otherwise it is the
            input of the next stage.
        own_ends: Whether an endpoint is the output of the stage itself where the next
            one starts with a normalization (ConvNeXt, DenseNet, ResNetV2); otherwise it
            is the output of that normalization and the activation after it.
        crop: Whether rows and columns that do not fill the last window of a convolution
            whose stride is its size are left out; otherwise it is filled with zeros.
        ends: One of `ENDS`, for models of inverted residual units: "expansion" for the
            last map of a stride, which is the expansion in the next unit; "last" or
            "first" for the output of the last or first unit of a stride. Without
            units, all are the same.
        is_symmetric: See `dilation.Windows`.
        first_rate: See `dilation.Windows`.

    Returns:
        Dict of "c1" to "c5", without strides that `source` does not have. "c5" is the
        output of `source`. "c<k>" has ceil(size / min(2**k, output_stride)) rows and
        columns, or with `crop` floor(size / 2**k).

    Raises:
        UserError: A layer cannot be rewritten, or `output_stride` is not possible.
    """
    names = _stable_names(source)
    maps: dict[str, dilation.Map] = {}
    windows = dilation.Windows(output_stride, is_symmetric, first_rate)
    found = _Ends(widest, ends)
    for operation, args, kwargs in _calls(source, maps):
        result = dilation.Map(image, 1)
        for layer in _leaves(operation):
            origin = _origin(layer, (args, kwargs))
            if crop and isinstance(layer, layers.Conv2D):
                args = [_cropped(layer, names[layer.name], args[0])]
            result = dilation.replace(layer, args, kwargs, windows, names[layer.name])
            result = dataclasses.replace(result, origin=origin)
            args, kwargs = [result], {}
            if own_ends and origin is dilation.Origin.NORM_FIRST:
                continue
            found.add(result, layer.name)
        maps[operation.name] = result
    return found.endpoints(result)


class _Ends:
    """Chooses the endpoint of each stride among the maps of a model, in order."""

    def __init__(self, widest, kind):
        self._widest, self._kind = widest, kind
        self._maps: dict[int, Any] = {}
        self._units: dict[int, str] = {}

    def add(self, m, name):
        """Notes the map that the layer called `name` of the original graph returns."""
        unit = _UNIT_END.fullmatch(name)
        if self._kind != "expansion" and (unit or m.stride in self._units):
            first = self._units.setdefault(m.stride, unit[1]) if unit else None
            if unit and (self._kind == "last" or unit[1] == first):
                self._maps[m.stride] = m.x
            return
        narrower = m.stride in self._maps and (
            m.x.shape[-1] < self._maps[m.stride].shape[-1]
        )
        if not (self._widest and narrower):
            self._maps[m.stride] = m.x

    def endpoints(self, last):
        """Returns the endpoints; the last map is "c5"."""
        maps = {**self._maps, 32: last.x}
        return {f"c{k}": maps[2**k] for k in range(1, 6) if 2**k in maps}


def _cropped(layer, name, m):
    stride = layer.strides[0]
    if stride == 1 or layer.kernel_size != (stride, stride):
        return m
    crop = blocks.CropToMultiple(stride, name=f"{name}_crop")
    return dataclasses.replace(m, x=crop(m.x))


def _origin(layer, arguments):
    """Returns what a layer makes of its arguments, see `dilation.Origin`."""
    if isinstance(layer, _CONVOLUTIONS):
        return dilation.Origin.CONVOLUTION
    maps = [m for m in keras.tree.flatten(arguments) if isinstance(m, dilation.Map)]
    origin = maps[0].origin if len(maps) == 1 else dilation.Origin.OTHER
    if isinstance(layer, _NORMS):
        is_first = origin is not dilation.Origin.CONVOLUTION
        return dilation.Origin.NORM_FIRST if is_first else dilation.Origin.OTHER
    if origin is dilation.Origin.NORM_FIRST and isinstance(layer, _KEPT):
        return origin
    return dilation.Origin.OTHER


def _stable_names(source):
    """Maps layer names to names that do not depend on other models in the process."""
    counts: collections.Counter[str] = collections.Counter()
    names = {}
    for operation in source.operations:
        for layer in _leaves(operation):
            kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
            kind = re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
            names[layer.name] = layer.name
            if re.fullmatch(rf"{kind}(_\d+)?", layer.name):
                counts[kind] += 1
                names[layer.name] = f"{source.name}_{kind}_{counts[kind]}"
    return names


def _calls(source, maps):
    """Yields each operation in order, with its arguments from `maps`."""
    operations = {operation.name: operation for operation in source.operations}
    for entry in source.get_config()["layers"]:
        call = (entry["inbound_nodes"] or [{"args": [], "kwargs": {}}])[0]
        operation = operations[entry["name"]]
        yield (
            operation,
            _with_maps(call["args"], maps),
            _with_maps(call["kwargs"], maps),
        )


def _with_maps(argument, maps):
    if isinstance(argument, list | tuple):
        return [_with_maps(part, maps) for part in argument]
    if not isinstance(argument, dict):
        return argument
    if argument.get("class_name") == "__keras_tensor__":
        return maps[argument["config"]["keras_history"][0]]
    return {
        key: _with_maps(part, maps)
        for key, part in argument.items()
        if part is not None
    }


def _leaves(operation):
    """Returns the layers of a sequential model, without input layers."""
    if isinstance(operation, layers.InputLayer):
        return []
    if not isinstance(operation, keras.Sequential):
        return [operation]
    return [leaf for layer in operation.layers for leaf in _leaves(layer)]
