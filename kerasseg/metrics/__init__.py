"""Scores of a whole split, from counts that are summed over its images.

They are never means over batches, so they do not depend on batch size, order and number
of replicas. `confusion_matrix` and the metrics for `model.compile`, such as `MeanIoU`,
run on any Keras backend. `MEASURES` holds further measures by name, which use NumPy and
OpenCV on the host: `measure` counts one image, and `scores` computes the scores from
the sum of the counts.
"""

from kerasseg.metrics.boundaries import BoundaryF1, BoundaryIoU, TrimapCurve
from kerasseg.metrics.calibration import Calibration
from kerasseg.metrics.confusion import (
    check_labels,
    class_numbers,
    confusion_matrix,
    scores,
)
from kerasseg.metrics.image_measures import (
    MEASURES,
    ClassScore,
    Confusion,
    ImageMeasure,
)
from kerasseg.metrics.intervals import interval, paired_interval, pooled_interval
from kerasseg.metrics.keras_metrics import (
    FrequencyWeightedIoU,
    MeanAccuracy,
    MeanIoU,
    PixelAccuracy,
    SegmentationScores,
)
from kerasseg.metrics.multi_label import MultiLabelConfusion, MultiLabelIoU
from kerasseg.metrics.ratios import iou, iou_counts, mean_iou
from kerasseg.metrics.tables import table

__all__ = [
    "MEASURES",
    "BoundaryF1",
    "BoundaryIoU",
    "Calibration",
    "ClassScore",
    "Confusion",
    "FrequencyWeightedIoU",
    "ImageMeasure",
    "MeanAccuracy",
    "MeanIoU",
    "MultiLabelConfusion",
    "MultiLabelIoU",
    "PixelAccuracy",
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
    "pooled_interval",
    "scores",
    "table",
]
