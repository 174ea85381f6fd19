"""Measures of boundaries: how exactly the contours of regions are predicted.

Ignored pixels form one more region, the same in label and prediction, which is not a
class. So a class has a boundary along them in both.
"""

import dataclasses
import functools
import math
from typing import ClassVar

import cv2
import numpy as np

from kerasseg.metrics import ratios
from kerasseg.metrics.image_measures import (
    MEASURES,
    ClassScore,
    ImageMeasure,
    score_text,
)

TRIMAP_WIDTHS = tuple(range(1, 41))  # Pixels.
_PRINTED_WIDTHS = (1, 5, 10, 20, 40)
_BAND = 0.02  # Fraction of the image diagonal; for boundary IoU.
_TOLERANCE = 0.0075  # Fraction of the image diagonal; for the BF score.
_UNIT = 2**40  # Counts of a BF score of 1; 8 million images fit into int64.
_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@MEASURES.register("boundary_iou")
@dataclasses.dataclass(frozen=True)
class BoundaryIoU(ImageMeasure):
    """Computes the IoU of the pixels near each class's boundary.

    A pixel of a class is in its band if the square of side 2d + 1 around it contains a
    pixel outside the class or the image; d is 2 % of the image diagonal, rounded, at
    least 1. The bands of label and prediction are computed for each image, their pixels
    are summed over the split, and the mean is over the classes that occur.

    The released code keeps ignored pixels in the prediction when it computes the band,
    so that predictions there can change the score.

    Source: https://arxiv.org/abs/2103.16562.
    """

    titles: ClassVar = {"mean_boundary_iou": "boundary IoU"}
    class_scores: ClassVar = (
        ClassScore(
            "boundary IoU",
            "boundary_iou",
            "mean_boundary_iou",
            "Boundary IoU: IoU of the pixels near the boundary of the class.",
        ),
    )

    @classmethod
    def lines(cls, scores):
        """Yields nothing: the table has a column for it."""
        del scores
        yield from ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels in both bands, in the label's, in the prediction's, by class."""
        return 3, self.num_classes

    def _count(self, label, prediction, confidence):
        del confidence
        width = max(round(_BAND * math.hypot(*label.shape)), 1)
        outside = self.num_classes + 1
        in_label = _distances(label, outside=outside) <= width
        in_prediction = _distances(prediction, outside=outside) <= width
        both = in_label & in_prediction & (label == prediction)
        counted = label[both], label[in_label], prediction[in_prediction]
        size = self.num_classes
        return np.stack([np.bincount(c, minlength=size)[:size] for c in counted])

    def _scores(self, total, class_names):
        return {
            "mean_boundary_iou": ratios.plain(ratios.mean_iou(total)),
            "boundary_iou": ratios.by_name(class_names, ratios.iou(total)),
        }


@MEASURES.register("bf_score")
@dataclasses.dataclass(frozen=True)
class BoundaryF1(ImageMeasure):
    """Computes the boundary F1 (BF) score, with a tolerance of 0.75 % of the diagonal.

    The boundary of a class is the set of its pixels with a neighbor, above, below,
    left or right, that is not of the class; the image border is not a boundary.
    Precision is the fraction of predicted boundary pixels with a true one of the class
    closer than the tolerance, recall the reverse, and the score of a class is their
    harmonic mean, 0 if either is 0. The score of an image is the mean over the classes
    with a boundary in label or prediction, and that of the split the mean over the
    images that have one.

    Pixels are matched by distance, as in the paper of Csurka et al., so several can
    match the same one. The script of SegNet matches them one to one, so its scores can
    be lower.

    Source: Csurka et al., What is a good evaluation measure for semantic segmentation?
        BMVC 2013, https://doi.org/10.5244/C.27.32.
    """

    titles: ClassVar = {"bf_score": "BF score"}
    class_scores: ClassVar = (
        ClassScore(
            "BF",
            "bf_score_by_class",
            "bf_score",
            "BF: F1 score of its boundary pixels, with a tolerance of 0.75 % of the "
            "diagonal.",
        ),
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """Sum of scores and number of images, by class; last row, of all classes."""
        return self.num_classes + 1, 2

    def _count(self, label, prediction, confidence):
        del confidence
        disc = _disc(_TOLERANCE * math.hypot(*label.shape))
        label, prediction = self._contours(label), self._contours(prediction)
        counts = np.zeros(self.shape, np.int64)
        for number in np.union1d(label, prediction):
            if number < self.num_classes:
                score = _f1(label == number, prediction == number, disc)
                counts[number] = round(score * _UNIT), 1
        total, classes = counts.sum(axis=0)
        if classes:
            counts[-1] = round(int(total) / int(classes)), 1
        return counts

    def _scores(self, total, class_names):
        sums, images = total.T
        means = np.where(images, sums / np.maximum(images, 1) / _UNIT, np.nan)
        return {
            "bf_score": ratios.plain(means[-1]),
            "bf_score_by_class": ratios.by_name(class_names, means[:-1]),
        }

    def _contours(self, regions):
        """Returns the class of each boundary pixel, `num_classes` elsewhere."""
        change = cv2.morphologyEx(regions, cv2.MORPH_GRADIENT, _CROSS)
        return np.where(change, regions, regions.dtype.type(self.num_classes))


@MEASURES.register("trimap")
@dataclasses.dataclass(frozen=True)
class TrimapCurve(ImageMeasure):
    """Computes the mean IoU near the boundaries of the label, by distance.

    The mean IoU at width w is that of the pixels for which the square of side 2w + 1
    around them contains a pixel of another label or an ignored one, over the whole
    split, for w from 1 to 40. Where ignored rings separate the classes, as in PASCAL
    VOC, these are the pixels within such a square around a pixel of a ring.

    Source: https://arxiv.org/abs/1210.5644 and https://arxiv.org/abs/1606.00915, after
        Kohli et al., https://doi.org/10.1007/s11263-008-0202-0.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """By distance 1 to 40: correct, labeled and predicted pixels, by class."""
        return len(TRIMAP_WIDTHS), 3, self.num_classes

    @classmethod
    def lines(cls, scores):
        """Yields the mean IoU at a few widths."""
        if "trimap" in scores:
            curve = scores["trimap"]
            values = dict(zip(curve["width"], curve["mean_iou"], strict=True))
            points = [f"{score_text(values[w])} ({w} px)" for w in _PRINTED_WIDTHS]
            yield "trimap mean IoU", ", ".join(points)

    def _count(self, label, prediction, confidence):
        del confidence
        distances = _distances(label)
        near = (distances <= TRIMAP_WIDTHS[-1]) & (label < self.num_classes)
        label, prediction = label[near], prediction[near]
        row = (distances[near].astype(np.int64) - 1) * self.num_classes
        correct = label == prediction
        cells = row[correct] + label[correct], row + label, row + prediction
        size = len(TRIMAP_WIDTHS) * self.num_classes
        counts = np.stack([np.bincount(c, minlength=size) for c in cells])
        return counts.reshape(3, -1, self.num_classes).swapaxes(0, 1)

    def _scores(self, total, class_names):
        del class_names
        within = total.cumsum(axis=0)
        return {
            "trimap": {
                "width": list(TRIMAP_WIDTHS),
                "mean_iou": ratios.plain(ratios.mean_iou(within)),
                "pixels": within[:, 1].sum(axis=-1).tolist(),
            }
        }


