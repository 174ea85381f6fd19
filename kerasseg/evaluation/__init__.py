"""Scores of a network or of masks on disk: each picture at its own size."""

from kerasseg.evaluation.masks import LabelFolder, RecordLabels, score_masks
from kerasseg.evaluation.pictures import COUNTS, compare, read_counts, write_counts
from kerasseg.evaluation.scoring import MEASURES, Evaluation, evaluate

__all__ = [
    "COUNTS",
    "MEASURES",
    "Evaluation",
    "LabelFolder",
    "RecordLabels",
    "compare",
    "evaluate",
    "read_counts",
    "score_masks",
    "write_counts",
]
