"""Scores of a network or of masks on disk: each picture at its own size."""

from kerasseg.evaluation.counts import COUNTS, compare, read_counts, write_counts
from kerasseg.evaluation.masks import LabelFolder, RecordLabels, score_masks
from kerasseg.evaluation.predicting import Sample, mask_samples, network_samples
from kerasseg.evaluation.scoring import MEASURES, Evaluation, evaluate

__all__ = [
    "COUNTS",
    "MEASURES",
    "Evaluation",
    "LabelFolder",
    "RecordLabels",
    "Sample",
    "compare",
    "evaluate",
    "mask_samples",
    "network_samples",
    "read_counts",
    "score_masks",
    "write_counts",
]
