"""Semantic segmentation in Keras 3: architectures, training, evaluation, serving.

Public names: `build_model`, `list_models`, `fit`, `find_learning_rate`, `load`,
`get_dataset`, `losses`, `metrics`, and `data`, which is `pipeline.data`.
Each is imported when it is first used, so that `import kerasseg` does not start
TensorFlow.
"""

import importlib

from kerasseg import runtime

runtime.prepare()

__version__ = "0.1.0"  # setup.py reads this line.

__all__ = [
    "build_model",
    "data",
    "find_learning_rate",
    "fit",
    "get_dataset",
    "list_models",
    "load",
    "losses",
    "metrics",
]


def __getattr__(name):
    if name in ("build_model", "list_models"):
        from kerasseg import models

        return getattr(models, name)
    if name == "load":
        from kerasseg import trained

        return trained.load
    if name == "fit":
        from kerasseg.training import fit

        return fit.fit
    if name == "find_learning_rate":
        from kerasseg.training import rate_search

        return rate_search.find_learning_rate
    if name == "get_dataset":
        from kerasseg import datasets

        return datasets.get
    if name == "data":
        return importlib.import_module("kerasseg.pipeline.data")
    if name in ("losses", "metrics"):
        return importlib.import_module(f"kerasseg.{name}")
    raise AttributeError(f"module 'kerasseg' has no attribute '{name}'")


def __dir__():
    return sorted({*globals(), *__all__})
