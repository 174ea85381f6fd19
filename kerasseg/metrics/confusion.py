"""Confusion matrix and the scores computed from it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasseg import errors
from kerasseg.images import class_rules
from kerasseg.metrics import ratios

# JAX has no 64-bit integers by default.
COUNT = "int32" if keras.backend.backend() == "jax" else "int64"
# Added to every cell by a batch with a class out of range. Its absolute value is above
# the number of pixels of a split, so the sum stays negative, and a million such batches
# do not overflow.
_INVALID = -(2**31) if COUNT == "int32" else -(2**42)


def check_labels(
    labels: np.ndarray, num_classes: int, *, name: str, ignore_label: int = 255
) -> None:
    """Checks on the host that every label is a class number or `ignore_label`.

    Args:
        labels: Class numbers of an integer type, any shape.
        num_classes: Number of classes.
        name: Name of the image, for the message.
        ignore_label: Label of ignored pixels.

    Raises:
        UserError: Labels out of range, listed with their numbers of pixels, or of a
            type that is not an integer.
    """
    if labels.dtype.kind not in "iu":
        raise errors.UserError(
            f"{name}: labels must be class numbers of an integer type, got "
            f"{labels.dtype}."
        )
    wrong = ((labels < 0) | (labels >= num_classes)) & (labels != ignore_label)
    if not wrong.any():
        return
    numbers, pixels = np.unique(labels[wrong], return_counts=True)
    listed = [f"{n} ({p:,} pixels)" for n, p in zip(numbers, pixels, strict=True)]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    raise errors.UserError(
        f"{name}: labels out of range: {', '.join(listed[:8])}{more}. Classes are 0 to "
        f"{num_classes - 1}, and {ignore_label} is ignored. Map the others when the "
        "records are built, or choose the data set with these classes."
    )


def class_numbers(logits):
    """Returns the class with the highest score, as int32.

    Args:
        logits: Scores, `[..., num_classes]`; or `[..., 1]`, of class 1 against 0.

    Returns:
        int32 `[...]`, -1 for a pixel with a NaN.
    """
    logits = class_rules.class_logits(logits, ops)
    has_nan = ops.any(ops.isnan(logits), axis=-1)
    return ops.where(has_nan, -1, ops.cast(ops.argmax(logits, axis=-1), "int32"))


def confusion_matrix(labels, predictions, num_classes: int, ignore_label: int = 255):
    """Counts the pixels of each pair of true and predicted class.

    Args:
        labels: True class numbers, any shape and integer type.
        predictions: Predicted class numbers, same shape, any integer type.
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels.

    Returns:
        Integers `[num_classes, num_classes]`: true class (row), predicted class
        (column). Sum such matrices in int64. If a label, or the prediction of a
        labeled pixel, is out of range, every cell is negative, also in sums, and
        `scores` raises an error.

    Raises:
        UserError: Different shapes, or a type that is not an integer.
    """
    cells = _cells(labels, predictions, num_classes, ignore_label)
    # Neither XLA nor JAX can compile bincount.
    sums = ops.segment_sum(ops.ones_like(cells), cells, num_classes**2 + 2)
    matrix = ops.reshape(sums[: num_classes**2], (num_classes, num_classes))
    return ops.cast(matrix, COUNT) + ops.cast(sums[-1] > 0, COUNT) * _INVALID


def weighted_confusion_matrix(
    labels, predictions, weights, num_classes: int, ignore_label: int = 255
):
    """Sums the weights of the pixels of each pair of true and predicted class.

    Args:
        labels: See `confusion_matrix`.
        predictions: See `confusion_matrix`.
        weights: One factor per pixel, at least 0, in the shape of the labels, or per
            image, `[batch]`.
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels.

    Returns:
        float32 `[num_classes, num_classes]`. Every cell is NaN where those of
        `confusion_matrix` are negative, or if a weight is.

    Raises:
        UserError: As `confusion_matrix`, or another shape of the weights.
    """
    labels, weights = ops.convert_to_tensor(labels), ops.cast(weights, "float32")
    shape = tuple(labels.shape)
    if len(weights.shape) == 1:
        weights = ops.reshape(weights, (-1, *[1] * (len(shape) - 1)))
    elif len(weights.shape) != len(shape):
        raise errors.UserError(
            "Weights must be one number for each image, [batch], or for each pixel, in "
            f"the shape of the labels, {shape}; got {tuple(weights.shape)}."
        )
    cells = _cells(labels, predictions, num_classes, ignore_label)
    weights = ops.ravel(ops.broadcast_to(weights, ops.shape(labels)))
    sums = ops.segment_sum(weights, cells, num_classes**2 + 2)
    valid = ops.all(weights >= 0) & ops.all(cells <= num_classes**2)
    matrix = ops.reshape(sums[: num_classes**2], (num_classes, num_classes))
    return ops.where(valid, matrix, np.nan)


def scores(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Computes the scores of a confusion matrix, in float64.

    Args:
        confusion: Integers `[num_classes, num_classes]`: true class (row), predicted
            class (column).
        class_names: Class names in the order of the class numbers.

    Returns:
        Dict of "mean_iou", "pixel_accuracy", "mean_accuracy" and
        "frequency_weighted_iou", from 0 to 1, NaN if no pixel is labeled;
        "mean_iou_without_background", None if class 0 is not called "background" or no
        other class occurs; "iou" and "accuracy", dicts by class name, None where
        undefined; and "pixels", the number of labeled pixels by class name. The mean
        IoU is over the classes that are labeled or predicted, the mean accuracy over
        those that are labeled. A class that is predicted but never labeled has IoU 0.

    Raises:
        UserError: Not a confusion matrix of these classes, or a label or prediction
            was out of range when it was counted.

    Source: https://arxiv.org/abs/1411.4038, section 5.
    """
    confusion = _checked(np.asarray(confusion), class_names)
    with np.errstate(invalid="ignore"):  # 0 / 0 if no pixel is labeled.
        means, iou, accuracy = mean_scores(confusion.astype("float64"), np)
    labeled, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return {name: float(value) for name, value in means.items()} | {
        "mean_iou_without_background": _without_background(confusion, class_names),
        "iou": _by_name(class_names, iou, labeled + predicted),
        "accuracy": _by_name(class_names, accuracy, labeled),
        "pixels": {n: int(p) for n, p in zip(class_names, labeled, strict=True)},
    }


