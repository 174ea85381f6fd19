"""Batch normalization folded into the preceding convolution, on a copy of a model."""

import collections
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasseg import blocks

# Exact classes: a subclass may use its kernel differently.
_FOLDABLE = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.Conv2DTranspose,
    blocks.Conv2D,
)
_BATCH_NORMS = layers.BatchNormalization, blocks.BatchNormalization


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Copies a model, with batch normalization folded into the convolutions.

    The copy computes in float32, whatever the dtype policy of `model`. A batch
    normalization stays where its convolution has an activation, or is also used by
    another layer. Both may be called several times, if always together.

    Args:
        model: A functional model; it is not changed.

    Returns:
        A model with the same layer names: the convolutions have biases, and the batch
        normalizations are identities.
    """
    return _copy(model, _pairs(model))


def is_half(model: keras.Model) -> bool:
    """Returns whether a model computes in half precision."""
    return any(layer.compute_dtype != "float32" for layer in model.layers)


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a float32 copy of a half-precision model, and any other model itself."""
    return _copy(model, []) if is_half(model) else model


def _pairs(model):
    """Returns pairs of a convolution and the batch normalization to fold into it."""
    config = model.get_config()
    sources = {entry["name"]: _sources(entry) for entry in config["layers"]}
    outputs = _names_of_tensors(config["output_layers"])
    uses = collections.Counter(name for names in sources.values() for name in names)
    uses.update(outputs)
    pairs = []
    for batch_norm in model.layers:
        if type(batch_norm) not in _BATCH_NORMS:
            continue
        source, *others = sources[batch_norm.name]  # Of each of its calls.
        if any(other != source for other in others) or uses[source] != len(others) + 1:
            continue
        convolution = model.get_layer(source)
        if _fits(convolution, batch_norm):
            pairs.append((convolution, batch_norm))
    return pairs


def _sources(entry):
    """Returns the names of a layer's input layers, over all of its calls."""
    return [
        part["config"]["keras_history"][0]
        for node in entry["inbound_nodes"]
        for part in _tensors((node["args"], node["kwargs"]))
    ]


def _tensors(value):
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _names_of_tensors(value):
    """Returns the names in `[name, node, tensor]`, or in a list or dict of those."""
    if isinstance(value, dict):
        value = list(value.values())
    if value and isinstance(value[0], str):
        return [value[0]]
    return [name for part in value for name in _names_of_tensors(part)]


def _fits(convolution, batch_norm):
    return (
        type(convolution) in _FOLDABLE
        and convolution.activation is keras.activations.linear
        and convolution.data_format == "channels_last"
        and batch_norm.axis in (-1, 3)
    )


def _copy(model, pairs):
    batch_norms = {convolution.name: bn for convolution, bn in pairs}
    folded = {bn.name for _, bn in pairs}
    copies: list[tuple[Any, Any]] = []

    def clone(layer):
        if layer.name in folded:
            return layers.Identity(name=layer.name, dtype="float32")
        config = layer.get_config()
        if not isinstance(layer, layers.Layer):
            return type(layer).from_config(config)  # One of keras.ops.
        if isinstance(layer, keras.Model):  # A head that is applied to regions.
            return _copy(layer, [])
        if layer.compute_dtype in ("float16", "bfloat16"):
            config["dtype"] = "float32"
        if layer.name in batch_norms:
            config["use_bias"] = True
        copies.append((layer, type(layer).from_config(config)))
        return copies[-1][1]

    def call(layer, *args, **kwargs):
        # A batch normalization may be called with a mask, an identity may not.
        return layer(args[0]) if layer.name in folded else layer(*args, **kwargs)

    result = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer, copy in copies:
        if layer.name in batch_norms:
            copy.set_weights(_fold(layer, batch_norms[layer.name]))
        else:
            copy.set_weights(layer.get_weights())
    return result


def _fold(convolution, batch_norm):
    """Returns the weights of the convolution that replaces both."""
    *kernels, kernel = _kernels(convolution)
    channels = int(batch_norm.moving_mean.shape[0])
    gamma = _array(batch_norm.gamma, 1, channels)
    beta = _array(batch_norm.beta, 0, channels)
    mean = _array(batch_norm.moving_mean, 0, channels)
    variance = _array(batch_norm.moving_variance, 1, channels)
    scale = gamma / np.sqrt(variance + batch_norm.epsilon)
    bias = (_array(convolution.bias, 0, channels) - mean) * scale + beta
    if isinstance(convolution, layers.DepthwiseConv2D):
        factor = scale.reshape(kernel.shape[2:])  # [channels in, channels of each]
    elif isinstance(convolution, layers.Conv2DTranspose):
        factor = scale[:, None]  # Its kernel is [height, width, out, in].
    else:
        factor = scale
    return [*kernels, kernel * factor, bias]


def _kernels(convolution):
    num_kernels = 2 if isinstance(convolution, layers.SeparableConv2D) else 1
    return [k.astype(np.float64) for k in convolution.get_weights()[:num_kernels]]


def _array(variable, default, channels):
    if variable is None:
        return np.full(channels, default, np.float64)
    return keras.ops.convert_to_numpy(variable).astype(np.float64)
