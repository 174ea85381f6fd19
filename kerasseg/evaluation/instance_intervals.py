"""Bootstrap intervals of average precision, without matching again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasseg.evaluation import instance_rankings
from kerasseg.evaluation.instance_rankings import Ranking
from kerasseg.metrics import intervals, ratios

_MEANS = {"ap": slice(None), "ap50": [0], "ap75": [5]}  # IoU thresholds by name.


def interval(
    rankings: Sequence[Ranking], kind: str, class_names: Sequence[str]
) -> dict[str, Any]:
    """Computes bootstrap intervals of average precision; see `metrics.interval`.

    Images are resampled as for the mean IoU, 1,000 times with seed 0. Detections and
    instances keep their matches. A resample without a class is left out for that class.

    Args:
        rankings: That of each class.
        kind: Key of `coco_evaluation.IOU_TYPES`.
        class_names: Names of the classes, in the order of their numbers from 1.

    Returns:
        "<kind>_ap", "<kind>_ap50" and "<kind>_ap75", and "<kind>_class_ap", a dict by
        class name: each a dict of "value", "low" and "high", or None if no class (or
        not this one) occurs.
    """
    values, sampled = _all_and_resampled(rankings)
    means = {
        f"{kind}_{name}": intervals.percentiles(
            float(_mean(values, name)), _mean(sampled, name)
        )
        for name in _MEANS
    }
    classes = map(intervals.percentiles, values.mean(axis=-1), sampled.mean(axis=-1).T)
    return {**means, f"{kind}_class_ap": dict(zip(class_names, classes, strict=True))}


def paired_interval(
    rankings: Sequence[Ranking],
    others: Sequence[Ranking],
    kind: str,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Computes bootstrap intervals of the difference between two runs.

    Every resample has the same images for both runs; see `metrics.paired_interval`.

    Args:
        rankings: See `interval`.
        others: Rankings of the other run, on the same images in the same order.
        kind: See `interval`.
        class_names: See `interval`.

    Returns:
        As `interval` returns it, for the scores of `rankings` minus those of `others`.
        Each dict also has "above_zero", the fraction of resamples with a positive
        difference.
    """
    values, sampled = _all_and_resampled(rankings)
    other_values, other_sampled = _all_and_resampled(others)
    means = {
        f"{kind}_{name}": _difference(
            _mean(values, name) - _mean(other_values, name),
            _mean(sampled, name) - _mean(other_sampled, name),
        )
        for name in _MEANS
    }
    classes = map(
        _difference,
        (values - other_values).mean(axis=-1),
        (sampled - other_sampled).mean(axis=-1).T,
    )
    return {**means, f"{kind}_class_ap": dict(zip(class_names, classes, strict=True))}


def _difference(value, samples):
    ends = intervals.percentiles(float(value), samples)
    if ends is None:
        return None
    return ends | {"above_zero": float(np.mean(samples[~np.isnan(samples)] > 0))}


def _all_and_resampled(rankings):
    """Returns the precisions of all images, `[classes, 10]`, and of each resample."""
    num_images = len(rankings[0].instances)
    (values,) = instance_rankings.average_precision(
        rankings, np.ones((1, num_images), np.int64)
    )
    sampled = [
        instance_rankings.average_precision(rankings, weights)
        for weights in intervals.resamples(num_images)
    ]
    return values, np.concatenate(sampled)


def _mean(values, name):
    """Averages over the thresholds of a name, and the classes that occur."""
    values = values[..., _MEANS[name]]
    count = np.count_nonzero(~np.isnan(values), axis=(-2, -1))
    total = np.nansum(values, axis=(-2, -1))
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