def _distances(regions, outside=None):
    """Computes the distance of each pixel to another region.

    Args:
        regions: Region numbers, uint8 or uint16 `[height, width]`.
        outside: Number of the region outside the image; None if the image border is
            not a boundary.

    Returns:
        float32 `[height, width]`: the least w, from 1, for which the square of side
        2w + 1 around a pixel contains another region; huge if there is only one region.
    """
    if outside is not None:
        regions = cv2.copyMakeBorder(
            regions, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=outside
        )
    # A pixel next to another region has distance 1, each step inwards adds 1.
    inside = cv2.morphologyEx(regions, cv2.MORPH_GRADIENT, _SQUARE) == 0
    distances = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_C, 3) + 1
    return distances if outside is None else distances[1:-1, 1:-1]


@functools.lru_cache(maxsize=64)
def _disc(radius):
    """Returns the mask of the pixels closer than `radius` to the center pixel."""
    reach = math.ceil(radius) - 1
    offsets = np.arange(-reach, reach + 1)
    return (offsets[:, None] ** 2 + offsets**2 < radius**2).astype(np.uint8)


def _f1(label, prediction, disc):
    """Returns the harmonic mean of precision and recall of two boundaries."""
    left, top, width, height = cv2.boundingRect((label | prediction).view(np.uint8))
    window = slice(top, top + height), slice(left, left + width)
    label = np.ascontiguousarray(label[window]).view(np.uint8)
    prediction = np.ascontiguousarray(prediction[window]).view(np.uint8)
    correct = cv2.countNonZero(prediction & cv2.dilate(label, disc))
    found = cv2.countNonZero(label & cv2.dilate(prediction, disc))
    if not correct or not found:
        return 0.0
    precision = correct / cv2.countNonZero(prediction)
    recall = found / cv2.countNonZero(label)
    return 2 * precision * recall / (precision + recall)
