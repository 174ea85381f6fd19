"""Scores of a confusion matrix as Keras metrics, for `model.compile`."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from kerasseg import errors
from kerasseg.images import class_rules
from kerasseg.losses import pixels
from kerasseg.metrics import confusion

# A count is low + high * 2**30, because JAX has no 64-bit integers by default.
_BASE = 2**30
# `high` after a class out of range: negative, also in the sum over replicas.
_INVALID = -(2**30)
_WIDE = "float32" if confusion.COUNT == "int32" else "float64"


class ConfusionMetric(keras.metrics.Metric):
    """Counts pixels in a confusion matrix, exactly, over all batches since the reset.

    A subclass computes scores of it; those of an epoch are never means over batches.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels.
        name: Name of the metric.
        dtype: See `keras.metrics.Metric`; counts and scores do not depend on it.
    """

    score: ClassVar[str] = "scores"

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_label: int = 255,
        name: str | None = None,
        dtype=None,
    ):
        super().__init__(name=name or self.score, dtype=dtype)
        self.num_classes, self.ignore_label = num_classes, ignore_label
        shape = self._shape
        self._digits = self.add_variable(
            (2, *shape), "zeros", dtype=confusion.COUNT, name="counts"
        )
        self._fractions = self.add_variable(
            shape, "zeros", dtype="float32", name="fractions"
        )

    @property
    def _shape(self):
        """Shape of the counts."""
        return self.num_classes, self.num_classes

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pixels of one batch.

        Args:
            y_true: Class numbers, `[batch, height, width]` or `[batch, height, width,
                1]`, any type; floats must be whole numbers.
            y_pred: Logits, `[batch, height, width, num_classes]`, or the one logit of
                class 1 against class 0, `[batch, height, width, 1]`, or class numbers
                of an integer type, `[batch, height, width]`.
            sample_weight: One factor per image, `[batch]`, or per pixel, in the shape
                of `y_true`, at least 0; None for 1. A batch with weights is summed in
                float32.

        Raises:
            UserError: Wrong shapes or types.
        """
        y_true = pixels.without_channel(ops.convert_to_tensor(y_true))
        y_true, y_pred = pixels.class_numbers(y_true), ops.convert_to_tensor(y_pred)
        if len(y_pred.shape) == len(y_true.shape) + 1:
            y_pred = self._predictions(y_pred)
        options = self.num_classes, self.ignore_label
        if sample_weight is None:
            counts = confusion.confusion_matrix(y_true, y_pred, *options)
            self._add(counts, ops.min(counts) >= 0)
            return
        weights = pixels.without_channel(ops.convert_to_tensor(sample_weight))
        sums = self._fractions + confusion.weighted_confusion_matrix(
            y_true, y_pred, weights, *options
        )
        valid = ops.all(sums >= 0)  # False for NaN.
        sums = ops.where(valid, sums, 0.0)
        self._fractions.assign(sums - ops.floor(sums))
        self._add(ops.cast(ops.floor(sums), confusion.COUNT), valid)

    def result(self):
        """Returns the score, NaN if it is undefined or a class was out of range."""
        means, _ = self._scores()
        return means[self.score]

    @property
    def counts(self) -> np.ndarray:
        """The confusion matrix, int64 `[num_classes, num_classes]`.

        Rows are true classes, columns predicted ones. Sums of weights are rounded down.
        Cells are negative if a class was out of range. `metrics.scores` accepts it.
        """
        low, high = np.asarray(self._digits).astype(np.int64)
        return low + high * _BASE

    def get_config(self):
        """Returns the arguments of the constructor."""
        options = {"num_classes": self.num_classes, "ignore_label": self.ignore_label}
        return super().get_config() | options

    def _predictions(self, logits):
        if class_rules.num_classes(logits.shape[-1]) != self.num_classes:
            count = class_rules.num_classes(logits.shape[-1])
            raise errors.UserError(
                f"{self.name} counts {self.num_classes} classes, but `y_pred` has the "
                f"shape {tuple(logits.shape)}. Pass `num_classes={count}`, "
                "or logits of all classes."
            )
        return confusion.class_numbers(logits)

    def _add(self, counts, valid):
        low = self._digits[0] + counts % _BASE
        high = self._digits[1] + counts // _BASE + low // _BASE
        valid = valid & (ops.min(self._digits[1]) >= 0)
        high = ops.where(valid, high, ops.full_like(high, _INVALID))
        self._digits.assign(ops.stack([low % _BASE, high]))

    def _exact(self):
        """Returns the counts as floats."""
        low, high = ops.cast(self._digits[0], _WIDE), ops.cast(self._digits[1], _WIDE)
        return low + high * _BASE + ops.cast(self._fractions, _WIDE)

    def _scores(self):
        """Returns the means by name, and the IoU of each class, NaN if undefined."""
        high = self._digits[1]
        counts = self._exact()
        means, iou, _ = confusion.mean_scores(counts, ops)
        factor = ops.where(ops.min(high) < 0, np.nan, 1.0)
        occurs = ops.sum(counts, axis=0) + ops.sum(counts, axis=1) > 0
        iou = ops.where(occurs, ops.cast(iou, "float32"), np.nan) * factor
        return {k: ops.cast(v, "float32") * factor for k, v in means.items()}, iou


