"""Detections in the order of their scores, for average precision of any images."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

NUM_THRESHOLDS = 10  # IoUs from 0.5 to 0.95 in steps of 0.05.
_RECALLS = np.linspace(0, 1, 101)  # At which COCOeval reads the precision.
_MAX_VALUES = 2**22  # Counts computed at a time.


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """The detections of a class in all images, those of highest score first.

    Attributes:
        instances: Number of instances to be detected in each image, int64 `[images]`.
        pixels: Number of their pixels in each image, int64 `[images]`.
        image: Position of the image of each detection, int64 `[detections]`.
        hits: Whether it is correct at each IoU threshold, bool `[10, detections]`.
        misses: Whether it is false. Where it is neither, it is ignored.
    """

    instances: np.ndarray
    pixels: np.ndarray
    image: np.ndarray
    hits: np.ndarray
    misses: np.ndarray


def rank(result: Any) -> list[Ranking]:
    """Reads the matches of COCOeval, for all areas and 100 detections of each image.

    Args:
        result: `COCOeval` after evaluate.

    Returns:
        The ranking of each class, in the order of the class numbers.
    """
    params = result.params
    num_images, num_areas = len(params.imgIds), len(params.areaRng)
    starts = [k * num_areas * num_images for k in range(len(params.catIds))]
    # The first range of areas contains all.
    return [_ranking(result, result.evalImgs[i : i + num_images]) for i in starts]


def _ranking(result, matched):
    present = [(i, each) for i, each in enumerate(matched) if each is not None]
    instances, pixels = np.zeros((2, len(matched)), np.int64)
    for i, each in present:
        is_counted = np.asarray(each["gtIgnore"]) == 0
        ids = np.asarray(each["gtIds"])[is_counted].tolist()
        instances[i] = len(ids)
        pixels[i] = sum(result.cocoGt.anns[number]["area"] for number in ids)
    none = np.zeros((NUM_THRESHOLDS, 0))
    scores = np.concatenate([[], *(each["dtScores"] for _, each in present)])
    images = [np.full(len(each["dtScores"]), i) for i, each in present]
    matches = [none, *(each["dtMatches"] for _, each in present)]
    ignored = [none, *(each["dtIgnore"] for _, each in present)]
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate(matches, axis=1)[:, order] != 0
    counted = np.concatenate(ignored, axis=1)[:, order] == 0
    image = np.concatenate([np.zeros(0, np.int64), *images])[order]
    return Ranking(instances, pixels, image, hits & counted, ~hits & counted)


def average_precision(rankings: Sequence[Ranking], weights: np.ndarray) -> np.ndarray:
    """Computes the average precision of resampled images.

    Of equal scores, the copies of an image come one after the other; apart from that,
    the values are those that COCOeval accumulates from as many copies of the images.

    Args:
        rankings: That of each class.
        weights: How often each image counts, integers `[resamples, images]`.

    Returns:
        float64 `[resamples, classes, 10]`, at each IoU threshold; NaN where a class has
        no instance to be detected.
    """
    return np.stack([_precision(each, weights) for each in rankings], axis=1)


def _precision(ranking, weights):
    """Returns the average precision of a class, `[resamples, thresholds]`."""
    num_thresholds, num_detections = ranking.hits.shape
    instances = weights @ ranking.instances
    precision = np.where(instances > 0, 0.0, np.nan)[:, np.newaxis]
    precision = np.repeat(precision, num_thresholds, axis=1)
    present = np.flatnonzero(instances)
    rows = max(1, _MAX_VALUES // max(num_detections, 1))
    for start in range(0, len(present), rows):
        chunk = present[start : start + rows]
        counts = weights[chunk][:, ranking.image]
        needed = _needed(instances[chunk])
        totals: dict[bytes, np.ndarray] = {}  # Most thresholds ignore the same.
        for t in range(num_thresholds):
            hits = np.flatnonzero(ranking.hits[t])
            counted = ranking.hits[t] | ranking.misses[t]
            key = counted.tobytes()
            if key not in totals:
                totals[key] = np.cumsum(counts * counted, axis=1)
            correct = np.cumsum(counts[:, hits], axis=1)
            values = correct / (totals[key][:, hits] + np.spacing(1))
            precision[chunk, t] = _mean_precision(correct, values, needed)
    return precision


def _needed(instances):
    """Returns the fewest correct detections that reach each recall, as integers.

    COCOeval compares quotients of floats, so the numbers are those that they reach.
    """
    total = instances[:, np.newaxis]
    needed = np.ceil(total * _RECALLS)
    needed -= (needed - 1) / total >= _RECALLS
    needed += needed / total < _RECALLS
    return needed.astype(np.int64)


def _mean_precision(correct, values, needed):
    """Averages the precision over the recalls.

    Args:
        correct: Number of correct detections up to each of these, `[resamples, hits]`.
        values: Precision of the detections up to there, of the same shape.
        needed: Number of correct detections at each recall, `[resamples, recalls]`.
    """
    num_rows, num_hits = correct.shape
    if not num_hits:
        return np.zeros(num_rows)
    values = np.maximum.accumulate(values[:, ::-1], axis=1)[:, ::-1]
    # All rows are searched at once: the numbers of each are above those before it.
    first = np.arange(num_rows)[:, np.newaxis]
    step = max(correct.max(), needed.max()) + 1
    flat = (correct + first * step).ravel()
    places = np.searchsorted(flat, needed + first * step) - first * num_hits
    values = np.append(values, np.zeros((num_rows, 1)), axis=1)  # Not reached.
    return np.take_along_axis(values, places, axis=1).mean(axis=1)
