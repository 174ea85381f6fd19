"""Fully connected CRF, which aligns class boundaries with edges of the image."""

from kerasseg.crf.dense import (
    ENGINES,
    check_settings,
    confident_mask,
    dense_crf,
    engine_name,
    refine,
    refined_mask,
    refined_masks,
)
from kerasseg.crf.pruning import PrunedImage, prune

__all__ = [
    "ENGINES",
    "PrunedImage",
    "check_settings",
    "confident_mask",
    "dense_crf",
    "engine_name",
    "prune",
    "refine",
    "refined_mask",
    "refined_masks",
]
