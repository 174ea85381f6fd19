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
            each region, and what follows `blocks.ClassPasses` once for each pass.

    Raises:
        UserError: The image size is not static.
    """
    if None in model.input_shape[1:3]:
        raise errors.UserError(
            f"Multiply-adds need a static image size, got {model.input_shape}. Build "
            "the model with image_size=(height, width)."
        )
    total, passes = 0, dict[int, int]()  # Passes of each tensor, by its id.
    for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            sources = node.arguments.keras_tensors
            if not sources:
                continue
            count = max(passes.get(id(x), 1) for x in sources)
            if isinstance(node.operation, blocks.ClassPasses):
                count *= sources[0].shape[-1] + 1
            passes.update((id(x), count) for x in node.outputs)
            backward = bool(node.arguments.kwargs.get("transposed"))
            call = node.operation, sources[0], node.outputs[0]
            total += count * _of_call(*call, backward=backward)
    return total


def _of_call(layer, source, target, *, backward=False):
    if isinstance(layer, keras.Model):
        return _num_regions(source) * count_multiply_adds(layer)
    cells = math.prod(target.shape[1:-1])
    if backward or isinstance(layer, layers.Conv2DTranspose):
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
