"""Packages whose public names are imported when they are first used.

So the options of a command can be read from a package without starting TensorFlow.
"""

import importlib
from collections.abc import Callable
from typing import Any


def attributes(package: str, names: dict[str, str]) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a package.

    Args:
        package: Its full name.
        names: Public names by the module of the package that defines them, which is
            a name itself, such as `{"predictor": "Predictor Segmenter"}`.
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
