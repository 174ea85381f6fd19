"""IoU of counts that can be summed: correct, labeled and predicted pixels by class."""

import numpy as np


def iou_counts(confusion: np.ndarray) -> np.ndarray:
    """Computes the counts that IoUs need, few enough to keep for every image.

    Args:
        confusion: Integers `[num_classes, num_classes]`: true class (row), predicted
            class (column).

    Returns:
        int64 `[3, num_classes]`: correct, labeled and predicted pixels of each class.
    """
    confusion = np.asarray(confusion, np.int64)
    return np.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)])


def iou(counts: np.ndarray) -> np.ndarray:
    """Computes the intersection over union of each class.

    Args:
        counts: `[..., 3, num_classes]`, see `iou_counts`.

    Returns:
        float64 `[..., num_classes]`, NaN for a class that is neither labeled nor
        predicted.
    """
    hits, labeled, predicted = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    union = labeled + predicted - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Averages `iou` over the classes that occur in label or prediction.

    Args:
        counts: `[..., 3, num_classes]`, see `iou_counts`. The score of a split is that
            of the sum over its images, not the mean of theirs.

    Returns:
        float64 `[...]`, NaN where no class occurs.
    """
    values = iou(counts)
    count = np.count_nonzero(~np.isnan(values), axis=-1)
    means = np.nansum(values, axis=-1) / np.maximum(count, 1)
    return np.where(count > 0, means, np.nan)


def plain(values):
    """Converts a number or an array to floats and lists for JSON, NaN to None."""
    if np.ndim(values):
        return [plain(value) for value in values]
    return None if np.isnan(values) else float(values)


def by_name(class_names, values) -> dict:
    """Returns the value of each class by its name, None for NaN."""
    return dict(zip(class_names, plain(values), strict=True))
