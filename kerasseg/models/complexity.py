"""Computational complexity: multiply-adds, as papers count them."""

import math

import keras
from keras import layers

from kerasseg import blocks, errors


def count_multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of convolutions and dense layers for one image.

    Normalization, activations, resizing and the products of attention are left out.

    Args:
        model: Functional model with a static image size. A layer that is called
            several times is counted several times, the heads of a detector once for
            each region.

    Raises:
        UserError: The image size is not static.
    """
    if None in model.input_shape[1:3]:
        raise errors.UserError(
            f"Multiply-adds need a static image size, got {model.input_shape}. Build "
            "the model with image_size=(height, width)."
        )
    return sum(
        _of_call(node.operation, node.arguments.keras_tensors[0], node.outputs[0])
        for nodes in model._nodes_by_depth.values()
        for node in nodes
        if node.arguments.keras_tensors
    )


def _of_call(layer, source, target):
    if isinstance(layer, keras.Model):
        return _num_regions(source) * count_multiply_adds(layer)
    cells = math.prod(target.shape[1:-1])
    if isinstance(layer, layers.Conv2DTranspose):
        return math.prod(source.shape[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.SeparableConv2D):
        kernels = layer.depthwise_kernel, layer.pointwise_kernel
        return cells * sum(math.prod(kernel.shape) for kernel in kernels)
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
        return cells * math.prod(layer.kernel.shape)
    return 0


def _num_regions(source):
    """Returns the number of regions of an image in a tensor of their features."""
    history = source._keras_history
    if not isinstance(history.operation, blocks.RoiAlign | keras.Model):
        return 1
    node = history.operation._inbound_nodes[history.node_index]
    first = node.arguments.keras_tensors[0]
    if isinstance(history.operation, keras.Model):  # Such as a stage before the heads.
        return _num_regions(first)
    return first.shape[1]
