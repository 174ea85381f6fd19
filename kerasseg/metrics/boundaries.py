"""Scores of boundaries: how well the edges of regions are drawn.

Pixels without a label are one more region, the same in truth and prediction, and no
class. So the side of a class along them is a boundary, in both.
"""

import dataclasses
import functools
import math

import cv2
import numpy as np

from kerasseg.metrics import ratios
from kerasseg.metrics.image_measures import ImageMeasure

TRIMAP_WIDTHS = tuple(range(1, 41))  # Pixels.
_BAND = 0.02  # Of the picture's diagonal; for boundary IoU.
_TOLERANCE = 0.0075  # Of the picture's diagonal; for the BF score.
_UNIT = 2**40  # To a BF score of 1: enough for 8 million pictures in an int64.
_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclasses.dataclass(frozen=True)
class BoundaryIoU(ImageMeasure):
    """Counts the pixels near a class's own boundary, as IoU does all of its pixels.

    A pixel of a class is in its band where the square of side 2d + 1 around it leaves
    the class or the picture; d is 2 % of the picture's diagonal, rounded, at least 1.
    Bands are taken in truth and in prediction, their pixels are summed over the split,
    and the mean is over the classes that occur.

    The released code does not take the pixels without a label out of the prediction
    before it draws the band, so that there they can change the score.

    Source: https://arxiv.org/abs/2103.16562.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels in both bands, in the true band, in the predicted band, by class."""
        return 3, self.num_classes

    def _count(self, truth, predicted, confidence):
        del confidence
        width = max(round(_BAND * math.hypot(*truth.shape)), 1)
        outside = self.num_classes + 1
        in_true = _distances(truth, outside=outside) <= width
        in_predicted = _distances(predicted, outside=outside) <= width
        both = in_true & in_predicted & (truth == predicted)
        kinds = truth[both], truth[in_true], predicted[in_predicted]
        number = self.num_classes
        return np.stack([np.bincount(k, minlength=number)[:number] for k in kinds])

    def _scores(self, total, class_names):
        return {
            "mean_boundary_iou": ratios.plain(ratios.mean_iou(total)),
            "boundary_iou": ratios.by_name(class_names, ratios.iou(total)),
        }


@dataclasses.dataclass(frozen=True)
class BoundaryF1(ImageMeasure):
    """Matches true and predicted boundaries within 0.75 % of the picture's diagonal.

    The boundary of a class is those of its pixels that have a neighbour, above, below
    or beside, of something else; the edge of the picture is none. Precision is the
    share of predicted boundary pixels with a true one of that class nearer than the
    tolerance, recall the reverse, and a class's score their harmonic mean, 0 where
    either is 0. A picture's score is the mean over the classes that have a boundary in
    truth or prediction, and the split's is the mean over the pictures that have one.

    Pixels are matched by distance, as in Csurka's paper: several may share a partner.
    SegNet's script pairs them one to one, so that its scores can be lower.

    Source: Csurka et al., What is a good evaluation measure for semantic segmentation?
        BMVC 2013, https://doi.org/10.5244/C.27.32.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sum of scores and number of pictures, by class; last row, of pictures."""
        return self.num_classes + 1, 2

    def _count(self, truth, predicted, confidence):
        del confidence
        disc = _disc(_TOLERANCE * math.hypot(*truth.shape))
        truth, predicted = self._lines(truth), self._lines(predicted)
        found = np.zeros(self.shape, np.int64)
        for number in np.union1d(truth, predicted):
            if number < self.num_classes:
                score = _matched(truth == number, predicted == number, disc)
                found[number] = round(score * _UNIT), 1
        total, classes = found.sum(axis=0)
        if classes:
            found[-1] = round(int(total) / int(classes)), 1
        return found

    def _scores(self, total, class_names):
        sums, pictures = total.T
        means = np.where(pictures, sums / np.maximum(pictures, 1) / _UNIT, np.nan)
        return {
            "bf_score": ratios.plain(means[-1]),
            "bf_score_by_class": ratios.by_name(class_names, means[:-1]),
        }

    def _lines(self, regions):
        """Returns the class of each boundary pixel, elsewhere `num_classes`."""
        change = cv2.morphologyEx(regions, cv2.MORPH_GRADIENT, _CROSS)
        return np.where(change, regions, regions.dtype.type(self.num_classes))


@dataclasses.dataclass(frozen=True)
class TrimapCurve(ImageMeasure):
    """Counts hits, labelled and predicted pixels by their distance to a true boundary.

    The mean IoU at width w is that of the pixels around which the square of side
    2w + 1 holds a pixel of another label or of none, over the whole split, w from 1 to
    40. Where rings without a label lie between the classes, as in PASCAL VOC, these are
    the pixels that a square of that side around each pixel of a ring reaches.

    Source: https://arxiv.org/abs/1210.5644 and https://arxiv.org/abs/1606.00915, after
        Kohli et al., https://doi.org/10.1007/s11263-008-0202-0.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """By distance 1 to 40: hits, labelled and predicted pixels, by class."""
        return len(TRIMAP_WIDTHS), 3, self.num_classes

    def _count(self, truth, predicted, confidence):
        del confidence
        distances = _distances(truth)
        near = (distances <= TRIMAP_WIDTHS[-1]) & (truth < self.num_classes)
        truth, predicted = truth[near], predicted[near]
        row = (distances[near].astype(np.int64) - 1) * self.num_classes
        hits = truth == predicted
        cells = row[hits] + truth[hits], row + truth, row + predicted
        size = len(TRIMAP_WIDTHS) * self.num_classes
        found = np.stack([np.bincount(c, minlength=size) for c in cells])
        return found.reshape(3, -1, self.num_classes).swapaxes(0, 1)

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
    """Measures the way of each pixel to another region.

    Args:
        regions: Numbers, uint8 or uint16 `[height, width]`.
        outside: Number of the region around the picture; None where its edge is no
            boundary.

    Returns:
        float32 `[height, width]`: the least w, from 1, for which the square of side
        2w + 1 around a pixel holds one of another region; huge where there is none.
    """
    if outside is not None:
        regions = cv2.copyMakeBorder(
            regions, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=outside
        )
    # A pixel next to another region has distance 1, and each step inwards is one more.
    inside = cv2.morphologyEx(regions, cv2.MORPH_GRADIENT, _SQUARE) == 0
    found = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_C, 3) + 1
    return found if outside is None else found[1:-1, 1:-1]


@functools.lru_cache(maxsize=64)
def _disc(radius):
    """Returns the pixels nearer than `radius` to the middle one, itself at least."""
    reach = math.ceil(radius) - 1
    way = np.arange(-reach, reach + 1)
    return (way[:, None] ** 2 + way**2 < radius**2).astype(np.uint8)


def _matched(truth, predicted, disc):
    """Returns the harmonic mean of precision and recall of two boundaries."""
    left, top, width, height = cv2.boundingRect((truth | predicted).view(np.uint8))
    window = slice(top, top + height), slice(left, left + width)
    truth = np.ascontiguousarray(truth[window]).view(np.uint8)
    predicted = np.ascontiguousarray(predicted[window]).view(np.uint8)
    right = cv2.countNonZero(predicted & cv2.dilate(truth, disc))
    met = cv2.countNonZero(truth & cv2.dilate(predicted, disc))
    if not right or not met:
        return 0.0
    precision = right / cv2.countNonZero(predicted)
    recall = met / cv2.countNonZero(truth)
    return 2 * precision * recall / (precision + recall)
