"""The order of images by what labeling them would teach."""

from collections.abc import Sequence

import numpy as np

_POOL = 5  # Candidates for each image that is chosen with diversity.


def order_images(
    names: Sequence[str],
    scores: Sequence[float],
    features: Sequence[np.ndarray],
    *,
    count: int,
    diversity: bool,
) -> list[int]:
    """Orders images: the most uncertain first, and ties by name.

    With diversity, the first `count` are chosen from the 5 * `count` most uncertain
    ones by greedy k-center: first the most uncertain, then always the one whose
    features are farthest from those of the nearest chosen one. The other images follow
    by score.

    Args:
        names: Name of each image.
        scores: Score of each image.
        features: Features of each image, such as `scores.features`, all of one length.
        count: Number of images to choose.
        diversity: Whether to choose images that differ.

    Returns:
        Indices of the images.

    Source: https://arxiv.org/abs/1708.00489, algorithm 1.
    """
    order = sorted(range(len(names)), key=lambda i: (-scores[i], names[i]))
    if not diversity or not order:
        return order
    pool = order[: _POOL * count]
    points = np.stack([np.asarray(features[i], np.float64) for i in pool])
    chosen = [pool[i] for i in _farthest_first(points, count)]
    taken = set(chosen)
    return chosen + [i for i in order if i not in taken]


def _farthest_first(points, count):
    """Returns the indices of points, the first point first."""
    chosen = [0]
    distances = _distances(points, 0)
    while len(chosen) < min(count, len(points)):
        distances[chosen] = -1  # Equal points may be left.
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, _distances(points, chosen[-1]))
    return chosen


def _distances(points, i):
    # Rounded, so that equal distances stay equal on any processor.
    return np.linalg.norm(points - points[i], axis=1).round(6)
