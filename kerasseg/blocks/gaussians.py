"""Gaussian sums over the pixels of pictures: by place, and by place and colour."""

import math

from keras import ops

from kerasseg.blocks.lattice import Lattice

_REACH = 4  # Standard deviations; beyond lie 6e-5 of a Gaussian.


def smooth(values, sxy):
    """Adds up the values of all pixels, each times exp(-distance**2 / (2 sxy**2)).

    Args:
        values: Floats `[batch, height, width, channels]`.
        sxy: Standard deviation in pixels, a number above 0, or a tensor of one.

    Returns:
        Sums of that shape and type. What is farther than 4 deviations up, down, left
        or right does not count.
    """
    channels = values.shape[-1]
    for axis in (1, 2):
        reach = _reach(sxy, ops.shape(values)[axis] - 1)
        distance = ops.cast(ops.arange(-reach, reach + 1), values.dtype)
        kernel = ops.exp(-0.5 * ops.square(distance * (1 / sxy)))
        sides = (-1, 1) if axis == 1 else (1, -1)
        kernel = ops.tile(ops.reshape(kernel, (*sides, 1, 1)), (1, 1, channels, 1))
        values = ops.depthwise_conv(values, kernel, padding="same")
    return values


def _reach(sxy, most):
    """Keeps a number that is known: JAX needs them."""
    if isinstance(sxy, int | float) and isinstance(most, int):
        return min(math.ceil(min(_REACH * sxy, 1e9)), most)
    reach = ops.ceil(ops.minimum(_REACH * ops.cast(sxy, "float32"), 1e9))
    return ops.minimum(ops.cast(reach, "int32"), most)


def by_place_and_color(image, sxy, srgb) -> Lattice:
    """Puts a picture's pixels on a lattice, whose `filter` then takes their values.

    Args:
        image: RGB `[batch, height, width, 3]`, floats.
        sxy: Standard deviation of places, in pixels, a number above 0 or a tensor.
        srgb: Standard deviation of each colour, in its units; likewise.
    """
    height, width = ops.shape(image)[1:3]
    none = ops.zeros_like(image[..., :1])
    x = none + ops.cast(ops.arange(width), image.dtype)[:, None]
    y = none + ops.cast(ops.arange(height), image.dtype)[:, None, None]
    features = [x * (1 / sxy), y * (1 / sxy), image * (1 / srgb)]
    return Lattice(ops.concatenate(features, axis=-1))