@keras.saving.register_keras_serializable("kerasseg")
class MeanIoU(ConfusionMetric):
    """Averages the IoU of the classes that are labeled or predicted.

    The IoU of a class is correct / (labeled + predicted - correct) pixels, from 0 to 1.
    It is 0 for a class that is predicted but never labeled. The mean is NaN if no class
    occurs.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels.
        name: Name of the metric; None for "mean_iou".
        dtype: See `ConfusionMetric`.

    Source: https://arxiv.org/abs/1411.4038, section 5.

    Example:
        model.compile("sgd", losses.CrossEntropy(), metrics=[metrics.MeanIoU(3)])
        model.fit(images, labels)
    """

    score = "mean_iou"


@keras.saving.register_keras_serializable("kerasseg")
class PixelAccuracy(ConfusionMetric):
    """Computes the fraction of the labeled pixels that are predicted correctly.

    It is NaN if no pixel is labeled.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels.
        name: Name of the metric; None for "pixel_accuracy".
        dtype: See `ConfusionMetric`.

    Source: https://arxiv.org/abs/1411.4038, section 5.

    Example:
        model.compile("sgd", losses.CrossEntropy(), metrics=[metrics.PixelAccuracy(3)])
        model.fit(images, labels)
    """

    score = "pixel_accuracy"


@keras.saving.register_keras_serializable("kerasseg")
class MeanAccuracy(ConfusionMetric):
    """Averages the accuracy of the classes that are labeled.

    The accuracy of a class is the fraction of its labeled pixels that are predicted
    correctly. The mean is NaN if no pixel is labeled.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels.
        name: Name of the metric; None for "mean_accuracy".
        dtype: See `ConfusionMetric`.

    Source: https://arxiv.org/abs/1411.4038, section 5.

    Example:
        model.compile("sgd", losses.CrossEntropy(), metrics=[metrics.MeanAccuracy(3)])
        model.fit(images, labels)
    """

    score = "mean_accuracy"


@keras.saving.register_keras_serializable("kerasseg")
class FrequencyWeightedIoU(ConfusionMetric):
    """Averages the IoU of the classes, weighted by their numbers of labeled pixels.

    It is NaN if no pixel is labeled.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels.
        name: Name of the metric; None for "frequency_weighted_iou".
        dtype: See `ConfusionMetric`.

    Source: https://arxiv.org/abs/1411.4038, section 5.

    Example:
        score = metrics.FrequencyWeightedIoU(3)
        model.compile("sgd", losses.CrossEntropy(), metrics=[score])
        model.fit(images, labels)
    """

    score = "frequency_weighted_iou"


@keras.saving.register_keras_serializable("kerasseg")
class SegmentationScores(ConfusionMetric):
    """Computes the scores of the four other classes from one confusion matrix.

    The result is a dict of "mean_iou", "pixel_accuracy", "mean_accuracy" and
    "frequency_weighted_iou", which Keras reports under these names. So compile it for
    one output only.

    Args:
        num_classes: Number of classes.
        class_names: Class names in the order of the class numbers. The result then has
            the IoU of each class, too, as "iou_NAME", NaN for a class that is neither
            labeled nor predicted. None for the means only.
        ignore_label: Label of ignored pixels.
        name: Name of the metric; None for "scores".
        dtype: See `ConfusionMetric`.

    Raises:
        UserError: `class_names` are not `num_classes` different names.

    Source: https://arxiv.org/abs/1411.4038, section 5.

    Example:
        scores = metrics.SegmentationScores(3, class_names=["road", "car", "sky"])
        model.compile("sgd", losses.CrossEntropy(), metrics=[scores])
        model.fit(images, labels)
    """

    def __init__(
        self, num_classes: int, *, class_names: Sequence[str] | None = None, **options
    ):
        super().__init__(num_classes, **options)
        self.class_names = None if class_names is None else list(class_names)
        if class_names is not None and len(set(class_names)) != num_classes:
            raise errors.UserError(
                f"`class_names` must be {num_classes} different names, got "
                f"{', '.join(class_names)}."
            )

    def result(self):
        """Returns the scores by name; NaN where undefined or after a wrong class."""
        means, iou = self._scores()
        names = self.class_names or []
        return means | {f"iou_{name}": iou[i] for i, name in enumerate(names)}

    def get_config(self):
        """Returns the arguments of the constructor."""
        return super().get_config() | {"class_names": self.class_names}
