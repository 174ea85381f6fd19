"""Tiles that overlap, blended into a large map without a seam.

In the strip that two tiles share, the outer quarter of each has the weight 0, because
the network saw the least context there; in between, one tile fades linearly into the
other.
"""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kerasseg import errors

_GRID = 32  # Tiles start at multiples of every encoder's largest stride.
SMALLEST = 4 * _GRID
_IN_MEMORY = 2**28  # Bytes; larger arrays are memory-mapped files.


def check_size(tile_size: int) -> int:
    """Returns `tile_size`.

    Raises:
        errors.UserError: It is not a multiple of 128, a quarter of which is shared.
    """
    if tile_size < SMALLEST or tile_size % SMALLEST:
        raise errors.UserError(
            f"`tile_size={tile_size}`: expected a multiple of {SMALLEST} pixels, at "
            f"least {SMALLEST}. Choose for example {8 * SMALLEST}."
        )
    return tile_size


def fitting(side: float) -> int:
    """Returns the largest tile size that is at most `side`, or the smallest one."""
    return max(SMALLEST, int(side) // SMALLEST * SMALLEST)


def spans(length: int, tile_size: int) -> list[tuple[int, int]]:
    """Divides a side into tiles, each of which shares a quarter with the next one.

    Args:
        length: Length of the side in pixels.
        tile_size: Length of a tile in pixels, see `check_size`. The last tile may be
            shorter; it is longer than the quarter that it shares.

    Returns:
        Start and end (exclusive) of each tile.
    """
    step = tile_size * 3 // 4
    starts = range(0, max(length - tile_size // 4, 1), step)
    return [(start, min(start + tile_size, length)) for start in starts]


def ramp(shared: int) -> np.ndarray:
    """Returns the weights of a tile's first `shared` pixels, from 0 to 1, float32.

    The weights of the previous tile are the complement to 1.
    """
    margin = shared // 4
    fading = shared - 2 * margin
    rise = (np.arange(fading, dtype=np.float32) + 0.5) / fading
    return np.concatenate([np.zeros(margin), rise, np.ones(margin)]).astype(np.float32)


def blend(
    size: tuple[int, int], tile_size: int, predict: Callable
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Predicts a map tile by tile; holds one row of shared strips in memory.

    Args:
        size: Height and width of the map.
        tile_size: Side of a tile in pixels, see `check_size`.
        predict: Function of a tile's rows and columns, as slices. Returns its map,
            float32 `[height, width, channels]`.

    Yields:
        Rows, columns and map of regions that cover each pixel once. A map is valid
        until the next one is requested.
    """
    height, width = size
    rows, columns = spans(height, tile_size), spans(width, tile_size)
    shared = tile_size // 4
    above = below = None  # Part of the previous and the next row's shared strip.
    for (top, bottom), (next_top, _) in _with_next(rows):
        beside = None  # The previous tile's part of the strip shared in this row.
        for (left, right), (next_left, _) in _with_next(columns):
            part = predict(slice(top, bottom), slice(left, right))
            part = part * _weights(
                part.shape[:2], shared, top, left, next_top, next_left
            )
            if beside is not None:
                part[:, :shared] += beside
            done = slice(left, next_left or right)
            beside = part[:, done.stop - left :].copy()
            part = part[:, : done.stop - left]
            if above is not None:
                part[:shared] += above[:, done]
            if next_top:
                if below is None:
                    below = allocate((shared, width, part.shape[2]))
                below[:, done] = part[next_top - top :]
                part = part[: next_top - top]
            yield slice(top, next_top or bottom), done, part
        above, below = below, above if next_top else None


def _with_next(tiles):
    """Pairs each tile with the next one, and the last one with zeros."""
    return itertools.pairwise([*tiles, (0, 0)])


def _weights(size, shared, top, left, next_top, next_left):
    """Fades a tile in where it has a previous neighbor, and out where a next one."""
    sides = []
    for length, fade_in, fade_out in zip(
        size, (top, left), (next_top, next_left), strict=True
    ):
        side = np.ones(length, np.float32)
        if fade_in:
            side[:shared] = ramp(shared)
        if fade_out:
            side[-shared:] *= 1 - ramp(shared)
        sides.append(side)
    return (sides[0][:, np.newaxis] * sides[1])[..., np.newaxis]


def allocate(shape: Sequence[int], dtype: type = np.float32) -> np.ndarray:
    """Creates an array of zeros; a large one is memory-mapped to an unnamed file.

    Raises:
        OSError: The file does not fit into the folder of temporary files (TMPDIR).
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= _IN_MEMORY:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            # Without the reservation, a full disk would kill the process later.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{size / 2**30:.1f} GiB for an array of {list(shape)} do not fit into "
                f"{tempfile.gettempdir()}: {error.strerror}. Free some space, or set "
                f"TMPDIR to a larger folder",
            ) from error
        return np.memmap(file, dtype, "r+", shape=tuple(shape))
