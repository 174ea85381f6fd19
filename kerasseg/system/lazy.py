"""Packages that import their public names on first use.

So a command can import the options of a package without importing TensorFlow.
"""

import importlib
from collections.abc import Callable
from typing import Any


def attributes(package: str, names: dict[str, str]) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a package.

    Args:
        package: Full name of the package.
        names: Public names, separated by spaces, by the module of the package that
            defines them: `{"predictor": "Predictor Segmenter"}`. The modules are
            public names, too.
    """
    modules = {name: module for module, text in names.items() for name in text.split()}

    def get(name: str) -> Any:
        if name in names:
            return importlib.import_module(f"{package}.{name}")
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = importlib.import_module(f"{package}.{modules[name]}")
        return getattr(module, name)

    return get
