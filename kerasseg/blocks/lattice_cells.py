"""The lattice points that some pixel has part in: numbered, with their neighbours."""

import dataclasses
import importlib
from typing import Any

import keras
import numpy as np
from keras import ops

_BACKEND = keras.backend.backend()
_ON_TENSORFLOW = _BACKEND == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None
# A cell's key is one number; JAX, which has none of 64 bits, takes two.
_KEY_TYPE, _PARTS = ("int32", 2) if _BACKEND == "jax" else ("int64", 1)


@dataclasses.dataclass(frozen=True)
class Cells:
    """What a lattice needs to know of its cells; their numbers start at 1.

    Attributes:
        of_pixels: Cell of each corner and pixel, `[corners, pixels]`.
        order: Places of `of_pixels`, flat, in the order of their cells.
        ids: The cells in that order.
        count: One more than the largest number that could be; None on TensorFlow,
            which finds it.
        neighbors: For each axis the cells before and behind each cell from 0 on;
            0 stands for cells that no pixel has part in.
    """

    of_pixels: Any
    order: Any
    ids: Any
    count: int | None
    neighbors: list


def take(values, indices):
    """Takes rows, by their numbers from 0 on.

    Keras' own, on TensorFlow, looks for negative numbers first: it copies them all.
    """
    return tf.gather(values, indices) if tf else ops.take(values, indices, axis=0)


def number(base, rank, pictures) -> Cells:
    """Numbers the cells.

    A key holds picture, remainder and coordinates as digits of the sizes that the
    pictures need. Where they need more than 64 bits, which takes thousands of
    standard deviations between the ends of several features, cells far from each
    other may be taken for one.

    Args:
        base: Corner of remainder 0, int32 `[corners, pixels]`; see `lattice`.
        rank: Of each coordinate, of that shape.
        pictures: Number of each pixel's picture, int32 `[pixels]`.
    """
    corners, pixels = ops.shape(base)
    base = base[:-1]  # The last coordinate follows from the others.
    low = ops.min(base, axis=1, keepdims=True) - 2
    strides = _strides(ops.max(base - low, axis=1) + 2, corners)
    keys = [_keys(base - low, rank[:-1], pictures, each) for each in strides]
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
    """Says what a digit counts in each part of a key: picture, remainder, coordinates.

    Args:
        sizes: Of the coordinates, `[corners - 1]`.
        corners: Size of the remainder.
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


def _keys(places, rank, pictures, strides):
    """Packs one part of the keys of each remainder and pixel, flat."""
    corners = places.shape[0] + 1
    units = strides[2:, None]
    fixed = ops.sum(ops.cast(places, _KEY_TYPE) * units, axis=0)
    fixed = fixed + ops.cast(pictures, _KEY_TYPE) * strides[0]
    keys = []
    for remainder in range(corners):
        turned = ops.cast(rank + remainder >= corners, _KEY_TYPE)
        keys.append(fixed + remainder * strides[1] - ops.sum(turned * units, axis=0))
    return ops.concatenate(keys)


def _order(keys):
    """Sorts by the first part, then by the next."""
    order = ops.argsort(keys[-1])
    for part in keys[-2::-1]:
        order = take(order, ops.argsort(take(part, order)))  # It is stable.
    return order


def _count(ids, most):
    """Counts the cells, and 0, which is none; where shapes must be known, the most."""
    if _ON_TENSORFLOW:
        return ids[-1] + 1
    try:
        return int(ids[-1]) + 1
    except TypeError:  # Traced by JAX.
        return most + 1


def _neighbors(keys, remainders, strides):
    """Lists, for each axis, the cells before and behind each cell from 0 on."""
    corners = strides[0].shape[0] - 1
    result, found = [], ops.zeros_like(remainders)
    for axis in range(corners):
        # One step along an axis adds 1 to each coordinate, but takes corners - 1 of
        # its own; digits are coordinates divided by corners, after the remainder.
        own = np.arange(corners - 1) == axis
        inside = _sums([0, 1, *(-1 * own)], strides)
        turning = _sums([0, 1 - corners, *(1 - own)], strides)
        pair = []
        for sign, last in ((-1, 0), (1, corners - 1)):
            # It is 0, but makes searches wait for each other: they take much memory.
            done = ops.cast(ops.minimum(found[0], 0), _KEY_TYPE)
            turns = ops.equal(remainders, last)
            wanted = [
                part + (done + sign * ops.where(turns, b, a))
                for part, a, b in zip(keys, inside, turning, strict=True)
            ]
            found = _find(keys, wanted)
            pair.append(ops.pad(found, [[1, 0]]))
        result.append(pair)
    return result


def _sums(digits, strides):
    """Packs digits, a part of a key after the other."""
    return [ops.sum(ops.array(digits, _KEY_TYPE) * part) for part in strides]


def _find(keys, wanted):
    """Finds the places of keys among sorted ones, from 1 on; 0 where there is none."""
    places = _lower_bound(keys, wanted)
    equal = [
        ops.equal(take(key, places), value)
        for key, value in zip(keys, wanted, strict=True)
    ]
    return ops.where(ops.all(ops.stack(equal), axis=0), places + 1, 0)


def _lower_bound(keys, wanted):
    """Finds the first sorted key that is not smaller; the last where all are."""
    last = ops.shape(keys[0])[0] - 1
    if len(keys) == 1:
        places = ops.cast(ops.searchsorted(keys[0], wanted[0]), "int32")
        return ops.minimum(places, last)
    low = ops.zeros_like(wanted[0])
    high = low + last
    for _ in range(int(last).bit_length() + 1):
        middle = (low + high) // 2
        smaller, equal = False, True
        for key, value in zip(keys, wanted, strict=True):
            found = take(key, middle)
            smaller = ops.logical_or(smaller, ops.logical_and(equal, found < value))
            equal = ops.logical_and(equal, ops.equal(found, value))
        low = ops.where(smaller, ops.minimum(middle + 1, last), low)
        high = ops.where(smaller, high, middle)
    return low
