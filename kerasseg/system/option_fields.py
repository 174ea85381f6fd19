"""Fields of option dataclasses, which `cli.define_fields` turns into flags."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any

from kerasseg import errors


def option(default: Any, text: str, **metadata: Any) -> Any:
    """Returns a dataclass field that is a flag of the commands.

    Args:
        default: Default of the field and of the flag.
        text: Help text.
        **metadata: Further metadata, see `cli.define_fields`.
    """
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def fields(cls: type) -> Iterator[tuple[Any, type]]:
    """Yields the fields of a dataclass that are flags, with their type without None."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if "help" not in field.metadata:
            continue
        kind = hints[field.name]
        if isinstance(kind, types.UnionType):  # "int | None" is an int flag.
            kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
        yield field, kind


_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


def convert(field: Any, kind: type, value: Any) -> Any:
    """Converts a value, or the text of a flag, to the type of a field.

    Args:
        field: A field of `fields`.
        kind: Its type.
        value: The value. Numbers that a text field takes, such as a crop size, may be
            given as a number or a tuple.

    Raises:
        errors.UserError: It is of another type, or not one of the choices.
    """
    if value is None and field.default is None:
        return None
    try:
        converted = _converted(field, kind, value)
    except (TypeError, ValueError) as error:
        if isinstance(error, errors.UserError):
            raise
        raise errors.UserError(
            f"`{field.name}={value}` is {type(value).__name__}, expected "
            f"{kind.__name__}."
        ) from None
    choices = field.metadata.get("choices")
    if choices and converted not in choices:
        raise errors.UserError(
            f"`{field.name}={value}` is not one of {', '.join(choices)}."
        )
    return converted


def _converted(field, kind, value):
    if "parse" in field.metadata:
        return field.metadata["parse"](value)
    if kind is bool:
        if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
            return value.lower() in _TRUE
        if not isinstance(value, bool):
            raise TypeError(value)
        return value
    if kind is str and isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if isinstance(value, bool) or (
        kind is int and not isinstance(value, str) and value != int(value)
    ):
        raise TypeError(value)
    return kind(value)
