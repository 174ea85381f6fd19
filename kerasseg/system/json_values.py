"""Checks the values of JSON files that others may have written or changed."""

import math
from typing import Any

from kerasseg import errors

_MAX_NAME = 255  # Bytes of a name in a folder, on Linux and macOS.
_SHOWN = 60  # Characters of a wrong value in a message.


def get(item: Any, key: str, kind: type, what: str) -> Any:
    """Returns a value of an object.

    Args:
        item: The object.
        key: Key of the value.
        kind: Expected type: str, int, list or dict.
        what: What the object is, for error messages.

    Raises:
        errors.UserError: `item` is no object, or the value is missing or of another
            type.
    """
    if not isinstance(item, dict):
        raise errors.UserError(f"{what} is {shorten(item)}, expected an object")
    if key not in item:
        raise errors.UserError(f'{what} has no "{key}"')
    return check(item[key], kind, f'"{key}" of {what}')


def check(value: Any, kind: type, what: str) -> Any:
    """Returns a value; raises `errors.UserError` if it has another type."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise errors.UserError(f"{what} is {shorten(value)}, expected {_KINDS[kind]}")
    return value


_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def integer(value: Any, what: str, low: int = 0, high: float = math.inf) -> int:
    """Returns a whole number from `low` to `high`.

    Raises:
        errors.UserError: It is something else.
    """
    check(value, int, what)
    if not low <= value <= high:
        raise errors.UserError(f"{what} is {shorten(value)}, expected {low} to {high}")
    return value


def file_name(value: Any, what: str) -> str:
    """Returns the plain name of a file, without a folder.

    Raises:
        errors.UserError: It is something else.
    """
    check(value, str, what)
    is_plain = value.isprintable() and not set(value) & {"/", "\\"}
    if not is_plain or value[:1] in ("", ".") or len(value.encode()) > _MAX_NAME:
        raise errors.UserError(
            f"{what} is {shorten(value)}, expected a plain file name"
        )
    return value


def shorten(value: Any) -> str:
    """Returns a value for a message; `repr` of a nested list may be very long."""
    text = f"a {type(value).__name__}" if isinstance(value, (list, dict)) else ""
    if isinstance(value, int) and value.bit_length() > 200:
        text = "a number of more than 60 digits"
    text = text or repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
