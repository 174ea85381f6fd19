"""Gaussian filtering by many features at once: the permutohedral lattice.

Made of sorting, searching and sums over segments, so that it runs on any backend, on a
GPU and in an exported graph. What depends on the features is made once; then each
filtering takes time in proportion to the pixels, whatever the deviations.

Source: Adams, Baek and Davis, Fast high-dimensional filtering using the permutohedral
lattice, Eurographics 2010. Scale, blur and constants are those of the released
DenseCRF code, whose results it repeats.
"""

import math

import keras
import numpy as np
from keras import ops

from kerasseg.blocks import lattice_cells

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


class Lattice:
    """Pixels on a permutohedral lattice of their features, ready to be filtered.

    Pixels of a batch speak to those of the same picture only.

    Args:
        features: Float32 `[batch, height, width, dimensions]`, each divided by the
            standard deviation of its Gaussian. There is no gradient with respect to
            them.
    """

    def __init__(self, features):
        _, height, width, dimensions = ops.shape(features)
        features = ops.reshape(ops.stop_gradient(features), (-1, dimensions))
        pixels = ops.shape(features)[0]
        base, rank, self._shares = _simplex(ops.transpose(features))
        pictures = ops.arange(pixels) // (height * width)
        cells = lattice_cells.number(base, rank, pictures)
        self._cells, self._neighbors = cells.of_pixels, cells.neighbors
        # What goes to one cell lies side by side: sums are far faster so.
        self._ids, self._count = cells.ids, cells.count
        self._senders = cells.order % pixels
        self._sent = lattice_cells.take(ops.reshape(self._shares, (-1,)), cells.order)

    def filter(self, values):
        """Adds up the values of all pixels, each times exp(-distance**2 / 2), about.

        Args:
            values: Floats `[batch, height, width, channels]`.

        Returns:
            Sums of that shape and type.
        """
        if not _ON_TENSORFLOW:
            return self._filter(values)

        # TensorFlow's own gradient scatters values one by one, several times as slow.
        @ops.custom_gradient
        def filtered(values):
            return self._filter(values), lambda slope: self._filter(slope, way=-1)

        return filtered(values)

    def _filter(self, values, way=1):
        """Filters; with `way` -1 by the transposed matrix, which is the gradient."""
        flat = ops.reshape(values, (-1, values.shape[-1]))
        sent = ops.cast(self._sent, values.dtype)[:, None]
        sent = sent * lattice_cells.take(flat, self._senders)
        cells = ops.segment_sum(sent, self._ids, num_segments=self._count, sorted=True)
        for before, after in self._neighbors[::way]:
            beside = lattice_cells.take(cells, before)
            beside = beside + lattice_cells.take(cells, after)
            cells = cells + 0.5 * beside
        shares = ops.cast(self._shares, values.dtype)
        corners = shares.shape[0]
        result = sum(
            lattice_cells.take(cells, self._cells[i]) * shares[i][:, None]
            for i in range(corners)
        )
        return ops.reshape(result / (1 + 2.0 ** (1 - corners)), ops.shape(values))


def _simplex(features):
    """Finds the simplex of the lattice around each pixel.

    Args:
        features: `[dimensions, pixels]`.

    Returns:
        The simplex' corner of remainder 0, in units of dimensions + 1, and the rank of
        what is beyond it in each coordinate, the largest first, both int32
        `[dimensions + 1, pixels]`; the pixel's shares in the corners, by remainder, of
        that shape too.
    """
    elevated = _elevate(features)
    corners = elevated.shape[0]
    base = ops.round(elevated / corners)
    beyond = elevated - base * corners
    rank = ops.stack([_rank(beyond, i) for i in range(corners)])
    # Rounding may leave the plane where coordinates add up to 0; go back to it.
    base = ops.cast(base, "int32")
    rank = rank + ops.sum(base, axis=0)
    turn = ops.cast(rank < 0, "int32") - ops.cast(rank >= corners, "int32")
    base, rank = base + turn, rank + corners * turn
    beyond = beyond / corners - ops.cast(turn, beyond.dtype)
    ranked = [
        ops.sum(ops.where(ops.equal(rank, i), beyond, 0.0), axis=0)
        for i in range(corners)
    ]
    shares = [1.0 + ranked[-1] - ranked[0]]
    shares += [ranked[i - 1] - ranked[i] for i in range(corners - 1, 0, -1)]
    return base, rank, ops.stack(shares)


def _elevate(features):
    """Turns features into the plane of the lattice, `[dimensions + 1, pixels]`."""
    i = np.arange(1, features.shape[0] + 1)
    # The blur along all axes then has a deviation of 1.
    scale = math.sqrt(2 / 3) * (features.shape[0] + 1) / np.sqrt(i * (i + 1))
    scaled = features * ops.array(scale[:, None], "float32")
    sums = ops.flip(ops.cumsum(ops.flip(scaled, axis=0), axis=0), axis=0)
    steps = scaled * ops.array(i[:, None], "float32")
    return ops.pad(sums, [[0, 1], [0, 0]]) - ops.pad(steps, [[1, 0], [0, 0]])


def _rank(values, i):
    """Counts the rows larger than row `i`, of equal ones those before it."""
    before = ops.arange(values.shape[0])[:, None] < i
    larger = ops.logical_or(
        values > values[i], ops.logical_and(ops.equal(values, values[i]), before)
    )
    return ops.sum(ops.cast(larger, "int32"), axis=0)
