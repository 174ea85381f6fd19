"""Gaussian filters over the pixels of images: spatial and bilateral."""

import math

from keras import ops

from kerasseg.blocks.lattice import Lattice

_REACH = 4  # Standard deviations; 6e-5 of a Gaussian lies beyond.


def smooth(values, sxy: float):
    """Sums the values of all pixels, weighted by exp(-distance**2 / (2 sxy**2)).

    Args:
        values: Floats `[batch, height, width, channels]`.
        sxy: Standard deviation in pixels, above 0: a number or a scalar tensor.

    Returns:
        Sums of the same shape and dtype. Pixels more than 4 standard deviations away
        horizontally or vertically are left out.
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
    """Returns the radius in pixels, as a number if both are known: JAX needs that."""
    if isinstance(sxy, int | float) and isinstance(most, int):
        return min(math.ceil(min(_REACH * sxy, 1e9)), most)
    reach = ops.ceil(ops.minimum(_REACH * ops.cast(sxy, "float32"), 1e9))
    return ops.minimum(ops.cast(reach, "int32"), most)


def bilateral_lattice(image, sxy: float, srgb) -> Lattice:
    """Builds the lattice of an image's pixels by position and color.

    Args:
        image: RGB `[batch, height, width, 3]`, floats.
        sxy: Standard deviation of positions in pixels, above 0: a number or a scalar
            tensor.
        srgb: Standard deviation of each color channel in the units of `image`, above 0:
            a number or a scalar tensor.

    Returns:
        Lattice whose `filter` is a bilateral filter.
    """
    height, width = ops.shape(image)[1:3]
    zeros = ops.zeros_like(image[..., :1])
    x = zeros + ops.cast(ops.arange(width), image.dtype)[:, None]
    y = zeros + ops.cast(ops.arange(height), image.dtype)[:, None, None]
    features = [x * (1 / sxy), y * (1 / sxy), image * (1 / srgb)]
    return Lattice(ops.concatenate(features, axis=-1))
