"""Estimates of the memory that a network needs for an image."""

from collections.abc import Callable

# Bytes per pixel: more than any of our networks needs for an image of a megapixel, and
# the estimate for a network whose layers are hidden, as in an export.
MOST_BYTES = 16_000
HIDDEN_BYTES = 8_000


def needed(call: Callable, height: int, width: int, channels: int = 3) -> int:
    """Estimates the peak memory of a network from its graph.

    Args:
        call: Function of float32 images `[batch, height, width, channels]`.
        height: Height of an image. Attention needs more than linear memory.
        width: Width of an image.
        channels: Its number of channels.

    Returns:
        Bytes per image: the feature maps that are alive at once, in the order in which
        the network was built, times two for scratch memory and for layers that run in
        parallel. The measured peak was 0.46 to 0.89 times the estimate.
    """
    operations = _operations(call, height, width, channels)
    if any("Call" in operation.type for operation in operations):
        return HIDDEN_BYTES * height * width
    last_use = {}
    for i, operation in enumerate(operations):
        for tensor in operation.inputs:
            last_use[tensor.name] = i
    ends: dict[int, int] = {}
    alive = most = 0
    for i, operation in enumerate(operations):
        for tensor in operation.outputs:
            size = _map_bytes(tensor)
            alive += size
            end = last_use.get(tensor.name, i)
            ends[end] = ends.get(end, 0) + size
        most = max(most, alive)
        alive -= ends.get(i, 0)
    return 2 * most


def kept(call: Callable, height: int, width: int, channels: int = 3) -> int:
    """Returns the bytes of all feature maps of one image, which training keeps.

    Args:
        call: Function of float32 images `[batch, height, width, channels]`.
        height: Height of the image.
        width: Width of the image.
        channels: Its number of channels.
    """
    operations = _operations(call, height, width, channels)
    return sum(_map_bytes(t) for operation in operations for t in operation.outputs)


def _operations(call, height, width, channels):
    import tensorflow as tf

    image = tf.TensorSpec([1, height, width, channels], tf.float32)
    return tf.function(call).get_concrete_function(image).graph.get_operations()


def _map_bytes(tensor):
    """Returns the bytes of a feature map; 0 for weights."""
    shape = tensor.shape
    if tensor.op.type in ("Placeholder", "ReadVariableOp", "Const", "Identity"):
        return 0
    if not shape.is_fully_defined() or shape.rank < 2 or shape[0] != 1:
        return 0
    return shape.num_elements() * tensor.dtype.size
