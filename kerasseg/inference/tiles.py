"""Large maps put together from tiles that overlap, without a seam.

Of neighbouring tiles the outer quarter of what they share counts for nothing, as the
network saw the least around it; then one fades linearly into the other.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from kerasseg import errors
from kerasseg.inference import memory_estimate

_GRID = 32  # Tiles start where every encoder's cells start, as in the whole picture.
SMALLEST = 4 * _GRID


def check_size(tile_size: int) -> int:
    """Returns the side of a tile.

    Raises:
        ValueError: It is no multiple of 128 from 128 on, of which a quarter is shared.
    """
    if tile_size < SMALLEST or tile_size % SMALLEST:
        raise errors.UserError(
            f"tile_size={tile_size}: the side of a tile is a multiple of {SMALLEST} "
            f"pixels, at least {SMALLEST}."
        )
    return tile_size


def fitting(side: float) -> int:
    """Returns the largest side of a tile that is at most `side`, or the smallest."""
    return max(SMALLEST, int(side) // SMALLEST * SMALLEST)


def spans(length: int, tile_size: int) -> list[tuple[int, int]]:
    """Cuts a side into tiles, each of which shares a quarter with the next one.

    Args:
        length: Pixels of the side.
        tile_size: Pixels of a tile; see `check_size`. The last one may be smaller, and
            is larger than the quarter that it shares.

    Returns:
        First pixel and the one after the last, of each.
    """
    step = tile_size * 3 // 4
    starts = range(0, max(length - tile_size // 4, 1), step)
    return [(start, min(start + tile_size, length)) for start in starts]


def ramp(shared: int) -> np.ndarray:
    """Returns the weights of a tile's first `shared` pixels, from 0 to 1, float32.

    Those of the tile before are what is missing to 1.
    """
    margin = shared // 4
    fading = shared - 2 * margin
    rise = (np.arange(fading, dtype=np.float32) + 0.5) / fading
    return np.concatenate([np.zeros(margin), rise, np.ones(margin)]).astype(np.float32)


def blend(
    size: tuple[int, int], tile_size: int, predict: Callable
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Puts a map together; never holds more of it than a row of shared strips.

    Args:
        size: Height and width of the whole.
        tile_size: See `spans`.
        predict: Function of the rows and columns of a tile, as slices, to its map,
            float32 `[height, width, channels]`.

    Yields:
        Rows, columns and map of regions that cover the whole once. A map is good until
        the next one is asked for.
    """
    height, width = size
    rows, columns = spans(height, tile_size), spans(width, tile_size)
    shared = tile_size // 4
    above = below = None  # What the row before left of the strip that both have.
    for (top, bottom), (next_top, _) in _with_next(rows):
        beside = None  # The same of the tile before in this row.
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
                    below = memory_estimate.allocate((shared, width, part.shape[2]))
                below[:, done] = part[next_top - top :]
                part = part[: next_top - top]
            yield slice(top, next_top or bottom), done, part
        above, below = below, above if next_top else None


def _with_next(tiles):
    """Pairs each tile with the next one; the last one with zeros."""
    return itertools.pairwise([*tiles, (0, 0)])


def _weights(size, shared, top, left, next_top, next_left):
    """Fades a tile in where one was before it, and out where one comes after."""
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
