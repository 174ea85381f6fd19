"""Checks of paths that other programs or files cannot hold."""

import os

from kerasseg import errors
from kerasseg.system import names

_WILDCARDS = "*?[\\"  # Of TensorFlow, which restores from the matches of a pattern.


def check_text(path: str | os.PathLike, name: str) -> None:
    """Checks that a text file can list a path in a line.

    Args:
        path: The path, as it is given.
        name: Name of the argument, for the error message.

    Raises:
        errors.UserError: It is not UTF-8, or contains a line break.
    """
    check_utf8(path, name)
    if os.fspath(path).splitlines() not in ([], [os.fspath(path)]):
        raise errors.UserError(
            f"`{name}` is {names.printable(path)}, which contains a line break. Rename "
            f"the folder, or give another."
        )


def check_model(path: str | os.PathLike, name: str) -> None:
    """Checks that TensorFlow can write a model or checkpoint there, and read it again.

    Args:
        path: The path, as it is given.
        name: Name of the argument, for the error message.

    Raises:
        errors.UserError: It is not UTF-8, or TensorFlow would read it as a pattern.
    """
    check_utf8(path, name)
    wildcards = sorted({*_WILDCARDS} & {*os.fspath(path)})
    if wildcards:
        raise errors.UserError(
            f"`{name}` is {os.fspath(path)!r}, and TensorFlow reads {wildcards[0]} in "
            f"the path of weights as a wildcard: it could not find them. Rename the "
            f"folder, or give another."
        )


def check_utf8(path: str | os.PathLike, name: str) -> None:
    """Checks that a path is UTF-8.

    Args:
        path: The path, as it is given.
        name: Name of the argument, for the error message.

    Raises:
        errors.UserError: It is not.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise errors.UserError(
            f"`{name}` is {names.printable(path)}, which is not UTF-8. Rename the "
            f"folder, or give another."
        ) from None
