"""Finds the exact values of masks that were compressed or interpolated."""

import dataclasses
from collections.abc import Sequence

import numpy as np

_RADIUS = 32  # Of 255. Values that are closer count as one.
_MIN_EXPLAINED = 0.8  # Fraction of the pixels that must be near a value.
_OCCURS = 0.001  # Fraction of the pixels from which a value occurs; two must.
_MIN_FRACTION = (
    0.005  # Smallest fraction of the pixels of a value, if their number is unknown.
)


@dataclasses.dataclass(frozen=True)
class Levels:
    """The exact values of masks.

    Attributes:
        centers: RGB of each, most frequent first.
        tolerance: Largest distance at which the nearest value is unambiguous.
        fraction_lost: Fraction of the pixels that are farther from all values.
    """

    centers: tuple[tuple[int, int, int], ...]
    tolerance: int
    fraction_lost: float


def find(counts: dict, num_values: int | None) -> Levels | None:
    """Finds the values that most pixels are near to.

    Args:
        counts: Number of pixels by RGB color.
        num_values: Number of values; None if unknown.

    Returns:
        The values; None if they are too close, or too few pixels are near to them.
    """
    colors = np.array(list(counts), np.int64).reshape(-1, 3)
    pixels = np.array(list(counts.values()), np.int64)
    order = np.argsort(-pixels, kind="stable")
    left = np.ones(len(colors), bool)
    centers: list[int] = []
    for i in order:
        if left[i]:
            near = left & (np.abs(colors - colors[i]).max(axis=1) < _RADIUS)
            if num_values is None and pixels[near].sum() < _MIN_FRACTION * pixels.sum():
                continue
            centers.append(i)
            left &= ~near
            if len(centers) == num_values:
                break
    if len(centers) < max(2, num_values or 0):
        return None
    return fit(counts, [tuple(colors[i].tolist()) for i in centers])


def fit(counts: dict, centers: Sequence[tuple[int, int, int]]) -> Levels | None:
    """Finds the tolerance for known values; see `find`."""
    known = np.array(centers, np.int64)
    between = np.abs(known[:, None] - known).max(axis=-1)
    gap = between[~np.eye(len(known), dtype=bool)].min()
    tolerance = int((gap - 1) // 2)
    colors = np.array(list(counts), np.int64).reshape(-1, 3)
    pixels = np.array(list(counts.values()), np.int64)
    distances = np.abs(colors[:, None] - known).max(axis=-1)
    near = distances.min(axis=1) <= tolerance
    fractions = np.bincount(
        distances.argmin(axis=1)[near], pixels[near], minlength=len(known)
    ) / max(1, pixels.sum())
    lost = 1 - fractions.sum()
    if (
        tolerance < 4
        or fractions.sum() < _MIN_EXPLAINED
        or (fractions > _OCCURS).sum() < 2
    ):
        return None
    return Levels(tuple(centers), tolerance, float(lost))
