"""Semantic segmentation in Keras 3: architectures, training, evaluation, serving.

Public names: `build_model`, `list_models`, `list_weights`, `fit`,
`find_learning_rate`, `load`, `get_dataset`, `losses`, `metrics`, and `data`, which is
`pipeline.data`.
Each is imported when it is first used, so that `import kerasseg` does not start
TensorFlow.
"""

import importlib

from kerasseg.system import runtime

runtime.prepare()

__version__ = "0.1.0"  # setup.py reads this line.

# Module and attribute of each public name; "" is the module itself.
_PUBLIC = {
    "build_model": ("models", "build_model"),
    "data": ("pipeline.data", ""),
    "find_learning_rate": ("training.rate_search", "find_learning_rate"),
    "fit": ("training.fit", "fit"),
    "get_dataset": ("datasets", "get"),
    "list_models": ("models", "list_models"),
    "list_weights": ("weights.catalogue", "list_weights"),
    "load": ("trained", "load"),
    "losses": ("losses", ""),
    "metrics": ("metrics", ""),
}
__all__ = list(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kerasseg' has no attribute '{name}'")
    module, attribute = _PUBLIC[name]
    found = importlib.import_module(f"kerasseg.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__():
    return sorted({*globals(), *__all__})
