"""Licenses of weights, which are printed before these are downloaded."""

import logging
import re

from kerasseg import errors
from kerasseg.system import names
from kerasseg.weights.catalogue import Entry

_NOT_STATED = "not stated"
_SHOWN = 120  # Characters.


def show_license(entry: Entry, accept: bool = False) -> None:
    """Prints the license of weights that are about to be downloaded.

    Args:
        entry: The weights.
        accept: Whether a license that forbids commercial use is accepted.

    Raises:
        errors.UserError: It forbids commercial use, and is not accepted.
    """
    text = names.one_line(entry.license.strip())[:_SHOWN] or _NOT_STATED
    if entry.non_commercial and not accept:
        raise errors.UserError(
            f"The license of the weights '{entry.name}' forbids commercial use: {text} "
            f"({entry.source}). If you accept it, give `accept_license=True` to "
            "kerasseg.load or python -m kerasseg.import_weights, which download them."
        )
    logging.warning("License of %s: %s (%s)", entry.name, text, entry.source)


def of_card(text: str) -> str:
    """Returns the license that a model card of Hugging Face states.

    Args:
        text: Its README.md, which starts with lines of YAML between `---`.
    """
    match = re.match(r"---\n(.*?)\n---\s", text, re.DOTALL)
    lines = match[1].splitlines() if match else []
    pairs = [line.partition(":")[::2] for line in lines if not line.startswith(" ")]
    values = {key.strip(): value.strip(" \t'\"") for key, value in pairs}
    found = [values[k] for k in ("license", "license_name") if values.get(k)]
    return " ".join(found) or _NOT_STATED


def is_non_commercial(text: str) -> bool:
    """Returns whether the identifier of a license, such as cc-by-nc-4.0, says so."""
    words = re.split(r"[^a-z]+", text.lower())
    return "nc" in words or "noncommercial" in "".join(words)
