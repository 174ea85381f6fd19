"""Values of flags: checked before TensorFlow starts, or converted."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from absl import app

from kerasseg import errors
from kerasseg.system import option_values


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
    """Converts the values of --model_option, see `option_values.parse`.

    Raises:
        app.UsageError: A value is wrong.
    """
    try:
        return option_values.parse(builder, given)
    except errors.UserError as error:
        raise app.UsageError(
            errors.with_flags(str(error), lambda name: f"--{name}")
        ) from error
