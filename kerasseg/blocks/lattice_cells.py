"""Numbering of the lattice points (cells) around the pixels, and their neighbors."""

import dataclasses
import importlib
from typing import Any

import keras
import numpy as np
from keras import ops

_BACKEND = keras.backend.backend()
_ON_TENSORFLOW = _BACKEND == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None
# The key of a cell is one int64, or two int32 on JAX, which has no 64-bit integers.
_KEY_TYPE, _PARTS = ("int32", 2) if _BACKEND == "jax" else ("int64", 1)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Cells of a lattice, numbered from 1; 0 stands for cells without a pixel.

    Attributes:
        of_pixels: Cell of each corner and pixel, `[corners, pixels]`.
        order: Indices into `of_pixels`, flattened, in the order of the cells.
        ids: The cells in that order.
        count: Number of segments, an upper bound of the cells plus 1; None on
            TensorFlow, which does not need it.
        neighbors: For each axis, the cells before and after each cell, from 0 on.
    """

    of_pixels: Any
    order: Any
    ids: Any
    count: int | None
    neighbors: list


def take(values, indices):
    """Gathers rows by index, at least 0.

    `keras.ops.take` also allows negative indices and copies all indices for that.
    """
    return tf.gather(values, indices) if tf else ops.take(values, indices, axis=0)


def number(base, rank, images) -> Cells:
    """Numbers the cells.

    The digits of a key are image, remainder and coordinates. The key can overflow 64
    bits if several features span thousands of standard deviations; then distant cells
    can get the same number.

    Args:
        base: Corner of remainder 0, int32 `[corners, pixels]`; see `lattice`.
        rank: Rank of each coordinate, same shape.
        images: Index of each pixel's image, int32 `[pixels]`.
    """
    corners, pixels = ops.shape(base)
    base = base[:-1]  # The last coordinate follows from the others.
    low = ops.min(base, axis=1, keepdims=True) - 2
    strides = _strides(ops.max(base - low, axis=1) + 2, corners)
    keys = [_keys(base - low, rank[:-1], images, each) for each in strides]
    order = _order(keys)
    keys = [take(part, order) for part in keys]
    new = ops.any(ops.stack([part[1:] != part[:-1] for part in keys]), axis=0)
    ids = 1 + ops.pad(ops.cumsum(ops.cast(new, "int32")), [[1, 0]])
    of_pixels = ops.scatter(order[:, None], ids, (corners * pixels,))
    count = _count(ids, corners * pixels)
    first = ops.searchsorted(ids, ops.arange(1, count))
    first = ops.minimum(ops.cast(first, "int32"), corners * pixels - 1)
    keys = [take(part, first) for part in keys]
    neighbors = _neighbors(keys, take(order, first) // pixels, strides)
    count = None if _ON_TENSORFLOW else count
    return Cells(
        ops.reshape(of_pixels, (corners, pixels)), order, ids, count, neighbors
    )


def _strides(sizes, corners):
    """Returns the place values of image, remainder and coordinates in each key part.

    Args:
        sizes: Number of values of each coordinate, `[corners - 1]`.
        corners: Number of values of the remainder.
    """
    sizes = [1, corners, *(ops.cast(sizes[i], _KEY_TYPE) for i in range(corners - 1))]
    result = []
    for part in np.array_split(np.arange(len(sizes)), _PARTS):
        strides, stride = [], ops.ones((), _KEY_TYPE)
        for i in range(len(sizes))[::-1]:
            strides.append(stride if i in part else ops.zeros_like(stride))
            stride = stride * sizes[i] if i in part else stride
        result.append(ops.stack(strides[::-1]))
    return result


def _keys(coordinates, rank, images, strides):
    """Computes one part of the keys of all remainders and pixels, flattened."""
    corners = coordinates.shape[0] + 1
    units = strides[2:, None]
    fixed = ops.sum(ops.cast(coordinates, _KEY_TYPE) * units, axis=0)
    fixed = fixed + ops.cast(images, _KEY_TYPE) * strides[0]
    keys = []
    for remainder in range(corners):
        wrapped = ops.cast(rank + remainder >= corners, _KEY_TYPE)
        keys.append(fixed + remainder * strides[1] - ops.sum(wrapped * units, axis=0))
    return ops.concatenate(keys)


def _order(keys):
    """Returns the indices that sort keys by the first part, then by the next."""
    order = ops.argsort(keys[-1])
    for part in keys[-2::-1]:
        order = take(order, ops.argsort(take(part, order)))  # Argsort is stable.
    return order


def _count(ids, most):
    """Returns the number of cells plus 1; `most` plus 1 if shapes must be static."""
    if _ON_TENSORFLOW:
        return ids[-1] + 1
    try:
        return int(ids[-1]) + 1
    except TypeError:  # Traced by JAX.
        return most + 1


def _neighbors(keys, remainders, strides):
    """Returns, for each axis, the cells before and after each cell, from 0 on."""
    corners = strides[0].shape[0] - 1
    result, found = [], ops.zeros_like(remainders)
    for axis in range(corners):
        # A step along an axis adds 1 to each coordinate but subtracts corners - 1 from
        # that of the axis; digits are the remainder and the coordinates / corners.
        own = np.arange(corners - 1) == axis
        inside = _sums([0, 1, *(-1 * own)], strides)
        wrapping = _sums([0, 1 - corners, *(1 - own)], strides)
        pair = []
        for sign, last in ((-1, 0), (1, corners - 1)):
            # A 0 that makes each search wait for the last one, to save memory.
            zero = ops.cast(ops.minimum(found[0], 0), _KEY_TYPE)
            wraps = ops.equal(remainders, last)
            targets = [
                part + (zero + sign * ops.where(wraps, b, a))
                for part, a, b in zip(keys, inside, wrapping, strict=True)
            ]
            found = _find(keys, targets)
            pair.append(ops.pad(found, [[1, 0]]))
        result.append(pair)
    return result


def _sums(digits, strides):
    """Computes each part of the key with the given digits."""
    return [ops.sum(ops.array(digits, _KEY_TYPE) * part) for part in strides]


def _find(keys, targets):
    """Finds targets among sorted keys; returns index + 1, or 0 if there is none."""
    places = _lower_bound(keys, targets)
    equal = [
        ops.equal(take(key, places), value)
        for key, value in zip(keys, targets, strict=True)
    ]
    return ops.where(ops.all(ops.stack(equal), axis=0), places + 1, 0)


def _lower_bound(keys, targets):
    """Returns the index of the first key not below each target; the last if none."""
    last = ops.shape(keys[0])[0] - 1
    if len(keys) == 1:
        places = ops.cast(ops.searchsorted(keys[0], targets[0]), "int32")
        return ops.minimum(places, last)
    low = ops.zeros_like(targets[0])
    high = low + last
    for _ in range(int(last).bit_length() + 1):
        middle = (low + high) // 2
        smaller, equal = False, True
        for key, value in zip(keys, targets, strict=True):
            found = take(key, middle)
            smaller = ops.logical_or(smaller, ops.logical_and(equal, found < value))
            equal = ops.logical_and(equal, ops.equal(found, value))
        low = ops.where(smaller, ops.minimum(middle + 1, last), low)
        high = ops.where(smaller, high, middle)
    return low
