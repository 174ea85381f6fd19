"""Fully connected CRF: moves the borders of classes to the edges of the picture."""

from kerasseg.crf.dense import (
    ENGINES,
    dense_crf,
    engine_name,
    refine,
    refined_classes,
    refined_classes_each,
)
from kerasseg.crf.pruning import Likely, likely

__all__ = [
    "ENGINES",
    "Likely",
    "dense_crf",
    "engine_name",
    "likely",
    "refine",
    "refined_classes",
    "refined_classes_each",
]
