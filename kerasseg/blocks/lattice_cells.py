"""The lattice points that some pixel has part in: numbered, with their neighbours."""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

_BACKEND = keras.backend.backend()
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
    high = ops.max(base, axis=1) + 1
    sizes = ops.cast(high - low[:, 0] + 1, _KEY_TYPE)
    sizes = [0, corners, *(sizes[i] for i in range(corners - 1))]
    places = ops.cast(base - low, _KEY_TYPE)
    pictures = ops.cast(pictures, _KEY_TYPE)
    keys = []
    for remainder in range(corners):
        turned = ops.cast(rank[:-1] + remainder >= corners, _KEY_TYPE)
        digits = [places[i] - turned[i] for i in range(corners - 1)]
        keys.append(_pack([pictures, remainder, *digits], sizes))
    keys = [ops.concatenate(parts) for parts in zip(*keys, strict=True)]
    order = _order(keys)
    keys = [ops.take(part, order) for part in keys]
    new = ops.any(ops.stack([part[1:] != part[:-1] for part in keys]), axis=0)
    ids = 1 + ops.pad(ops.cumsum(ops.cast(new, "int32")), [[1, 0]])
    of_pixels = ops.scatter(order[:, None], ids, (corners * pixels,))
    count = _count(ids, corners * pixels)
    first = ops.searchsorted(ids, ops.arange(1, count))
    first = ops.minimum(ops.cast(first, "int32"), corners * pixels - 1)
    neighbors = _neighbors(
        [ops.take(part, first) for part in keys],
        ops.take(order, first) // pixels,
        sizes,
    )
    count = None if _BACKEND == "tensorflow" else count
    return Cells(
        ops.reshape(of_pixels, (corners, pixels)), order, ids, count, neighbors
    )


def _pack(digits, sizes):
    """Writes digits as one number in mixed radix, or as several of some digits each."""
    parts = []
    for part in np.array_split(np.arange(len(digits)), _PARTS):
        key = 0
        for i in part:
            key = key * sizes[i] + digits[i]
        parts.append(key)
    return parts


def _order(keys):
    """Sorts by the first part, then by the next."""
    order = ops.argsort(keys[-1])
    for part in keys[-2::-1]:
        order = ops.take(order, ops.argsort(ops.take(part, order)))  # It is stable.
    return order


def _count(ids, most):
    """Counts the cells, and 0, which is none; where shapes must be known, the most."""
    if _BACKEND == "tensorflow":
        return ids[-1] + 1
    try:
        return int(ids[-1]) + 1
    except TypeError:  # Traced by JAX.
        return most + 1


def _neighbors(keys, remainders, sizes):
    """Lists, for each axis, the cells before and behind each cell from 0 on."""
    corners = sizes[1]
    result = []
    for axis in range(corners):
        # One step along an axis adds 1 to each coordinate, but takes corners - 1 of
        # its own; digits are coordinates divided by corners, after the remainder.
        own = np.arange(corners - 1) == axis
        inside = _pack([0, 1, *(-1 * own)], sizes)
        turning = _pack([0, 1 - corners, *(1 - own)], sizes)
        pair = []
        for sign, last in ((-1, 0), (1, corners - 1)):
            turns = ops.equal(remainders, last)
            wanted = [
                part + sign * ops.where(turns, b, a)
                for part, a, b in zip(keys, inside, turning, strict=True)
            ]
            pair.append(ops.pad(_find(keys, wanted), [[1, 0]]))
        result.append(pair)
    return result


def _find(keys, wanted):
    """Finds the places of keys among sorted ones, from 1 on; 0 where there is none."""
    places = _lower_bound(keys, wanted)
    found = ops.all(
        ops.stack(
            [ops.take(a, places) == b for a, b in zip(keys, wanted, strict=True)]
        ),
        axis=0,
    )
    return ops.where(found, places + 1, 0)


def _lower_bound(keys, wanted):
    """Finds the first sorted key that is not smaller; the last where all are."""
    last = ops.shape(keys[0])[0] - 1
    if len(keys) == 1:
        return ops.minimum(
            ops.cast(ops.searchsorted(keys[0], wanted[0]), "int32"), last
        )
    low = ops.zeros_like(wanted[0])
    high = low + last
    for _ in range(int(last).bit_length() + 1):
        middle = (low + high) // 2
        smaller, equal = False, True
        for key, value in zip(keys, wanted, strict=True):
            key = ops.take(key, middle)
            smaller = ops.logical_or(smaller, ops.logical_and(equal, key < value))
            equal = ops.logical_and(equal, ops.equal(key, value))
        low = ops.where(smaller, ops.minimum(middle + 1, last), low)
        high = ops.where(smaller, high, middle)
    return low
