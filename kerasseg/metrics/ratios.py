"""IoU of counts that add up: per class hits, labelled and predicted pixels."""

import numpy as np


def iou_counts(confusion) -> np.ndarray:
    """Takes from a confusion matrix what IoUs need, little enough to keep by picture.

    Args:
        confusion: Integers `[num_classes, num_classes]`: row true, column predicted.

    Returns:
        int64 `[3, num_classes]`: hits, labelled and predicted pixels of each class.
    """
    confusion = np.asarray(confusion, np.int64)
    return np.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)])


def iou(counts) -> np.ndarray:
    """Divides hits by the pixels that are labelled or predicted.

    Args:
        counts: `[..., 3, num_classes]`, see `iou_counts`.

    Returns:
        float64 `[..., num_classes]`, NaN for a class that occurs in neither.
    """
    hits, labelled, predicted = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    union = labelled + predicted - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def mean_iou(counts) -> np.ndarray:
    """Averages `iou` over the classes that occur in truth or prediction.

    Args:
        counts: `[..., 3, num_classes]`, see `iou_counts`. Those of each picture tell
            good pictures from bad ones; the score of a split is that of their sum.

    Returns:
        float64 `[...]`, NaN where no class occurs.
    """
    values = iou(counts)
    number = np.count_nonzero(~np.isnan(values), axis=-1)
    means = np.nansum(values, axis=-1) / np.maximum(number, 1)
    return np.where(number > 0, means, np.nan)


def plain(values):
    """Returns a number, or a list of them, as JSON has it: None for NaN."""
    if np.ndim(values):
        return [plain(value) for value in values]
    return None if np.isnan(values) else float(values)


def by_name(class_names, values) -> dict:
    """Returns a plain number for each class."""
    return dict(zip(class_names, plain(values), strict=True))
