"""What fits into memory: an estimate before a picture is tried as a whole."""

import os
import tempfile

import numpy as np
import tensorflow as tf

# Bytes a pixel: more than a network of the garden needs for a picture of a megapixel,
# and what is taken for one whose layers cannot be seen, as in an export.
MOST_BYTES = 16_000
_UNSEEN_BYTES = 8_000
_IN_MEMORY = 2**28  # Bytes; larger arrays are files.


def needed(call, height: int, width: int) -> int:
    """Estimates what a network needs at its widest place, from its graph.

    Args:
        call: Function of float32 pictures `[batch, height, width, 3]`.
        height: Of a picture. What attention needs grows faster than the picture does.
        width: Likewise.

    Returns:
        Bytes for one picture: the maps that are alive at once, in the order in which
        the network was built, and as much again for scratch and for layers that work
        side by side. Measured were 0.46 to 0.89 of it.
    """
    operations = _operations(call, height, width)
    if any("Call" in operation.type for operation in operations):
        return _UNSEEN_BYTES * height * width
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


def kept(call, height: int, width: int) -> int:
    """Counts the bytes of all maps of one picture, which a backward pass wants.

    Args:
        call: See `needed`, as for the others.
        height: Of the picture.
        width: Likewise.
    """
    operations = _operations(call, height, width)
    return sum(_map_bytes(t) for operation in operations for t in operation.outputs)


def _operations(call, height, width):
    picture = tf.TensorSpec([1, height, width, 3], tf.float32)
    return tf.function(call).get_concrete_function(picture).graph.get_operations()


def _map_bytes(tensor):
    """Counts a map's bytes; of weights, which do not grow with the picture, none."""
    shape = tensor.shape
    if tensor.op.type in ("Placeholder", "ReadVariableOp", "Const", "Identity"):
        return 0
    if not shape.is_fully_defined() or shape.rank < 2 or shape[0] != 1:
        return 0
    return shape.num_elements() * tensor.dtype.size


def allocate(shape, dtype=np.float32) -> np.ndarray:
    """Makes an array of zeros: in memory, or in a file that nobody else sees.

    Raises:
        OSError: The folder of temporary files (TMPDIR) is too full for it.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= _IN_MEMORY:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            # A full disk is an error here; in a mapped file it kills the process.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{size / 2**30:.1f} GiB for an array of {list(shape)} do not fit into "
                f"{tempfile.gettempdir()}: {error.strerror}. Free some, or let TMPDIR "
                f"name a larger folder",
            ) from error
        return np.memmap(file, dtype, "r+", shape=tuple(shape))
