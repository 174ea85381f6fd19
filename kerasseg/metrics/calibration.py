"""Calibration: whether a network is right as often as it says."""

import dataclasses

import numpy as np

from kerasseg import errors
from kerasseg.metrics import ratios
from kerasseg.metrics.image_measures import ImageMeasure

_BINS = 15
_UNIT = 2**24  # To a confidence of 1, as fine as a float32 just below it.
_TOLERANCE = 1e-3  # Covers a softmax in float16.


@dataclasses.dataclass(frozen=True)
class Calibration(ImageMeasure):
    """Compares the confidence of labelled pixels with the share that is right.

    Confidences fall into 15 bins of equal width, each with its upper end. The expected
    calibration error is the mean, over all pixels of the split, of the distance
    between their bin's mean confidence and its accuracy.

    Source: https://arxiv.org/abs/1706.04599, section 2.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """By bin: sum of the confidences, pixels that are right, pixels."""
        return _BINS, 3

    def _count(self, truth, predicted, confidence):
        labelled = truth < self.num_classes
        units = _units(confidence, labelled)
        bins = np.maximum((units * _BINS + _UNIT - 1) // _UNIT - 1, 0)
        right = bins[truth[labelled] == predicted[labelled]]
        # The sums stay far below 2**53, so that they are exact in float64.
        sums = np.bincount(bins, units, _BINS).astype(np.int64)
        pixels, hits = np.bincount(bins, None, _BINS), np.bincount(right, None, _BINS)
        return np.stack([sums, hits, pixels], axis=-1)

    def _scores(self, total, class_names):
        del class_names
        sums, hits, pixels = total.T
        sums = sums / _UNIT
        gaps = np.abs(sums - hits).sum()
        shared = np.where(pixels, np.maximum(pixels, 1), np.nan)
        return {
            "expected_calibration_error": float(gaps / pixels.sum())
            if pixels.any()
            else None,
            "reliability": {
                "confidence": ratios.plain(sums / shared),
                "accuracy": ratios.plain(hits / shared),
                "pixels": pixels.tolist(),
            },
        }


def _units(confidence, labelled):
    """Returns the confidences of the labelled pixels in whole units."""
    shape = None if confidence is None else np.shape(confidence)
    if shape != labelled.shape:
        raise errors.UserError(
            f"Calibration wants the probability of each predicted class, of the shape "
            f"of the label, {labelled.shape}; got {shape}."
        )
    confidence = np.asarray(confidence)[labelled]
    # A NaN is neither at least 0 nor at most 1.
    if not np.all((confidence >= 0) & (confidence <= 1 + _TOLERANCE)):
        raise errors.UserError(
            f"Confidences are from 0 to 1, got {confidence.min()} to "
            f"{confidence.max()}. Give the softmax of the logits, not the logits."
        )
    exact = np.minimum(confidence.astype(np.float64), 1) * _UNIT
    return np.rint(exact).astype(np.int64)
