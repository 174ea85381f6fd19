"""Scores of image-level classes: average precision and F1."""

from typing import NamedTuple

import numpy as np


class TagScores(NamedTuple):
    """Scores of image-level classes, from 0 to 1; NaN where they are not defined.

    Attributes:
        average_precision: That of each class, float64 `[classes]`; NaN for a class that
            no image shows.
        mean_ap: Mean over the classes that an image shows.
        f1: 2 TP / (2 TP + FP + FN) of the scores above 0, over all images and classes;
            NaN if no image shows a class and none is predicted.
    """

    average_precision: np.ndarray
    mean_ap: float
    f1: float


def tag_scores(tags: np.ndarray, scores: np.ndarray) -> TagScores:
    """Computes the scores of image-level classes.

    The average precision of a class is the mean, over the images that show it, of the
    fraction of correct images among those with the same score or a higher one.

    Args:
        tags: Whether each image shows each class, bool `[images, classes]`.
        scores: Logits of the same shape.
    """
    tags, scores = np.asarray(tags, bool), np.asarray(scores, np.float64)
    values = np.array(
        [_average_precision(*each) for each in zip(tags.T, scores.T, strict=True)]
    )
    shown = values[~np.isnan(values)]
    predicted = scores > 0
    wrong = np.count_nonzero(tags != predicted)
    twice = 2 * np.count_nonzero(tags & predicted)
    return TagScores(
        values,
        float(shown.mean()) if len(shown) else np.nan,
        twice / (twice + wrong) if twice + wrong else np.nan,
    )


def _average_precision(tag, score):
    if not tag.any():
        return np.nan
    limits = score[tag]
    correct = (limits >= limits[:, np.newaxis]).sum(axis=1)
    retrieved = (score >= limits[:, np.newaxis]).sum(axis=1)
    return float(np.mean(correct / retrieved))
