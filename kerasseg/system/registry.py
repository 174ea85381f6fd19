"""Registries: a package's functions or classes by name.

Every module of the package registers what it defines, so that a new model or loss is
one new file. The modules are imported on the first look-up; `names_in` lists the names
without importing any of them.
"""

import ast
import importlib
import importlib.util
import pathlib
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from kerasseg import errors

Value = TypeVar("Value")


class Registry(Mapping[str, Value]):
    """Mapping of names to what the modules of a package register under them.

    Iterates in the order of the modules' names, then of the definitions in each.
    """

    def __init__(self, kind: str, package: str) -> None:
        """Creates an empty registry.

        Args:
            kind: What is registered, in the singular, for errors: "model".
            package: Full name of the package whose modules register it.
        """
        self._kind, self._package = kind, package
        self._values: dict[str, Value] = {}
        self._is_complete = self._is_importing = False
        self._lock = threading.RLock()  # A module may look up while it is imported.

    def register(self, name: str | None = None) -> Callable[[Any], Any]:
        """Returns a decorator that registers a function or class.

        Args:
            name: Its name in the registry; None for its own.
        """

        def decorate(value):
            self.add(name or value.__name__, value)
            return value

        return decorate

    def add(self, name: str, value: Value) -> None:
        """Registers a value.

        Raises:
            UserError: The name is already registered.
        """
        if name in self._values:
            raise errors.UserError(
                f"A {self._kind} named '{name}' is already registered. Rename one of "
                "the two."
            )
        self._values[name] = value

    def lookup(self, name: str) -> Value:
        """Returns the value registered under `name`.

        Raises:
            UserError: The name is not registered; the message lists those that are.
        """
        if name not in self:
            raise errors.UserError(
                f"Unknown {self._kind} '{name}'. Choose one of: "
                f"{', '.join(sorted(self))}."
            )
        return self[name]

    def __getitem__(self, name: str) -> Value:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self):
        """Imports the modules of the package, once, and returns all values."""
        with self._lock:
            if not self._is_complete and not self._is_importing:
                self._is_importing = True
                try:
                    self._import_modules()
                    self._is_complete = True
                finally:
                    self._is_importing = False
        return self._values

    def _import_modules(self):
        path = importlib.import_module(self._package).__path__
        for module in pkgutil.iter_modules(path, f"{self._package}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)


def names_in(package: str) -> list[str]:
    """Lists the names that the modules of a package register, without importing them.

    The files are parsed for functions and classes decorated with `register`, and for
    calls of `register` with a literal `name`. So a command can check a name before
    TensorFlow or Keras is imported.

    Args:
        package: Full name, such as "kerasseg.models". Its parent is imported.

    Returns:
        The names in the order of a `Registry`.

    Raises:
        ModuleNotFoundError: There is no such package.
        TypeError: A module computes the names it registers.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No package named '{package}'", name=package)
    names: list[str] = []
    for folder in spec.submodule_search_locations:
        for module in pkgutil.iter_modules([folder]):
            if not module.ispkg and module.name != "__main__":
                names += _names_in_file(pathlib.Path(folder, f"{module.name}.py"))
    return names


def _names_in_file(path: pathlib.Path) -> Iterator[str]:
    text = path.read_text("utf-8")
    if "register" not in text:  # Parsing takes most of the time.
        return
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            for decorator in filter(_is_register, statement.decorator_list):
                yield _name_argument(decorator, path) or statement.name
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and _is_register(node):
                name = _name_argument(node, path)
                if name is not None:
                    yield name


def _is_register(node: ast.expr) -> bool:
    """Returns whether an expression is `register` or `_register`, or a call of it."""
    if isinstance(node, ast.Call):
        node = node.func
    identifier = getattr(node, "attr", getattr(node, "id", None))
    return identifier in ("register", "_register")


def _name_argument(node: ast.expr, path: pathlib.Path) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    values = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
    for value in [*node.args, *values]:
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
            raise TypeError(
                f"{path}, line {node.lineno}: the name that is registered is not a "
                "literal. Write it out, or import the package to list its names."
            )
        return value.value
    return None
