"""The few values that many smeared ones come from."""

import dataclasses

import numpy as np

_RADIUS = 32  # Of 255: two values nearer than this are taken for one.
_ENOUGH = 0.8  # Share of the pixels that the values must explain.
_SEEN = 0.001  # Share of the pixels above which a value occurs; two must.
_RARE = 0.005  # Share of the pixels below which a value is none, if nobody counts.


@dataclasses.dataclass(frozen=True)
class Levels:
    """Values of masks before they were smeared.

    Attributes:
        centers: RGB of each, most frequent first.
        tolerance: Largest distance that leaves no doubt which one is meant.
        share_lost: Share of the pixels that are farther from all.
    """

    centers: tuple[tuple[int, int, int], ...]
    tolerance: int
    share_lost: float


def find(counts: dict, num_values: int | None) -> Levels | None:
    """Finds the values that explain most pixels.

    Args:
        counts: Pixels of each RGB colour.
        num_values: How many there are, None if not known.

    Returns:
        None where they cannot be told apart, or explain too little.
    """
    colors = np.array(list(counts), np.int64).reshape(-1, 3)
    pixels = np.array(list(counts.values()), np.int64)
    order = np.argsort(-pixels, kind="stable")
    left = np.ones(len(colors), bool)
    centers: list[int] = []
    for i in order:
        if left[i]:
            near = left & (np.abs(colors - colors[i]).max(axis=1) < _RADIUS)
            if num_values is None and pixels[near].sum() < _RARE * pixels.sum():
                continue
            centers.append(i)
            left &= ~near
            if len(centers) == num_values:
                break
    if len(centers) < max(2, num_values or 0):
        return None
    return fit(counts, [tuple(colors[i].tolist()) for i in centers])


def fit(counts: dict, centers) -> Levels | None:
    """Finds how far from known values pixels may be; see `find`."""
    known = np.array(centers, np.int64)
    between = np.abs(known[:, None] - known).max(axis=-1)
    gap = between[~np.eye(len(known), dtype=bool)].min()
    tolerance = int((gap - 1) // 2)
    colors = np.array(list(counts), np.int64).reshape(-1, 3)
    pixels = np.array(list(counts.values()), np.int64)
    distances = np.abs(colors[:, None] - known).max(axis=-1)
    near = distances.min(axis=1) <= tolerance
    shares = np.bincount(
        distances.argmin(axis=1)[near], pixels[near], minlength=len(known)
    ) / max(1, pixels.sum())
    lost = 1 - shares.sum()
    if tolerance < 4 or shares.sum() < _ENOUGH or (shares > _SEEN).sum() < 2:
        return None
    return Levels(tuple(map(tuple, centers)), tolerance, float(lost))
