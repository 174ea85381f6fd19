"""How programs name the arrays of a layer, and order their axes."""

import dataclasses
import types
from collections.abc import Callable, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names of arrays, and the order of their axes.

    Attributes:
        separator: Between the name of the layer and that of an array.
        names: Name of an array by the name of the variable in Keras.
        order: Function of an array, and the layer and variable of Keras for which it
            is meant, to the array in the order of axes of Keras.
    """

    separator: str
    names: Mapping[str, str]
    order: Callable


def _of_torch(array: np.ndarray, layer, variable) -> np.ndarray:
    from keras import layers

    if "kernel" not in variable.name:
        return array
    if isinstance(layer, layers.Dense):
        return array.reshape(array.shape[0], -1).T
    if array.ndim == 2:  # A linear layer, as a 1x1 convolution.
        array = array[:, :, np.newaxis, np.newaxis]
    is_separable = isinstance(layer, layers.SeparableConv2D)
    if isinstance(layer, layers.DepthwiseConv2D) or (
        is_separable and variable.name == "depthwise_kernel"
    ):
        channels = variable.shape[2]
        shape = (channels, array.shape[0] // channels, *array.shape[2:])
        return array.reshape(shape).transpose(2, 3, 0, 1)
    return array.transpose(2, 3, 1, 0)  # Also of transposed ones: in, out, h, w.


def _as_it_is(array, layer, variable):
    del layer, variable
    return array


_NORMS = {"moving_mean": "running_mean", "moving_variance": "running_var"}
# PyTorch: convolutions [out, in, height, width], linear layers [out, in].
TORCH = Layout(
    ".",
    types.MappingProxyType(
        {
            **dict.fromkeys(("kernel", "gamma"), "weight"),
            **dict.fromkeys(("depthwise_kernel", "pointwise_kernel"), "weight"),
            **dict.fromkeys(("bias", "beta"), "bias"),
            **_NORMS,
        }
    ),
    _of_torch,
)
# TF-Slim, as in TF DeepLab: the axes are those of Keras. The array of a depthwise
# convolution is named in `networks.Source.names`.
SLIM = Layout(
    "/",
    types.MappingProxyType(
        {
            "kernel": "weights",
            "depthwise_kernel": "depthwise_weights",
            "pointwise_kernel": "pointwise_weights",
            "bias": "biases",
            **{name: name for name in ("gamma", "beta")},
            **{name: name for name in _NORMS},
        }
    ),
    _as_it_is,
)
# Files of Keras 3: the position of a variable in its layer, in the order of Keras.
KERAS = Layout(
    "/",
    types.MappingProxyType(
        {
            **dict.fromkeys(("kernel", "gamma"), "vars/0"),
            **dict.fromkeys(("bias", "beta"), "vars/1"),
            "moving_mean": "vars/2",
            "moving_variance": "vars/3",
        }
    ),
    _as_it_is,
)
