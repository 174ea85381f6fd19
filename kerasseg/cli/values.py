"""Values of flags: checked before TensorFlow starts, or converted."""

import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any

from absl import app

from kerasseg import errors


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raises `errors.UserError` if the value of a flag is not one of the choices.

    For choices that are too many for the help text, or that the user extends.
    """
    if value not in choices:
        raise errors.UserError(
            f"`{name}={value}` is not a known {name}. Choose one of: "
            f"{', '.join(sorted(choices))}."
        )


def check_exists(**paths: str | None) -> None:
    """Raises `errors.MissingFileError` for the first path that does not exist.

    Args:
        **paths: Files or folders by the names of their flags; None for none.
    """
    for name, path in paths.items():
        if path is not None and not os.path.exists(path):
            remedy = "Correct the path."
            if name == "records_dir":
                remedy = (
                    "Build the records with python -m tfrecords_tools.build, or "
                    "correct the path."
                )
            raise errors.MissingFileError(f"`{name}={path}` does not exist. {remedy}")


def model_options(builder: Callable, given: Iterable[str]) -> dict[str, Any]:
    """Converts `key=value` texts to the types of the builder's options.

    Args:
        builder: Builder of an architecture.
        given: Texts such as `output_stride=8`.

    Raises:
        app.UsageError: A text is not `key=value`, the key is an argument that is not
            an option, or the value is not of the type of the option's default. Unknown
            keys are left to `models.build_model`.
    """
    parameters = inspect.signature(builder).parameters
    options = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator:
            raise app.UsageError(
                f"--model_option takes key=value, for example output_stride=8; got "
                f"'{text}'."
            )
        default = parameters[key].default if key in parameters else None
        if default is inspect.Parameter.empty:
            raise app.UsageError(
                f"--model_option={key} is not an option: another flag or the data set "
                f"sets it. Leave it out."
            )
        options[key] = _typed(key, value, default)
    return options


def _typed(key, text, default):
    lowered = text.lower()
    if lowered == "none":
        return None
    if isinstance(default, bool) or (default is None and lowered in ("true", "false")):
        if lowered not in ("true", "false", "1", "0"):
            raise app.UsageError(
                f"--model_option={key} is true or false, got '{text}'."
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
    raise app.UsageError(
        f"--model_option={key} takes {kinds[0].__name__}, as in {key}={default}; "
        f"got '{text}'."
    )
