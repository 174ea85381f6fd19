"""Scores that all come from one confusion matrix of integers."""

import keras
import numpy as np
from keras import ops

from kerasseg import errors
from kerasseg.metrics import ratios

# JAX has no 64-bit integers unless it is told to.
_COUNT = "int32" if keras.backend.backend() == "jax" else "int64"
# What one bad batch adds to every cell: more than a split has pixels, so that the sum
# stays below 0, and little enough that a million bad batches do not overflow.
_SPOILT = -(2**31) if _COUNT == "int32" else -(2**42)


def check_labels(
    labels: np.ndarray, num_classes: int, *, name: str, ignore_label: int = 255
) -> None:
    """Checks on the host that every label is a class number or `ignore_label`.

    Args:
        labels: Class numbers of an integer type, any shape.
        num_classes: Classes are 0 to `num_classes - 1`.
        name: The picture, for the message.
        ignore_label: Label of the pixels that never count.

    Raises:
        ValueError: Names the picture, the labels out of range and their pixels.
    """
    if labels.dtype.kind not in "iu":
        raise errors.UserError(
            f"{name}: labels are class numbers of an integer type, got {labels.dtype}."
        )
    wrong = ((labels < 0) | (labels >= num_classes)) & (labels != ignore_label)
    if not wrong.any():
        return
    numbers, pixels = np.unique(labels[wrong], return_counts=True)
    found = [f"{n} ({p:,} pixels)" for n, p in zip(numbers, pixels, strict=True)]
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    raise errors.UserError(
        f"{name}: labels out of range: {', '.join(found[:8])}{more}. Classes are 0 to "
        f"{num_classes - 1}, and {ignore_label} is ignored. Map the others when the "
        "records are built, or choose the data set with these classes."
    )


def class_numbers(logits):
    """Returns the best class of scores `[..., num_classes]`, -1 where one is NaN."""
    broken = ops.any(ops.isnan(logits), axis=-1)
    return ops.where(broken, -1, ops.cast(ops.argmax(logits, axis=-1), "int32"))


def confusion_matrix(labels, predictions, num_classes: int, ignore_label: int = 255):
    """Counts the pixels of each pair of true and predicted class.

    Args:
        labels: True class numbers, any shape and integer type.
        predictions: Predicted class numbers, same shape, any integer type.
        num_classes: See `check_labels`, as for `ignore_label`.
        ignore_label: Label of the pixels that never count.

    Returns:
        Integers `[num_classes, num_classes]`: row true, column predicted. Sums of such
        matrices belong into int64. A label, or the prediction of a labelled pixel, out
        of range makes every cell negative, in sums too, which `scores` refuses.
    """
    labels, predictions = _integers(labels), _integers(predictions)
    sizes = tuple(labels.shape), tuple(predictions.shape)
    if sizes[0] != sizes[1] and None not in sizes[0] + sizes[1]:
        raise errors.UserError(
            "Predictions are class numbers of the size of the labels, got "
            f"{sizes[1]} for labels {sizes[0]}."
        )
    labels, predictions = ops.ravel(labels), ops.ravel(predictions)
    counted = ops.not_equal(labels, ignore_label)
    known = (labels >= 0) & (labels < num_classes)
    known &= (predictions >= 0) & (predictions < num_classes)
    row = ops.cast(ops.where(known, labels, 0), "int32")
    column = ops.cast(ops.where(known, predictions, 0), "int32")
    # Two more cells take the rest: ignored pixels, then those out of range.
    rest = num_classes**2 + ops.cast(counted, "int32")
    cells = ops.where(known & counted, row * num_classes + column, rest)
    # Not bincount: neither XLA nor JAX can compile it.
    sums = ops.segment_sum(ops.ones_like(cells), cells, num_classes**2 + 2)
    matrix = ops.reshape(sums[: num_classes**2], (num_classes, num_classes))
    return ops.cast(matrix, _COUNT) + ops.cast(sums[-1] > 0, _COUNT) * _SPOILT


def scores(confusion, class_names) -> dict:
    """Computes the scores of a confusion matrix, in float64.

    Args:
        confusion: Integers `[num_classes, num_classes]`: row true, column predicted.
        class_names: One name a class, in the order of the numbers.

    Returns:
        Dict of "mean_iou", "pixel_accuracy", "mean_accuracy" and
        "frequency_weighted_iou", from 0 to 1, NaN where no pixel is labelled;
        "mean_iou_without_background", None where class 0 is not called "background" or
        no other occurs; "iou" and "accuracy", dicts by class name, None where there is
        nothing to divide by; and "pixels", labelled pixels by class name. A class that
        is neither labelled nor predicted is left out of the mean IoU; one that is not
        labelled, of the mean accuracy. One that is predicted and never labelled has
        IoU 0.

    Raises:
        ValueError: Not a matrix of counts for these classes, or one that was spoilt
            by a label or prediction out of range.

    Source: https://arxiv.org/abs/1411.4038, section 5.
    """
    confusion = _checked(np.asarray(confusion), class_names)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is labelled.
        means, iou, accuracy = _scores(confusion.astype("float64"), np)
    labelled, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return {name: float(value) for name, value in means.items()} | {
        "mean_iou_without_background": _without_background(confusion, class_names),
        "iou": _by_name(class_names, iou, labelled + predicted),
        "accuracy": _by_name(class_names, accuracy, labelled),
        "pixels": {n: int(p) for n, p in zip(class_names, labelled, strict=True)},
    }


