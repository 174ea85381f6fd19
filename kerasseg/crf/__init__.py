"""Fully connected CRF: moves the borders of classes to the edges of the picture."""

from kerasseg.crf.dense import (
    ENGINES,
    dense_crf,
    engine_name,
    refine,
    refined_classes,
    refined_classes_each,
)
from kerasseg.crf.pruning import PrunedImage, prune

__all__ = [
    "ENGINES",
    "PrunedImage",
    "dense_crf",
    "engine_name",
    "prune",
    "refine",
    "refined_classes",
    "refined_classes_each",
]
