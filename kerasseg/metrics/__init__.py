"""Scores of a whole split, from counts that add up over its pictures.

They are never means over batches, so that batch size, order and number of replicas
change nothing. `confusion_matrix` runs on any Keras backend; the measures of pictures
are NumPy and OpenCV on the host: the sum of what `measure` returned for each picture
goes into `scores`.
"""

from kerasseg.metrics.boundaries import BoundaryF1, BoundaryIoU, TrimapCurve
from kerasseg.metrics.calibration import Calibration
from kerasseg.metrics.confusion import (
    SegmentationScores,
    check_labels,
    class_numbers,
    confusion_matrix,
    scores,
)
from kerasseg.metrics.image_measures import Confusion, ImageMeasure
from kerasseg.metrics.intervals import interval, paired_interval
from kerasseg.metrics.ratios import iou, iou_counts, mean_iou
from kerasseg.metrics.tables import table

__all__ = [
    "BoundaryF1",
    "BoundaryIoU",
    "Calibration",
    "Confusion",
    "ImageMeasure",
    "SegmentationScores",
    "TrimapCurve",
    "check_labels",
    "class_numbers",
    "confusion_matrix",
    "interval",
    "iou",
    "iou_counts",
    "mean_iou",
    "paired_interval",
    "scores",
    "table",
]
