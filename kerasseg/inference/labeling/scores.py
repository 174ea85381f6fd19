"""How uncertain a network is about each pixel of an image, and an image's features."""

import math
from collections.abc import Callable, Iterable

import numpy as np

_ROWS = 256  # Processed at a time.
_CELLS = 2  # Of the features' grid, on each side.

SCORES = {  # Mean over all pixels of:
    "entropy": "entropy of the probabilities, in nats",
    "margin": "1 - (largest probability - second largest)",
    "disagreement": "divergence of the views from their mean, in nats",
}


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Returns the entropy at each pixel.

    Args:
        probabilities: `[height, width, num_classes]`; each pixel's sum is 1.

    Returns:
        float32 `[height, width]`, in nats: from 0 to log(num_classes).
    """
    return _by_rows(_entropy, probabilities)


def _entropy(p):
    logs = np.log(p, where=p > 0, out=np.zeros_like(p))
    return -(p * logs).sum(-1)


def margin(probabilities: np.ndarray) -> np.ndarray:
    """Returns 1 minus the difference of the two largest probabilities at each pixel.

    Args:
        probabilities: As in `entropy`, of at least two classes.

    Returns:
        float32 `[height, width]`, from 0 to 1.
    """
    return _by_rows(_margin, probabilities)


def _margin(p):
    second, first = np.moveaxis(np.partition(p, -2, axis=-1)[..., -2:], -1, 0)
    return 1 - (first - second)


def disagreement(views: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns how much the predictions of several views differ at each pixel.

    This is the mean over the views of the Kullback-Leibler divergence from the mean of
    the views, sum over classes of p log(p / mean), which equals the entropy of the mean
    minus the mean of the entropies (the Jensen-Shannon divergence).

    Args:
        views: Probabilities of each view, as in `entropy`, aligned with the image.

    Returns:
        float32 `[height, width]`, in nats: from 0 to the logarithm of the number of
        views; and the mean of the views, float32 `[height, width, num_classes]`.
    """
    total, entropies, count = np.zeros(0), np.zeros(0), 0
    for view in views:
        total = total + view if count else np.array(view, np.float32)
        entropies = entropies + entropy(view) if count else entropy(view)
        count += 1
    mean = total / np.float32(count)
    # Rounding may give less than 0.
    return np.maximum(entropy(mean) - entropies / np.float32(count), 0), mean


def largest(score: str, num_classes: int, num_views: int) -> float:
    """Returns the largest possible value of a pixel.

    Args:
        score: A key of `SCORES`.
        num_classes: Number of classes.
        num_views: Number of views, for "disagreement".
    """
    if score == "margin":
        return 1.0
    return math.log(num_classes if score == "entropy" else num_views)


def features(probabilities: np.ndarray) -> np.ndarray:
    """Returns the mean probability of each class in each cell of a grid of 2 x 2.

    Args:
        probabilities: As in `entropy`. Cells of an odd size share a row or column.

    Returns:
        float64 `[4 * num_classes]`.
    """
    height, width, _ = probabilities.shape
    means = [
        probabilities[rows, columns].mean((0, 1), dtype=np.float64)
        for rows in _halves(height)
        for columns in _halves(width)
    ]
    return np.concatenate(means)


def _halves(length):
    for i in range(_CELLS):
        yield slice(i * length // _CELLS, -(-(i + 1) * length // _CELLS))


def _by_rows(function: Callable, probabilities):
    """Applies a function to blocks of rows, which takes less memory."""
    starts = range(0, len(probabilities), _ROWS)
    parts = [function(np.asarray(probabilities[i : i + _ROWS])) for i in starts]
    return np.concatenate(parts).astype(np.float32)
