"""Recipes and pages of the documentation, as files of the installed package.

A checkout has them at its root, in `experiments` and `docs`; setup.py copies them into
the package.
"""

import difflib
import pathlib
from collections.abc import Iterable

from kerasseg import errors

RECIPES = "experiments"  # Paths of recipes start with it, installed or not.
DOCS = "docs"
_PACKAGE = pathlib.Path(__file__).parents[1]


def folder(name: str) -> pathlib.Path:
    """Returns the folder of the recipes or of the documentation.

    Args:
        name: `RECIPES` or `DOCS`.
    """
    installed = _PACKAGE / "packaged" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def recipes() -> dict[str, pathlib.Path]:
    """Returns the flag files of all recipes by name, such as "shapes/quickstart"."""
    root = folder(RECIPES)
    return {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted(root.glob("*/*.flags"))
    }


def pages() -> dict[str, pathlib.Path]:
    """Returns the pages of the documentation by name, such as "training"."""
    return {path.stem: path for path in sorted(folder(DOCS).glob("*.md"))}


def find(
    kind: str, name: str, known: dict[str, pathlib.Path], command: str
) -> pathlib.Path:
    """Returns the file with a name.

    Args:
        kind: What is named, for the error: "recipe".
        name: The name.
        known: All files by name.
        command: What lists the names, for the error.

    Raises:
        errors.UserError: There is none; the message suggests similar names.
    """
    if name in known:
        return known[name]
    raise errors.UserError(
        f"There is no {kind} {name!r}.{suggestion(name, known)} {command} lists all "
        f"names."
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns a sentence with the names most similar to one, or an empty text.

    A name without its folder is similar to all that end in it.
    """
    names = list(known)
    ends = [each for each in names if each.rpartition("/")[2] == name]
    similar = ends or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(similar[:3])}?" if similar else ""
