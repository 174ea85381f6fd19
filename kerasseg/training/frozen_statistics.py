"""Frozen batch norm whose moving averages hold little of any data.

With `fine_tune_batch_norm=False`, layers normalize by the moving averages that they
start with. After n steps with decay d, d**n of an average is still its initial value:
after 6 steps with 0.9997, 99.8 %. Such layers do not normalize. In a deep network the
logits then grow to hundreds, and the softmax is 0 or 1: the loss of a batch is in the
hundreds, or exactly 0 where its labels are the one class that is predicted everywhere.
"""

import os

import keras
import numpy as np

from kerasseg.system import progress
from kerasseg.workdir import layout, metadata

_LEAST_SHARE = 0.9  # Of the averages that should come from data.
_NEAR_INITIAL = 0.02  # Largest difference from a mean of 0 and a variance of 1.


def warn(model: keras.Model, path: str | None, source: keras.Model | None) -> None:
    """Prints a warning about frozen layers whose statistics are not of data.

    Args:
        model: The model of a new run, with its initial weights.
        path: Its initial checkpoint, or None.
        source: The model that was loaded from `path`, or None.
    """
    frozen = [layer for layer in _norms(model) if not layer.trainable]
    if not frozen:
        return
    consequence = (
        "The activations may not be normalized, and the loss be 0 or hundreds. Train "
        "longer with batch norm first, or set `fine_tune_batch_norm`."
    )
    step = _step(path)
    decays = [layer.momentum for layer in _norms(source)] if source else []
    if step is not None and decays and 1 - max(decays) ** step < _LEAST_SHARE:
        progress.log(
            f"Warning: batch norm is frozen with the moving averages of {path}, which "
            f"was trained for {step:,} steps with decay {max(decays)}: "
            f"{1 - max(decays) ** step:.1%} of them come from its data. {consequence}"
        )
        return
    initial = [layer.name for layer in frozen if _is_initial(layer)]
    if initial:
        progress.log(
            f"Warning: batch norm is frozen, and {len(initial)} of {len(frozen)} "
            f"layers, such as {initial[0]}, have the moving averages of a new network. "
            f"{consequence}"
        )


def _norms(model):
    kind = keras.layers.BatchNormalization
    return [layer for layer in model._flatten_layers() if isinstance(layer, kind)]


def _step(path):
    """Returns the step of a workdir's best model; None for another path."""
    if path is None or not os.path.exists(os.path.join(path, layout.BEST_METADATA)):
        return None
    return metadata.read_metadata(path)["step"]


def _is_initial(layer):
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    differences = np.abs(mean).max(), np.abs(variance - 1).max()
    return max(differences) <= _NEAR_INITIAL
