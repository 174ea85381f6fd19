"""Fully connected CRF: moves the borders of classes to the edges of the picture."""

from kerasseg.crf.dense import ENGINES, dense_crf

__all__ = ["ENGINES", "dense_crf"]
