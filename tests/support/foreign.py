"""Weights as another program would save them, made from a network of kerasseg."""

import numpy as np
from keras import layers

from kerasseg.weights.networks import Network, Source


def of_torch(model, network: Network) -> dict[str, np.ndarray]:
    """Returns the arrays of a model, named and ordered as in PyTorch.

    Sources with a `change`, several modules or defaults are not supported.
    """
    arrays = {}
    for layer in model.layers:
        for variable in layer.weights:
            source = network.source(layer.name)
            module = source.module if isinstance(source, Source) else source
            name = f"{module}.{network.layout.names[variable.name]}"
            array = np.array(variable.value)
            arrays[name] = _of_torch(array, layer) if array.ndim > 1 else array
    return arrays


def _of_torch(kernel, layer):
    if isinstance(layer, layers.DepthwiseConv2D):
        height, width, channels, factor = kernel.shape
        moved = kernel.transpose(2, 3, 0, 1)
        return moved.reshape(channels * factor, 1, height, width).copy()
    order = (1, 0) if kernel.ndim == 2 else (3, 2, 0, 1)
    return kernel.transpose(order).copy()
