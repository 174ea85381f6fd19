"""Options of a function from texts: `output_stride=8` is the int of its default."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from kerasseg import errors


def parse(builder: Callable, given: Iterable[str]) -> dict[str, Any]:
    """Converts `key=value` texts to the types of a builder's options.

    Args:
        builder: Builder of an architecture.
        given: Texts such as `output_stride=8`.

    Raises:
        errors.UserError: A text is not `key=value`, the key is an argument that is not
            an option, or the value is not of the type of the option's default. Other
            keys, such as those of a backbone, are left to `models.build_model`.
    """
    parameters = inspect.signature(builder).parameters
    options = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator:
            raise errors.UserError(
                f"`model_option` takes key=value, for example output_stride=8; got "
                f"'{text}'."
            )
        default = parameters[key].default if key in parameters else None
        if key not in parameters and "," in value:
            default = ()  # Several values of an option of the backbone.
        if key == "normalization":
            default = ""  # "none" is one of its values.
        if default is inspect.Parameter.empty:
            raise errors.UserError(
                f"`model_option={key}` is not an option: another flag or the data set "
                f"sets it. Leave it out."
            )
        options[key] = _typed(key, value, default)
    return options


def _typed(key, text, default):
    lowered = text.lower()
    if lowered == "none" and default != "":
        return None
    if isinstance(default, bool) or (default is None and lowered in ("true", "false")):
        if lowered not in ("true", "false", "1", "0"):
            raise errors.UserError(
                f"`model_option={key}` is true or false, got '{text}'."
            )
        return lowered in ("true", "1")
    if isinstance(default, tuple):
        like = default[0] if default else None
        parts = text.split(",") if text else []
        return tuple(_typed(key, part, like) for part in parts)
    kinds = (type(default),) if default is not None else (int, float, str)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    raise errors.UserError(
        f"`model_option={key}` takes {kinds[0].__name__}, as in {key}={default}; "
        f"got '{text}'."
    )
