"""Semantic segmentation in Keras 3: published architectures, one way through.

Public names: `build_model`, `list_models`, `load`, `get_dataset`. Each is imported
when it is first used, so that `import kerasseg` starts no TensorFlow.
"""

import importlib

from kerasseg import runtime

runtime.prepare()

_PUBLIC = {
    "build_model": ("kerasseg.models", "build_model"),
    "list_models": ("kerasseg.models", "list_models"),
    "load": ("kerasseg.inference", "load"),
    "get_dataset": ("kerasseg.datasets", "get"),
}
__all__ = list(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kerasseg' has no attribute '{name}'")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)