def mean_scores(counts, xp):
    """Computes the scores of a confusion matrix without names.

    Args:
        counts: Confusion matrix, float `[num_classes, num_classes]`.
        xp: `numpy` or `keras.ops`.

    Returns:
        Dict of the four means of `scores`; IoUs and accuracies, `[num_classes]`, 0
        where undefined.
    """
    hits, labeled, total = xp.diagonal(counts), xp.sum(counts, axis=1), xp.sum(counts)
    union = labeled + xp.sum(counts, axis=0) - hits
    iou = hits / xp.where(union > 0, union, 1)
    accuracy = hits / xp.where(labeled > 0, labeled, 1)
    means = {
        "mean_iou": xp.sum(iou) / xp.sum(xp.sign(union)),
        "pixel_accuracy": xp.sum(hits) / total,
        "mean_accuracy": xp.sum(accuracy) / xp.sum(xp.sign(labeled)),
        "frequency_weighted_iou": xp.sum(labeled * iou) / total,
    }
    return means, iou, accuracy


def _checked(confusion, class_names):
    size = len(class_names)
    if confusion.shape != (size, size) or len(set(class_names)) != size:
        raise errors.UserError(
            f"A confusion matrix [{size}, {size}] of {size} classes with different "
            f"names is expected, got shape {confusion.shape} and classes "
            f"{', '.join(class_names)}."
        )
    if confusion.dtype.kind not in "iu":
        raise errors.UserError(
            f"A confusion matrix must hold integers, got {confusion.dtype}. float32 is "
            "not exact above 2**24."
        )
    if confusion.min() < 0:
        raise errors.UserError(
            f"A label or prediction out of the range 0 to {size - 1} was counted. "
            "metrics.check_labels finds the image."
        )
    return confusion


def _cells(labels, predictions, num_classes, ignore_label):
    """Returns the cell of each pixel: row * num_classes + column, int32 `[pixels]`.

    Two more cells are for the others: ignored pixels, then those out of range.
    """
    labels, predictions = _integers(labels), _integers(predictions)
    sizes = tuple(labels.shape), tuple(predictions.shape)
    if sizes[0] != sizes[1] and None not in sizes[0] + sizes[1]:
        raise errors.UserError(
            "Predictions must be class numbers in the shape of the labels, got "
            f"{sizes[1]} for labels {sizes[0]}."
        )
    labels, predictions = ops.ravel(labels), ops.ravel(predictions)
    counted = ops.not_equal(labels, ignore_label)
    in_range = (labels >= 0) & (labels < num_classes)
    in_range &= (predictions >= 0) & (predictions < num_classes)
    row = ops.cast(ops.where(in_range, labels, 0), "int32")
    column = ops.cast(ops.where(in_range, predictions, 0), "int32")
    other = num_classes**2 + ops.cast(counted, "int32")
    return ops.where(in_range & counted, row * num_classes + column, other)


def _integers(numbers):
    """Returns a tensor of int64 if `numbers` has 64 bits, else of int32."""
    numbers = ops.convert_to_tensor(numbers)
    given = keras.backend.standardize_dtype(numbers.dtype)
    if "int" not in given:
        raise errors.UserError(f"Class numbers must have an integer type, got {given}.")
    return ops.cast(numbers, "int64" if given.endswith("64") else "int32")


def _without_background(confusion, class_names):
    if class_names[0] != "background":
        return None
    return ratios.plain(ratios.mean_iou(ratios.iou_counts(confusion)[:, 1:]))


def _by_name(class_names, values, divisors):
    rows = zip(class_names, values, divisors, strict=True)
    return {name: float(value) if divisor else None for name, value, divisor in rows}
