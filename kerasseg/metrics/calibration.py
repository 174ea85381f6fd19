"""Calibration: whether confidence equals accuracy."""

import dataclasses
from typing import ClassVar

import numpy as np

from kerasseg import errors
from kerasseg.metrics import ratios
from kerasseg.metrics.image_measures import MEASURES, ImageMeasure

_BINS = 15
_UNIT = 2**24  # Counts of a confidence of 1, as fine as float32 just below 1.
_TOLERANCE = 1e-3  # A softmax in float16 may exceed 1 by this much.


@MEASURES.register("calibration")
@dataclasses.dataclass(frozen=True)
class Calibration(ImageMeasure):
    """Computes the expected calibration error and the reliability diagram.

    The confidences of labeled pixels are divided into 15 bins of equal width, each
    with its upper end. The expected calibration error is the mean, over all pixels of
    the split, of the absolute difference between mean confidence and accuracy of their
    bin.

    Source: https://arxiv.org/abs/1706.04599, section 2.
    """

    titles: ClassVar = {"expected_calibration_error": "calibration error"}

    @property
    def shape(self) -> tuple[int, ...]:
        """By bin: sum of the confidences, correct pixels, pixels."""
        return _BINS, 3

    def _count(self, label, prediction, confidence):
        labeled = label < self.num_classes
        units = _units(confidence, labeled)
        bins = np.maximum((units * _BINS + _UNIT - 1) // _UNIT - 1, 0)
        correct = bins[label[labeled] == prediction[labeled]]
        # The sums stay far below 2**53, so they are exact in float64.
        sums = np.bincount(bins, units, _BINS).astype(np.int64)
        pixels, hits = np.bincount(bins, None, _BINS), np.bincount(correct, None, _BINS)
        return np.stack([sums, hits, pixels], axis=-1)

    def _scores(self, total, class_names):
        del class_names
        sums, hits, pixels = total.T
        sums = sums / _UNIT
        gaps = np.abs(sums - hits).sum()
        divisors = np.where(pixels, np.maximum(pixels, 1), np.nan)
        return {
            "expected_calibration_error": float(gaps / pixels.sum())
            if pixels.any()
            else None,
            "reliability": {
                "confidence": ratios.plain(sums / divisors),
                "accuracy": ratios.plain(hits / divisors),
                "pixels": pixels.tolist(),
            },
        }


def _units(confidence, labeled):
    """Returns the confidences of the labeled pixels as integers."""
    shape = None if confidence is None else np.shape(confidence)
    if shape != labeled.shape:
        raise errors.UserError(
            "Calibration needs the probability of each predicted class, in the shape "
            f"of the label, {labeled.shape}; got {shape}."
        )
    confidence = np.asarray(confidence)[labeled]
    # Both comparisons are false for NaN.
    if not np.all((confidence >= 0) & (confidence <= 1 + _TOLERANCE)):
        raise errors.UserError(
            f"Confidences must be from 0 to 1, got {confidence.min()} to "
            f"{confidence.max()}. Give the softmax of the logits, not the logits."
        )
    exact = np.minimum(confidence.astype(np.float64), 1) * _UNIT
    return np.rint(exact).astype(np.int64)
