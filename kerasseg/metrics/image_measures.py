"""What is counted in one picture, so that the sums over pictures give scores."""

import abc
import dataclasses

import numpy as np

from kerasseg import errors
from kerasseg.metrics import confusion


@dataclasses.dataclass(frozen=True)
class ImageMeasure(abc.ABC):
    """Counts something in each picture; `scores` reads the sum of the counts.

    Counts are int64, fractions too, in small units: their sum is exact, so that order
    and number of workers change nothing. A measure holds no counts itself and may be
    called from several threads at once.

    Attributes:
        num_classes: Classes are 0 to `num_classes - 1`.
        ignore_label: Label of the pixels that never count: no prediction at them
            changes a count.
    """

    num_classes: int
    ignore_label: int = 255

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the counts."""

    def measure(self, label, prediction, confidence=None) -> np.ndarray:
        """Counts one picture.

        Args:
            label: True class numbers, `[height, width]`, any integer type.
            prediction: Predicted class numbers, likewise.
            confidence: Probability of the predicted class, from 0 to 1, float
                `[height, width]`; only `Calibration` looks at it.

        Returns:
            int64 of `shape`.

        Raises:
            ValueError: Maps of different or no size or of no class numbers, or a class
                number, of a labelled pixel, out of range.
        """
        truth, predicted = self._regions(np.asarray(label), np.asarray(prediction))
        return self._count(truth, predicted, confidence)

    def scores(self, total, class_names) -> dict:
        """Turns the sum of counts into scores.

        Args:
            total: Sum of what `measure` returned, integers of `shape`.
            class_names: One name a class, in the order of the numbers.

        Returns:
            Plain numbers, lists and dicts; None where there is nothing to divide by.

        Raises:
            ValueError: Not the sum of such counts, or not the names of the classes.
        """
        total = np.asarray(total)
        if total.shape != self.shape or total.dtype.kind not in "iu" or total.min() < 0:
            raise errors.UserError(
                f"{type(self).__name__} wants the sum of what its measure() returned, "
                f"integers of shape {self.shape} and not below 0; got {total.dtype} of "
                f"shape {total.shape}."
            )
        if len(class_names) != self.num_classes or len(set(class_names)) != len(
            class_names
        ):
            raise errors.UserError(
                f"{self.num_classes} classes with different names are wanted, got "
                f"{', '.join(class_names)}."
            )
        return self._scores(total, class_names)

    @abc.abstractmethod
    def _count(self, truth, predicted, confidence):
        """Counts two maps, uint8 or uint16; `num_classes` where nothing is labelled."""

    @abc.abstractmethod
    def _scores(self, total, class_names):
        """See `scores`."""

    def _regions(self, label, prediction):
        if label.ndim != 2 or label.shape != prediction.shape or not label.size:
            raise errors.UserError(
                f"Label and prediction are class numbers [height, width] of the same "
                f"size, at least one pixel; got {label.shape} and {prediction.shape}."
            )
        confusion.check_labels(
            label, self.num_classes, name="The label", ignore_label=self.ignore_label
        )
        if prediction.dtype.kind not in "iu":
            raise errors.UserError(
                f"Predictions are class numbers of an integer type, got "
                f"{prediction.dtype}. Take the argmax of the scores."
            )
        labelled = label != self.ignore_label
        wrong = ((prediction < 0) | (prediction >= self.num_classes)) & labelled
        if wrong.any():
            raise errors.UserError(
                f"Predicted class numbers out of range: {np.count_nonzero(wrong):,} "
                f"pixels, the first {prediction[wrong][0]}. Classes are 0 to "
                f"{self.num_classes - 1}; choose the data set of the predictions."
            )
        kind = np.uint8 if self.num_classes < 255 else np.uint16
        return (
            np.where(labelled, label.astype(kind), kind(self.num_classes)),
            np.where(labelled, prediction.astype(kind), kind(self.num_classes)),
        )


@dataclasses.dataclass(frozen=True)
class Confusion(ImageMeasure):
    """Counts the pairs of true and predicted class; see `metrics.scores`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Row true, column predicted."""
        return self.num_classes, self.num_classes

    def _count(self, truth, predicted, confidence):
        del confidence
        regions = self.num_classes + 1
        pairs = truth.astype(np.int64) * regions + predicted
        counts = np.bincount(pairs.ravel(), minlength=regions**2)
        return counts.reshape(regions, regions)[:-1, :-1]

    def _scores(self, total, class_names):
        return confusion.scores(total, class_names)
