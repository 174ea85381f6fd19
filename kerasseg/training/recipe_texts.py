"""The texts of a recipe: what stands in a flag, read into numbers and names."""

import math

from kerasseg import errors


class FittedBatch(int):
    """Pictures of an update that goes through a device in as few parts as fit."""

    def __str__(self):
        return f"auto:{int(self)}"


def batch_size(text) -> int:
    """Reads a number of pictures, auto or auto:NUMBER.

    Raises:
        ValueError: It is none of them.
    """
    number, make = str(text), int  # type: tuple[str, type[int]]
    if number == "auto" or number.startswith("auto:"):
        number, make = number[len("auto:") :] if ":" in number else "16", FittedBatch
    if not number.isdecimal() or int(number) < 1:
        raise errors.UserError(
            f"A number of pictures from 1, auto or auto:NUMBER is wanted; got '{text}'."
        )
    return make(number)


def named_weights(flag, text) -> dict[str, float]:
    """Reads `name:weight` pairs with commas between; a name alone weighs 1."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, separator, number = part.strip().partition(":")
        try:
            weight = float(number) if separator else 1.0
        except ValueError:
            weight = math.nan
        if not name or name in weights or not 0 <= weight < math.inf:
            raise errors.UserError(
                f"--{flag} takes names, each once, with weights from 0, as in "
                f"one:1,other:0.5; got '{text}'."
            )
        weights[name] = weight
    return weights


def repeats(text) -> tuple[list[str], int]:
    """Reads names with commas between and a number after a colon."""
    names, separator, times = text.rpartition(":")
    if not separator or not times.isdigit():
        raise errors.UserError(
            f"`repeat_classes` takes names and a number, as in bicycle,chair:3; "
            f"got '{text}'."
        )
    return names.split(","), int(times)
