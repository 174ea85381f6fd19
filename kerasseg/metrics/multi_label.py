"""Scores of independent classes: each is a binary problem of its pixels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasseg import errors
from kerasseg.images import bit_masks
from kerasseg.losses import pixels
from kerasseg.metrics import ratios
from kerasseg.metrics.keras_metrics import ConfusionMetric


@dataclasses.dataclass(frozen=True)
class MultiLabelConfusion:
    """Counts the pixels of each class in a confusion matrix; see `scores`.

    Attributes:
        num_classes: Number of classes.
    """

    num_classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Class; whether it is labeled; whether it is predicted."""
        return self.num_classes, 2, 2

    def measure(
        self, label: np.ndarray, prediction: np.ndarray, confidence: Any = None
    ) -> np.ndarray:
        """Counts one image.

        Args:
            label: Bits of classes and 255, see `bit_masks`, `[height, width]`.
            prediction: Bits of classes, same shape.
            confidence: Not used.

        Returns:
            int64 of `shape`.

        Raises:
            UserError: The shapes differ, or a value is neither a sum of classes nor,
                in the label, 255.
        """
        del confidence
        if label.shape != prediction.shape or label.ndim != 2:
            raise errors.UserError(
                "Label and prediction must be [height, width] of the same size; got "
                f"{label.shape} and {prediction.shape}."
            )
        valid = label != 255
        for name, array in (("label", label), ("prediction", prediction)):
            bit_masks.check(array[valid], self.num_classes, name=f"The {name}")
        has = bit_masks.decode(label[valid], self.num_classes)
        found = bit_masks.decode(prediction[valid], self.num_classes)
        hits, labeled = (has & found).sum(0), has.sum(0)
        predicted, total = found.sum(0), np.count_nonzero(valid)
        no_label = [total - labeled - predicted + hits, predicted - hits]
        counts = np.array([no_label, [labeled - hits, hits]], np.int64)
        return counts.transpose(2, 0, 1)

    def scores(self, total: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
        """Computes the scores of the sum of the counts; see `multi_label.scores`."""
        return scores(total, class_names)


def iou_counts(confusion: np.ndarray) -> np.ndarray:
    """Returns correct, labeled and predicted pixels, see `ratios.iou_counts`.

    Args:
        confusion: `[num_classes, 2, 2]`, see `MultiLabelConfusion`.
    """
    hits = confusion[:, 1, 1]
    return np.stack([hits, confusion[:, 1].sum(-1), confusion[:, :, 1].sum(-1)])


def scores(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Computes the scores of independent classes, with the keys of `metrics.scores`.

    Args:
        confusion: Integers `[num_classes, 2, 2]`, see `MultiLabelConfusion`.
        class_names: Class names in the order of the class numbers.

    Returns:
        Dict of "iou" and "accuracy" (recall: the fraction of the labeled pixels that
        are predicted) by class name, None where undefined; "mean_iou" over the classes
        that are labeled or predicted, "mean_accuracy" over those that are labeled;
        "frequency_weighted_iou", by labeled pixels; "pixel_accuracy", the fraction of
        the decisions, one for each pixel and class, that are right; "pixels", labeled
        pixels by class name; and "mean_iou_without_background", None. Means without a
        pixel are NaN.
    """
    confusion = np.asarray(confusion)
    counts = iou_counts(confusion).astype(np.float64)
    hits, labeled, _ = counts
    iou = ratios.iou(counts)
    recall = np.where(labeled > 0, hits / np.maximum(labeled, 1), np.nan)
    right, total = confusion[:, 0, 0] + confusion[:, 1, 1], confusion.sum()
    weighted = np.nansum(labeled * iou)
    return {
        "mean_iou": float(ratios.mean_iou(counts)),
        "pixel_accuracy": float(right.sum() / total) if total else np.nan,
        "mean_accuracy": float(recall[labeled > 0].mean()) if labeled.any() else np.nan,
        "frequency_weighted_iou": (
            float(weighted / labeled.sum()) if labeled.any() else np.nan
        ),
        "mean_iou_without_background": None,
        "iou": ratios.by_name(class_names, iou),
        "accuracy": ratios.by_name(class_names, recall),
        "pixels": {n: int(p) for n, p in zip(class_names, labeled, strict=True)},
    }


@keras.saving.register_keras_serializable("kerasseg")
class MultiLabelIoU(ConfusionMetric):
    """Averages the IoU of independent classes that are labeled or predicted.

    The result is a dict of "mean_iou" and, with class names, of "iou_NAME" of each
    class, NaN for a class that is neither labeled nor predicted.

    Args:
        num_classes: Number of classes.
        class_names: Class names, or None.
        thresholds: Probability above which a pixel has a class: one number, or one for
            each class.
        name: Name of the metric; None for "multi_label_iou".
        dtype: See `ConfusionMetric`.

    Call arguments:
        y_true: See `losses.CrossEntropy` with `multi_label=True`.
        y_pred: Logits, `[batch, height, width, num_classes]`.

    Raises:
        UserError: The logits have another number of classes.

    Example:
        loss = losses.CrossEntropy(multi_label=True)
        model.compile("sgd", loss, metrics=[metrics.MultiLabelIoU(3)])
        model.fit(images, labels)
    """

    score = "multi_label_iou"

    def __init__(
        self,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        thresholds: float | Sequence[float] = 0.5,
        **options,
    ):
        super().__init__(num_classes, **options)
        self.class_names = None if class_names is None else list(class_names)
        limits = np.broadcast_to(np.asarray(thresholds, "float32"), num_classes)
        self.thresholds = limits.tolist()

    @property
    def _shape(self):
        return 3, self.num_classes

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pixels of one batch; weights of pixels are not supported."""
        if sample_weight is not None:
            raise errors.UserError(
                "MultiLabelIoU has no `sample_weight`. Leave the weights out of the "
                "metric: compile it in `metrics`, not in `weighted_metrics`."
            )
        y_pred = ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] != self.num_classes:
            raise errors.UserError(
                f"{self.name} counts {self.num_classes} classes, but `y_pred` has the "
                f"shape {tuple(y_pred.shape)}. Pass logits of all classes."
            )
        labels = pixels.class_numbers(pixels.without_channel(y_true))
        probabilities = ops.sigmoid(ops.cast(y_pred, "float32"))
        counts, valid = [], True
        for k, limit in enumerate(self.thresholds):
            label = pixels.of_class(labels, k, self.num_classes)
            valid &= ops.all((label == 0) | (label == 1) | (label == 255))
            valid &= ~ops.any(ops.isnan(probabilities[..., k]))
            found = (probabilities[..., k] > limit) & (label != 255)
            has = label == 1
            counts.append(
                [
                    ops.sum(ops.cast(x, self._digits.dtype))
                    for x in (has & found, has, found)
                ]
            )
        self._add(ops.transpose(ops.stack([ops.stack(c) for c in counts])), valid)

    def result(self):
        """Returns the scores; NaN where undefined or after a wrong label."""
        counts = self._exact()
        hits, labeled, predicted = counts[0], counts[1], counts[2]
        union = labeled + predicted - hits
        iou = ops.where(union > 0, hits / ops.maximum(union, 1), 0)
        factor = ops.where(ops.min(self._digits[1]) < 0, np.nan, 1.0)
        seen = ops.cast(union > 0, iou.dtype)
        mean = ops.cast(ops.sum(iou) / ops.sum(seen), "float32") * factor
        each = ops.where(union > 0, ops.cast(iou, "float32"), np.nan) * factor
        names = self.class_names or []
        return {"mean_iou": mean} | {
            f"iou_{name}": each[i] for i, name in enumerate(names)
        }

    def get_config(self):
        """Returns the arguments of the constructor."""
        config = super().get_config()
        del config["ignore_label"]
        own = {"class_names": self.class_names, "thresholds": self.thresholds}
        return config | own
