"""Bootstrap intervals of average precision, without matching again."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerasseg.metrics import intervals, ratios

_MAX_VALUES = 2**22  # Counts computed at a time.


@dataclasses.dataclass(frozen=True)
class _Ranking:
    """The detections of a class in all images, those of highest score first.

    Attributes:
        instances: Number of instances to be detected in each image, `[images]`.
        image: Position of the image of each detection, `[detections]`.
        hits: Whether it is correct at each IoU threshold, `[thresholds, detections]`.
        misses: Whether it is false. Where it is neither, it is ignored.
    """

    instances: np.ndarray
    image: np.ndarray
    hits: np.ndarray
    misses: np.ndarray


def average_precision(result: Any, weights: np.ndarray) -> np.ndarray:
    """Computes the average precision of resampled images.

    The matches of each image are those of `result`. Of equal scores, the copies of an
    image come one after the other; apart from that, the values are those that COCOeval
    accumulates from as many copies of the images.

    Args:
        result: `COCOeval` after evaluate and accumulate.
        weights: How often each image counts, integers `[resamples, images]`.

    Returns:
        float64 `[resamples, classes, thresholds]`, NaN where a class has no instance to
        be detected; for all areas, and 100 detections of an image and class.
    """
    params = result.params
    values = [
        _precision(ranking, weights, params.recThrs) for ranking in _rankings(result)
    ]
    return np.stack(values, axis=1)


def _rankings(result) -> Iterator[_Ranking]:
    params = result.params
    num_images, num_areas = len(params.imgIds), len(params.areaRng)
    for k in range(len(params.catIds)):
        start = k * num_areas * num_images  # Of the first range of areas, which is all.
        matched = result.evalImgs[start : start + num_images]
        present = [(i, each) for i, each in enumerate(matched) if each is not None]
        instances = np.zeros(num_images, np.int64)
        for i, each in present:
            instances[i] = np.count_nonzero(each["gtIgnore"] == 0)
        none = np.zeros((len(params.iouThrs), 0))
        scores = np.concatenate([[], *(each["dtScores"] for _, each in present)])
        images = [np.full(len(each["dtScores"]), i) for i, each in present]
        matches = [none, *(each["dtMatches"] for _, each in present)]
        ignored = [none, *(each["dtIgnore"] for _, each in present)]
        order = np.argsort(-scores, kind="stable")
        hits = np.concatenate(matches, axis=1)[:, order] != 0
        counted = np.concatenate(ignored, axis=1)[:, order] == 0
        image = np.concatenate([np.zeros(0, np.int64), *images])[order]
        yield _Ranking(instances, image, hits & counted, ~hits & counted)


def _precision(ranking, weights, recalls):
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
        needed = _needed(instances[chunk], recalls)
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


def _needed(instances, recalls):
    """Returns the fewest correct detections that reach each recall, as integers.

    COCOeval compares quotients of floats, so the numbers are those that they reach.
    """
    total = instances[:, np.newaxis]
    needed = np.ceil(total * recalls)
    needed -= (needed - 1) / total >= recalls
    needed += needed / total < recalls
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


def interval(result: Any, kind: str, class_names: Sequence[str]) -> dict[str, Any]:
    """Computes bootstrap intervals of average precision; see `metrics.interval`.

    Images are resampled as for the mean IoU, 1,000 times with seed 0. Detections and
    instances keep their matches. A resample without a class is left out for that class.

    Args:
        result: `COCOeval` after evaluate and accumulate.
        kind: Key of `coco_evaluation.IOU_TYPES`.
        class_names: Names of the classes, in the order of their numbers from 1.

    Returns:
        "<kind>_ap", "<kind>_ap50" and "<kind>_ap75", and "<kind>_class_ap", a dict by
        class name: each a dict of "value", "low" and "high", or None if no class (or
        not this one) occurs.
    """
    num_images = len(result.params.imgIds)
    chunks = intervals.resamples(num_images)
    sampled = np.concatenate([average_precision(result, each) for each in chunks])
    (values,) = average_precision(result, np.ones((1, num_images), np.int64))
    scores: dict[str, Any] = {}
    for name, thresholds in (("ap", slice(None)), ("ap50", [0]), ("ap75", [5])):
        each = _mean(sampled[..., thresholds], axis=(1, 2))
        value = _mean(values[..., thresholds], axis=(0, 1))
        scores[f"{kind}_{name}"] = intervals.percentiles(float(value), each)
    classes = map(intervals.percentiles, values.mean(axis=-1), sampled.mean(axis=-1).T)
    scores[f"{kind}_class_ap"] = dict(zip(class_names, classes, strict=True))
    return scores


def _mean(values, axis):
    count = np.count_nonzero(~np.isnan(values), axis=axis)
    total = np.nansum(values, axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def class_scores(result: Any, class_names: Sequence[str]) -> dict[str, dict]:
    """Returns "ap", "ap50", "ap75" and "ar_100" of each class, None if undefined."""
    precision = result.eval["precision"][:, :, :, 0, -1]
    recall = result.eval["recall"][:, :, 0, -1]
    columns = {
        "ap": precision.mean(axis=(0, 1)),
        "ap50": precision[0].mean(axis=0),
        "ap75": precision[5].mean(axis=0),
        "ar_100": recall.mean(axis=0),
    }
    defined = {key: np.where(v > -1, v, np.nan) for key, v in columns.items()}
    return {key: ratios.by_name(class_names, v) for key, v in defined.items()}
