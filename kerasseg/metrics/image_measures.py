"""Measures of single images: counts that are summed over a split give its scores.

A new measure is a class in a module of this package, registered under the name by which
`measures` selects it. `titles` and `class_scores` are how tables and the report show
its scores.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from kerasseg import errors
from kerasseg.metrics import confusion
from kerasseg.system import registry


class ClassScore(NamedTuple):
    """A score of each class, as a column of the report.

    Attributes:
        title: Heading of the column.
        key: Key of the scores by class name.
        mean_key: Key of their mean.
        note: Explanation for the report, a sentence or "".
    """

    title: str
    key: str
    mean_key: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class ImageMeasure(abc.ABC):
    """Counts something in each image; `scores` computes scores from the sum.

    Counts are int64, and fractions are counted in small units. So their sum is exact
    and does not depend on the order of the images or the number of workers. A measure
    has no state and can be called from several threads at once.

    Attributes:
        num_classes: Number of classes.
        ignore_label: Label of ignored pixels. Predictions there change no count.
        titles: Title of each score of the whole split, from 0 to 1, by its key.
        class_scores: The scores of each class.
    """

    num_classes: int
    ignore_label: int = 255

    titles: ClassVar[Mapping[str, str]] = {}
    class_scores: ClassVar[Sequence[ClassScore]] = ()

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the counts."""

    def measure(
        self,
        label: np.ndarray,
        prediction: np.ndarray,
        confidence: np.ndarray | None = None,
    ) -> np.ndarray:
        """Counts one image.

        Args:
            label: True class numbers, `[height, width]`, any integer type.
            prediction: Predicted class numbers, same shape, any integer type.
            confidence: Probability of the predicted class, from 0 to 1, float
                `[height, width]`. Only `Calibration` uses it.

        Returns:
            int64 of `shape`.

        Raises:
            UserError: Arrays of wrong shape or type, or a class number of a labeled
                pixel out of range.
        """
        label, prediction = self._regions(np.asarray(label), np.asarray(prediction))
        return self._count(label, prediction, confidence)

    def scores(self, total: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
        """Computes scores from the sum of the counts.

        Args:
            total: Sum of the arrays returned by `measure`, integers of `shape`.
            class_names: Class names in the order of the class numbers.

        Returns:
            Numbers, lists and dicts that JSON can hold; None for an undefined score.

        Raises:
            UserError: `total` cannot be such a sum, or `class_names` are not as many
                different names as there are classes.
        """
        total = np.asarray(total)
        if total.shape != self.shape or total.dtype.kind not in "iu" or total.min() < 0:
            raise errors.UserError(
                f"{type(self).__name__} expects the sum of the arrays returned by "
                f"measure(), integers of shape {self.shape} and at least 0; got "
                f"{total.dtype} of shape {total.shape}."
            )
        if len(class_names) != self.num_classes or len(set(class_names)) != len(
            class_names
        ):
            raise errors.UserError(
                f"`class_names` must be {self.num_classes} different names, got "
                f"{', '.join(class_names)}."
            )
        return self._scores(total, class_names)

    @classmethod
    def lines(cls, scores: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yields title and text of each line for it below the table of scores.

        Args:
            scores: Scores of a split. Those of this measure may be missing.
        """
        for key, title in cls.titles.items():
            if key in scores:
                yield title, score_text(scores[key])

    @abc.abstractmethod
    def _count(self, label, prediction, confidence):
        """Counts one image.

        Args:
            label: uint8 or uint16, `num_classes` where a pixel is ignored.
            prediction: Same shape and type, `num_classes` at the same pixels.
            confidence: See `measure`; not checked.
        """

    @abc.abstractmethod
    def _scores(self, total, class_names):
        """Computes scores from checked arguments; see `scores`."""

    def _regions(self, label, prediction):
        if label.ndim != 2 or label.shape != prediction.shape or not label.size:
            raise errors.UserError(
                "Label and prediction must be class numbers [height, width] of the "
                f"same size, with at least one pixel; got {label.shape} and "
                f"{prediction.shape}."
            )
        confusion.check_labels(
            label, self.num_classes, name="The label", ignore_label=self.ignore_label
        )
        if prediction.dtype.kind not in "iu":
            raise errors.UserError(
                f"Predictions must be class numbers of an integer type, got "
                f"{prediction.dtype}. Take the argmax of the logits."
            )
        valid = label != self.ignore_label
        wrong = ((prediction < 0) | (prediction >= self.num_classes)) & valid
        if wrong.any():
            raise errors.UserError(
                f"Predicted class numbers out of range: {np.count_nonzero(wrong):,} "
                f"pixels, the first {prediction[wrong][0]}. Classes are 0 to "
                f"{self.num_classes - 1}. Choose the data set of the predictions."
            )
        dtype = np.uint8 if self.num_classes < 255 else np.uint16
        return (
            np.where(valid, label.astype(dtype), dtype(self.num_classes)),
            np.where(valid, prediction.astype(dtype), dtype(self.num_classes)),
        )


# The measures that can be selected by name, besides the confusion matrix.
MEASURES: registry.Registry[type[ImageMeasure]] = registry.Registry(
    "measure", "kerasseg.metrics"
)


def score_text(value: float | None) -> str:
    """Writes a score from 0 to 1 with four digits; "-" for None."""
    return "-" if value is None else f"{value:.4f}"


@dataclasses.dataclass(frozen=True)
class Confusion(ImageMeasure):
    """Counts the pairs of true and predicted class; see `metrics.scores`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """True class (row), predicted class (column)."""
        return self.num_classes, self.num_classes

    def _count(self, label, prediction, confidence):
        del confidence
        regions = self.num_classes + 1
        pairs = label.astype(np.int64) * regions + prediction
        counts = np.bincount(pairs.ravel(), minlength=regions**2)
        return counts.reshape(regions, regions)[:-1, :-1]

    def _scores(self, total, class_names):
        return confusion.scores(total, class_names)
