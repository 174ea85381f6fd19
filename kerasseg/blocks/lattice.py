"""Permutohedral lattice: Gaussian filtering in a feature space of several dimensions.

It is built from sorting, searching and segment sums, so it runs on any backend, on a
GPU and in an exported graph. The lattice is built once for given features. The time to
filter with it is proportional to the number of pixels, for any standard deviation.

Source: Adams, Baek and Davis, Fast high-dimensional filtering using the permutohedral
lattice, Eurographics 2010. Scale, blur and constants are those of the released
DenseCRF code, and so are the results.
"""

import math

import keras
import numpy as np
from keras import ops

from kerasseg.blocks import lattice_cells

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


class Lattice:
    """Permutohedral lattice of the features of pixels.

    Each image of a batch is filtered separately.

    Args:
        features: Float32 `[batch, height, width, dimensions]`, each divided by the
            standard deviation of its Gaussian. They receive no gradient.
    """

    def __init__(self, features):
        _, height, width, dimensions = ops.shape(features)
        features = ops.reshape(ops.stop_gradient(features), (-1, dimensions))
        pixels = ops.shape(features)[0]
        base, rank, self._weights = _simplex(ops.transpose(features))
        images = ops.arange(pixels) // (height * width)
        cells = lattice_cells.number(base, rank, images)
        self._cells, self._neighbors = cells.of_pixels, cells.neighbors
        # Values in the order of their cells: segment sums are much faster.
        self._ids, self._count = cells.ids, cells.count
        self._senders = cells.order % pixels
        self._sent = lattice_cells.take(ops.reshape(self._weights, (-1,)), cells.order)

    def filter(self, values):
        """Sums the values of all pixels, weighted by about exp(-distance**2 / 2).

        `distance` is that of the features of two pixels of an image.

        Args:
            values: Floats `[batch, height, width, channels]`.

        Returns:
            Sums of the same shape and dtype.
        """
        if not _ON_TENSORFLOW:
            return self._filter(values)

        # TensorFlow's gradient of a gather is several times slower.
        @ops.custom_gradient
        def filtered(values):
            return self._filter(values), lambda gradient: self._filter(
                gradient, direction=-1
            )

        return filtered(values)

    def _filter(self, values, direction=1):
        """Filters; with `direction` -1 by the transposed matrix, for the gradient."""
        flat = ops.reshape(values, (-1, values.shape[-1]))
        sent = ops.cast(self._sent, values.dtype)[:, None]
        sent = sent * lattice_cells.take(flat, self._senders)
        cells = ops.segment_sum(sent, self._ids, num_segments=self._count, sorted=True)
        for before, after in self._neighbors[::direction]:
            adjacent = lattice_cells.take(cells, before)
            adjacent = adjacent + lattice_cells.take(cells, after)
            cells = cells + 0.5 * adjacent
        weights = ops.cast(self._weights, values.dtype)
        corners = weights.shape[0]
        result = sum(
            lattice_cells.take(cells, self._cells[i]) * weights[i][:, None]
            for i in range(corners)
        )
        return ops.reshape(result / (1 + 2.0 ** (1 - corners)), ops.shape(values))


def _simplex(features):
    """Finds the simplex of the lattice around each pixel.

    Args:
        features: `[dimensions, pixels]`.

    Returns:
        `(base, rank, weights)`, each `[dimensions + 1, pixels]`: int32 coordinates of
        the corner of remainder 0, in units of dimensions + 1; int32 rank of the
        pixel's offset from that corner in each coordinate, 0 for the largest; and
        barycentric weights of the corners, by remainder.
    """
    elevated = _elevate(features)
    corners = elevated.shape[0]
    base = ops.round(elevated / corners)
    offset = elevated - base * corners
    rank = ops.stack([_rank(offset, i) for i in range(corners)])
    # After rounding, the coordinates may not sum to 0; return to that plane.
    base = ops.cast(base, "int32")
    rank = rank + ops.sum(base, axis=0)
    shift = ops.cast(rank < 0, "int32") - ops.cast(rank >= corners, "int32")
    base, rank = base + shift, rank + corners * shift
    offset = offset / corners - ops.cast(shift, offset.dtype)
    ranked = [
        ops.sum(ops.where(ops.equal(rank, i), offset, 0.0), axis=0)
        for i in range(corners)
    ]
    weights = [1.0 + ranked[-1] - ranked[0]]
    weights += [ranked[i - 1] - ranked[i] for i in range(corners - 1, 0, -1)]
    return base, rank, ops.stack(weights)


def _elevate(features):
    """Projects features onto the plane of the lattice, `[dimensions + 1, pixels]`."""
    i = np.arange(1, features.shape[0] + 1)
    # With this scale the blur along all axes has a standard deviation of 1.
    scale = math.sqrt(2 / 3) * (features.shape[0] + 1) / np.sqrt(i * (i + 1))
    scaled = features * ops.array(scale[:, None], "float32")
    sums = ops.flip(ops.cumsum(ops.flip(scaled, axis=0), axis=0), axis=0)
    steps = scaled * ops.array(i[:, None], "float32")
    return ops.pad(sums, [[0, 1], [0, 0]]) - ops.pad(steps, [[1, 0], [0, 0]])


def _rank(values, i):
    """Counts the rows larger than row `i`, and equal rows before it."""
    before = ops.arange(values.shape[0])[:, None] < i
    larger = ops.logical_or(
        values > values[i], ops.logical_and(ops.equal(values, values[i]), before)
    )
    return ops.sum(ops.cast(larger, "int32"), axis=0)
