"""Bootstrap: how much a mean IoU would vary with other pictures of the same kind."""

import numpy as np

from kerasseg import errors
from kerasseg.metrics import ratios

_LEVEL = 0.95
_RESAMPLES = 1000
_CHUNK = 50  # Resamples at a time: with 10,000 pictures, 4 MB of weights.
_SEED = 0


def interval(picture_counts, class_names) -> dict:
    """Draws the pictures of a split anew, a thousand times, and scores each draw.

    Args:
        picture_counts: Integers `[pictures, 3, num_classes]`, see `iou_counts`, in an
            order that does not change from run to run: the draws are by position.
        class_names: One name a class, in the order of the numbers.

    Returns:
        "mean_iou" and, by class name, "iou": each a dict of "value", of all pictures,
        and "low" and "high", which hold 95 % of the draws between them; None for a
        class that never occurs. A draw without a class says nothing of that class.
        Then "level", "resamples" and "pictures".

    Raises:
        ValueError: No pictures, or not their counts.

    Source: the percentile interval of Efron, https://doi.org/10.1214/aos/1176344552.
    """
    picture_counts = _checked(picture_counts, class_names)
    (draws,) = _draws(picture_counts)
    total = picture_counts.sum(axis=0)

    def summary(value, drawn):
        return _ends(drawn, value=float(value)) if not np.isnan(value) else None

    means = summary(ratios.mean_iou(total), ratios.mean_iou(draws))
    classes = map(summary, ratios.iou(total), ratios.iou(draws).T)
    return _described(means, classes, picture_counts, class_names)


def paired_interval(picture_counts, other_counts, class_names) -> dict:
    """Draws the same pictures for two runs and scores the difference of each draw.

    Args:
        picture_counts: See `interval`.
        other_counts: Likewise of another run, on the same pictures in the same order.
        class_names: See `interval`.

    Returns:
        As `interval`, "value" that of `picture_counts` less that of `other_counts`,
        each dict with "above_zero", the share of draws in which the difference is.

    Raises:
        ValueError: No pictures, not their counts, or other pictures.
    """
    picture_counts = _checked(picture_counts, class_names)
    other_counts = _checked(other_counts, class_names)
    _check_paired(picture_counts, other_counts)
    draws = _draws(picture_counts, other_counts)
    totals = picture_counts.sum(axis=0), other_counts.sum(axis=0)

    def summary(value, drawn):
        if np.isnan(value):
            return None
        above = float(np.mean(drawn[~np.isnan(drawn)] > 0))
        return _ends(drawn, value=float(value)) | {"above_zero": above}

    means = summary(
        np.subtract(*map(ratios.mean_iou, totals)),
        np.subtract(*map(ratios.mean_iou, draws)),
    )
    values = np.subtract(*map(ratios.iou, totals))
    classes = map(summary, values, np.subtract(*map(ratios.iou, draws)).T)
    return _described(means, classes, picture_counts, class_names)


def _draws(*tables):
    """Returns, for each table, the sums of its counts in each draw of pictures."""
    generator, size = np.random.default_rng(_SEED), len(tables[0])
    flat = [table.reshape(size, -1).astype(np.float64) for table in tables]
    sums: list[list] = [[] for _ in tables]
    for _ in range(0, _RESAMPLES, _CHUNK):
        weights = generator.multinomial(size, np.full(size, 1 / size), _CHUNK)
        weights = weights.astype(np.float64)
        for table, found in zip(flat, sums, strict=True):
            found.append(weights @ table)  # Integers below 2**53: exact.
    return [
        np.concatenate(found).reshape(_RESAMPLES, *table.shape[1:])
        for table, found in zip(tables, sums, strict=True)
    ]


def _ends(drawn, value):
    outside = 50 * (1 - _LEVEL)
    low, high = np.percentile(drawn[~np.isnan(drawn)], [outside, 100 - outside])
    return {"value": value, "low": float(low), "high": float(high)}


def _described(means, classes, picture_counts, class_names):
    return {
        "mean_iou": means,
        "iou": dict(zip(class_names, classes, strict=True)),
        "level": _LEVEL,
        "resamples": _RESAMPLES,
        "pictures": len(picture_counts),
    }


def _checked(picture_counts, class_names):
    picture_counts = np.asarray(picture_counts)
    wanted = (3, len(class_names))
    if (
        picture_counts.shape[1:] != wanted
        or not len(picture_counts)
        or picture_counts.dtype.kind not in "iu"
        or picture_counts.min() < 0
    ):
        raise errors.UserError(
            f"Counts of pictures are integers [pictures, 3, {len(class_names)}], not "
            f"below 0, of at least one picture; got {picture_counts.dtype} "
            f"{picture_counts.shape}. metrics.iou_counts makes those of a picture."
        )
    return picture_counts


def _check_paired(picture_counts, other_counts):
    if len(picture_counts) != len(other_counts):
        raise errors.UserError(
            f"Two runs are compared on the same pictures, got {len(picture_counts)} "
            f"and {len(other_counts)} of them. Score both on the same split."
        )
    same = (picture_counts[:, 1] == other_counts[:, 1]).all(axis=-1)
    if not same.all():
        raise errors.UserError(
            f"Two runs are compared on the same pictures in the same order, but the "
            f"labels of {np.count_nonzero(~same)} of {len(same)} differ, first of "
            f"number {np.argmin(same)}. Score both on the same records."
        )
