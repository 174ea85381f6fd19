"""Bootstrap intervals: how much a mean IoU varies with the choice of images."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerasseg import errors
from kerasseg.metrics import ratios

_LEVEL = 0.95
_RESAMPLES = 1000
_CHUNK = 50  # Resamples at a time; 10,000 images need 4 MB of weights.
_SEED = 0


def interval(image_counts: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Computes bootstrap intervals of the IoUs of a split, from 1,000 resamples.

    Args:
        image_counts: Integers `[images, 3, num_classes]`, see `iou_counts`. Images are
            resampled by position, so their order should not change between runs.
        class_names: Class names in the order of the class numbers.

    Returns:
        "mean_iou" and, by class name, "iou": each a dict of "value", that of all
        images, and "low" and "high", between which 95 % of the resamples lie; None for
        a class that never occurs. A resample without a class is left out for that
        class. Also "level" (0.95), "resamples" (1000) and "pictures", the number of
        images.

    Raises:
        UserError: `image_counts` is empty, or of wrong shape or type.

    Source: the percentile interval of Efron, https://doi.org/10.1214/aos/1176344552.
    """
    image_counts = _checked(image_counts, class_names)
    (resampled,) = _resampled_sums(image_counts)
    total = image_counts.sum(axis=0)

    means = percentiles(float(ratios.mean_iou(total)), ratios.mean_iou(resampled))
    classes = map(percentiles, ratios.iou(total), ratios.iou(resampled).T)
    return _result(means, classes, image_counts, class_names)


def paired_interval(
    image_counts: np.ndarray, other_counts: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Computes bootstrap intervals of the difference between two runs.

    Every resample has the same images for both runs.

    Args:
        image_counts: See `interval`.
        other_counts: Counts of the other run, for the same images in the same order.
        class_names: See `interval`.

    Returns:
        As `interval` returns it, for the scores of `image_counts` minus those of
        `other_counts`. Each dict also has "above_zero", the fraction of resamples with
        a positive difference.

    Raises:
        UserError: Counts are empty or of wrong shape or type, or the images differ.
    """
    return pooled_interval([(image_counts, other_counts)], class_names)


def pooled_interval(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]
) -> dict[str, Any]:
    """Computes bootstrap intervals of the mean difference of several pairs of runs.

    The pairs differ in seeds or in lists of labeled images, for example. Every resample
    has the same images for all runs, so the interval is about the choice of the images,
    not of the seeds.

    Args:
        pairs: For each pair, counts of two runs; those of all runs are for the same
            images in the same order. See `interval`.
        class_names: See `interval`.

    Returns:
        As `paired_interval` returns it, for the mean over the pairs.

    Raises:
        UserError: There is no pair, counts are empty or of wrong shape or type, or the
            images differ.
    """
    if not pairs:
        raise errors.UserError("Expected at least one pair of runs, got none.")
    runs = [_checked(counts, class_names) for pair in pairs for counts in pair]
    for run in runs[1:]:
        _check_paired(runs[0], run)
    resampled = _resampled_sums(*runs)
    totals = [run.sum(axis=0) for run in runs]

    def difference(score, sums):
        values = np.array([score(each) for each in sums])
        return (values[::2] - values[1::2]).mean(axis=0)

    def summary(value, samples):
        ends = percentiles(value, samples)
        if ends is None:
            return None
        above = float(np.mean(samples[~np.isnan(samples)] > 0))
        return ends | {"above_zero": above}

    means = summary(
        difference(ratios.mean_iou, totals), difference(ratios.mean_iou, resampled)
    )
    values = difference(ratios.iou, totals)
    classes = map(summary, values, difference(ratios.iou, resampled).T)
    return _result(means, classes, runs[0], class_names)


def _resampled_sums(*tables):
    """Returns the sums of each table's counts over the images of each resample."""
    size = len(tables[0])
    flat = [table.reshape(size, -1).astype(np.float64) for table in tables]
    sums: list[list] = [[] for _ in tables]
    for weights in resamples(size):
        weights = weights.astype(np.float64)
        for table, chunks in zip(flat, sums, strict=True):
            chunks.append(weights @ table)  # Exact for integers below 2**53.
    return [
        np.concatenate(chunks).reshape(_RESAMPLES, *table.shape[1:])
        for table, chunks in zip(tables, sums, strict=True)
    ]


def resamples(num_images: int) -> Iterator[np.ndarray]:
    """Draws images with replacement, 1,000 times, as many as there are.

    The draws depend on the number of images only (seed 0), so scores of different kinds
    are resampled alike.

    Yields:
        How often each image is drawn, integers `[resamples, num_images]`, in chunks.
    """
    generator = np.random.default_rng(_SEED)
    for _ in range(0, _RESAMPLES, _CHUNK):
        chances = np.full(num_images, 1 / num_images)
        yield generator.multinomial(num_images, chances, _CHUNK)


def percentiles(value: float, samples: np.ndarray) -> dict[str, float] | None:
    """Computes the interval of a score.

    Args:
        value: The score of all images.
        samples: That of each resample, `[resamples]`; NaN is left out.

    Returns:
        "value", "low" and "high", see `interval`; None if `value` is NaN.
    """
    if np.isnan(value):
        return None
    outside = 50 * (1 - _LEVEL)
    low, high = np.percentile(samples[~np.isnan(samples)], [outside, 100 - outside])
    return {"value": float(value), "low": float(low), "high": float(high)}


def settings(num_images: int) -> dict[str, Any]:
    """Returns the "level", "resamples" and "pictures" of `interval`."""
    return {"level": _LEVEL, "resamples": _RESAMPLES, "pictures": num_images}


def _result(means, classes, image_counts, class_names):
    return {
        "mean_iou": means,
        "iou": dict(zip(class_names, classes, strict=True)),
        **settings(len(image_counts)),
    }


def _checked(image_counts, class_names):
    image_counts = np.asarray(image_counts)
    expected = (3, len(class_names))
    if (
        image_counts.shape[1:] != expected
        or not len(image_counts)
        or image_counts.dtype.kind not in "iu"
        or image_counts.min() < 0
    ):
        raise errors.UserError(
            f"Counts must be integers [images, 3, {len(class_names)}], at least 0, of "
            f"at least one image; got {image_counts.dtype} {image_counts.shape}. "
            "metrics.iou_counts computes those of an image."
        )
    return image_counts


def _check_paired(image_counts, other_counts):
    if len(image_counts) != len(other_counts):
        raise errors.UserError(
            "Two runs can be compared only on the same images, got "
            f"{len(image_counts)} and {len(other_counts)}. Score both on the same "
            "split."
        )
    same = (image_counts[:, 1] == other_counts[:, 1]).all(axis=-1)
    if not same.all():
        raise errors.UserError(
            "Two runs can be compared only on the same images in the same order, but "
            f"the labels of {np.count_nonzero(~same)} of {len(same)} differ, the first "
            f"at index {np.argmin(same)}. Score both on the same records."
        )