class SegmentationScores(keras.metrics.Metric):
    """Pools the scores of all pixels seen; never a mean over batches.

    Args:
        num_classes: See `check_labels`, as for `ignore_label`.
        ignore_label: Label of the pixels that never count.
        name: Name of the metric.
    """

    def __init__(self, num_classes, *, ignore_label=255, name="scores", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.counts = self.add_variable(
            (num_classes, num_classes), "zeros", dtype=_COUNT, name="counts"
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pixels of one batch.

        Args:
            y_true: Class numbers, `[batch, height, width]`, any integer type.
            y_pred: Logits, `[batch, height, width, num_classes]`, or class numbers in
                the shape of `y_true`.
            sample_weight: None: a count of pixels has no weights.
        """
        if sample_weight is not None:
            raise errors.UserError(
                "SegmentationScores takes no sample_weight: it counts pixels. Label "
                f"those that shall not count {self.ignore_label}."
            )
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(y_pred.shape) == len(y_true.shape) + 1:
            y_pred = class_numbers(y_pred)
        counts = confusion_matrix(y_true, y_pred, self.num_classes, self.ignore_label)
        spoilt = ops.minimum(ops.min(counts), ops.min(self.counts)) < 0
        total = self.counts + counts
        self.counts.assign(ops.where(spoilt, ops.full_like(total, _SPOILT), total))

    def result(self):
        """Returns the four scores of `scores`, all NaN after a pixel out of range."""
        wide = "float32" if _COUNT == "int32" else "float64"
        means, _, _ = _scores(ops.cast(self.counts, wide), ops)
        spoilt = ops.where(ops.min(self.counts) < 0, np.nan, 1.0)
        return {name: ops.cast(v, "float32") * spoilt for name, v in means.items()}

    def get_config(self):
        """Returns what rebuilds the metric."""
        options = {"num_classes": self.num_classes, "ignore_label": self.ignore_label}
        return super().get_config() | options


def _checked(confusion, class_names):
    size = len(class_names)
    if confusion.shape != (size, size) or len(set(class_names)) != size:
        raise errors.UserError(
            f"A confusion matrix of {size} classes with different names is wanted, got "
            f"shape {confusion.shape} and classes {', '.join(class_names)}."
        )
    if confusion.dtype.kind not in "iu":
        raise errors.UserError(
            f"A confusion matrix holds integers, got {confusion.dtype}: floats lose "
            "counts beyond 2**24."
        )
    if confusion.min() < 0:
        raise errors.UserError(
            f"A label or prediction out of the range 0 to {size - 1} was counted. "
            "metrics.check_labels names the picture."
        )
    return confusion


def _integers(numbers):
    """Returns a tensor of int32, or of int64 where it was as wide."""
    numbers = ops.convert_to_tensor(numbers)
    given = keras.backend.standardize_dtype(numbers.dtype)
    if "int" not in given:
        raise errors.UserError(f"Class numbers have an integer type, got {given}.")
    return ops.cast(numbers, "int64" if given.endswith("64") else "int32")


def _scores(counts, xp):
    """Returns means by name, IoUs, accuracies; `xp` is `numpy` or `keras.ops`."""
    hits, labelled, total = xp.diagonal(counts), xp.sum(counts, axis=1), xp.sum(counts)
    union = labelled + xp.sum(counts, axis=0) - hits
    iou, accuracy = hits / xp.maximum(union, 1), hits / xp.maximum(labelled, 1)
    means = {
        "mean_iou": xp.sum(iou) / xp.sum(xp.sign(union)),
        "pixel_accuracy": xp.sum(hits) / total,
        "mean_accuracy": xp.sum(accuracy) / xp.sum(xp.sign(labelled)),
        "frequency_weighted_iou": xp.sum(labelled * iou) / total,
    }
    return means, iou, accuracy


def _without_background(confusion, class_names):
    if class_names[0] != "background":
        return None
    return ratios.plain(ratios.mean_iou(ratios.iou_counts(confusion)[:, 1:]))


def _by_name(class_names, values, divisors):
    rows = zip(class_names, values, divisors, strict=True)
    return {name: float(value) if divisor else None for name, value, divisor in rows}
