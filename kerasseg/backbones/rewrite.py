"""Encoders of keras.applications at any output stride, by rewriting their graphs."""

import collections
import re
from typing import Any

import keras
from keras import layers

from kerasseg.backbones import dilation


def encoder(source, image, *, output_stride=32, widest=False):
    """Builds the graph of `source` again, on `image`, with its weights.

    Layers keep their names, so weights carry over between output strides; those that
    Keras named are counted anew, because it counts over the whole process. Rescaling
    and normalisation inside `source` are left out. A grouped convolution with one
    channel a group becomes a depthwise one, which is 20 times faster on a CPU.

    Args:
        source: A functional model as keras.applications builds it, without its top.
        image: The picture, normalised as `source` does or wants it,
            `[batch, height, width, 3]`.
        output_stride: Pixels of `image` to one cell of "c5", a power of 2.
        widest: Takes the last of the widest maps of a stride as its endpoint, where
            stages end in branches or narrow maps; else what the next one starts from.

    Returns:
        Dict of "c1" to "c5", without those whose stride `source` does not have. "c5"
        is its output. "c<k>" has ceil(size / min(2**k, output_stride)) cells a side.

    Raises:
        ValueError: A layer cannot be rewritten, or `output_stride` not be reached.
    """
    names = _stable_names(source)
    maps: dict[str, dilation.Map] = {}
    ends: dict[int, Any] = {}
    for operation, args, kwargs in _calls(source, maps):
        result = dilation.Map(image, 1)
        for layer in _leaves(operation):
            result = dilation.replace(
                layer, args, kwargs, output_stride, names[layer.name]
            )
            args, kwargs = [result], {}
            channels = ends[result.stride].shape[-1] if result.stride in ends else 0
            if not (widest and result.x.shape[-1] < channels):
                ends[result.stride] = result.x
        maps[operation.name] = result
    ends[32] = result.x
    return {f"c{k}": ends[2**k] for k in range(1, 6) if 2**k in ends}


def _stable_names(source):
    """Gives each name one that does not depend on what else the process has built."""
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
    """Walks the graph in order: each operation, with its arguments out of `maps`."""
    operations = {operation.name: operation for operation in source.operations}
    for entry in source.get_config()["layers"]:
        call = (entry["inbound_nodes"] or [{"args": [], "kwargs": {}}])[0]
        operation = operations[entry["name"]]
        yield operation, _fill(call["args"], maps), _fill(call["kwargs"], maps)


def _fill(argument, maps):
    if isinstance(argument, list | tuple):
        return [_fill(part, maps) for part in argument]
    if not isinstance(argument, dict):
        return argument
    if argument.get("class_name") == "__keras_tensor__":
        return maps[argument["config"]["keras_history"][0]]
    given = {key: part for key, part in argument.items() if part is not None}
    return {key: _fill(part, maps) for key, part in given.items()}


def _leaves(operation):
    """Lists the layers of a nested model; the input of any is none."""
    if isinstance(operation, layers.InputLayer):
        return []
    if not isinstance(operation, keras.Sequential):
        return [operation]
    return [leaf for layer in operation.layers for leaf in _leaves(layer)]
