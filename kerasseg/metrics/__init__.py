"""Scores of a whole split, from counts that add up over its pictures.

They are never means over batches, so that batch size, order and number of replicas
change nothing.
"""

from kerasseg.metrics.confusion import (
    SegmentationScores,
    check_labels,
    class_numbers,
    confusion_matrix,
    scores,
)
from kerasseg.metrics.tables import table

__all__ = [
    "SegmentationScores",
    "check_labels",
    "class_numbers",
    "confusion_matrix",
    "scores",
    "table",
]
