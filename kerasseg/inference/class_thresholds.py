"""Thresholds that balance the classes of pseudo-labels."""

from collections.abc import Iterator, Sequence

import numpy as np

from kerasseg.system import processes

_HALF = 1 << 16  # Values of one half of the 32 bits of a confidence.


def balanced_thresholds(
    results: Sequence, num_classes: int, fraction: float
) -> np.ndarray:
    """Returns the confidence that a fraction of the pixels of each class reaches.

    Exact and independent of the order of the images: confidences are counted by the
    upper 16 of their bits, then those in the selected interval by the lower 16. Bits of
    floating-point numbers from 0 on, taken as integers, have the order of the numbers.

    Args:
        results: Their `read()` returns class numbers, uint8, and confidences, float32
            from 0 on, both `[height, width]`.
        num_classes: Number of classes.
        fraction: Fraction of the pixels of each class, above 0 and at most 1; rounded
            to a number of pixels, at least one. Pixels that are as confident as the
            last one are kept, too.

    Returns:
        float32 `[num_classes]`; infinite for a class without pixels.
    """
    upper = np.zeros((num_classes, _HALF), np.int64)
    for k, bits in _bits(results):
        upper[k] += np.bincount(bits >> 16, minlength=_HALF)
    totals = upper.sum(axis=1)
    ranks = np.maximum(1, np.rint(fraction * totals)).astype(np.int64)
    highs, ranks = _select(upper, ranks)
    lower = np.zeros((num_classes, _HALF), np.int64)
    for k, bits in _bits(results):
        inside = bits[bits >> 16 == highs[k]]
        lower[k] += np.bincount(inside & (_HALF - 1), minlength=_HALF)
    lows, _ = _select(lower, ranks)
    thresholds = (highs << 16 | lows).astype(np.uint32).view(np.float32)
    return np.where(totals > 0, thresholds, np.float32(np.inf))


def _bits(results) -> Iterator[tuple[int, np.ndarray]]:
    """Yields classes, and the bits of the confidences of their pixels in an image."""
    for mask, confidence in _read_all(results):
        for k in np.flatnonzero(np.bincount(mask.ravel())).tolist():
            yield k, confidence[mask == k].view(np.uint32)


def _read_all(results):
    threads = processes.num_cores()
    return processes.in_order(lambda x: x.read(), results, num_threads=threads)


def _select(counts, ranks):
    """Returns for each row the value of the item of a rank, counted from the highest.

    Args:
        counts: Number of items of each value, `[rows, values]`.
        ranks: From 1, `[rows]`.

    Returns:
        The values, and the ranks among the items of these values.
    """
    above = np.cumsum(counts[:, ::-1], axis=1)
    places = np.argmax(above >= ranks[:, np.newaxis], axis=1)
    rows = np.arange(len(counts))
    values = counts.shape[1] - 1 - places
    return values, ranks - (above[rows, places] - counts[rows, values])
