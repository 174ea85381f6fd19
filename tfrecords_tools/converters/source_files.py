"""Files and folders of a source: finding them, checking them, reading lists."""

import csv
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from kerasseg import errors
from kerasseg.system import files

_Part = TypeVar("_Part")


def required_folder(path: pathlib.Path | None, option: str, what: str) -> pathlib.Path:
    """Returns a folder that the user must give.

    Args:
        path: The folder.
        option: Name of the option that gives it.
        what: What the folder is, for the error message.

    Raises:
        errors.MissingFileError: It was not given, or does not exist.
    """
    if path is None or not path.is_dir():
        given = f"{path} is not a folder" if path else "it was not given"
        raise errors.MissingFileError(
            f"{what} is needed, but {given}. Give it with `{option}`."
        )
    return path


def required_file(path: pathlib.Path, what: str) -> pathlib.Path:
    """Returns a file that must exist below the user's folder.

    Raises:
        errors.MissingFileError: There is no such file.
    """
    if not path.is_file():
        raise errors.MissingFileError(
            f"{what} is needed, but {path} is not a file. Put it there, or give "
            "another folder with `source_dir`."
        )
    return path


def part_of(dataset: str, split: str, parts: dict[str, _Part]) -> _Part:
    """Returns the entry of a split in `parts`.

    Raises:
        errors.UserError: There is no such split.
    """
    if split not in parts:
        raise errors.UserError(
            f"{dataset} has no split '{split}', only {', '.join(parts)}. Choose from "
            "these with `splits`."
        )
    return parts[split]


def read_lines(path: str | pathlib.Path) -> list[str]:
    """Reads the lines of a text file, stripped and without empty ones.

    Raises:
        errors.MissingFileError: There is no such file.
        errors.UserError: It is not UTF-8.
    """
    lines = (line.strip() for line in files.read_text(path).splitlines())
    return [line for line in lines if line]


def read_list(path: pathlib.Path) -> list[str]:
    """Reads the list of the images of a split; see `read_lines`.

    Raises:
        errors.MissingFileError: There is no such file.
        errors.UserError: It is not UTF-8.
    """
    if not path.is_file():
        raise errors.MissingFileError(
            f"{path} does not exist. It lists the images of a split: give the folder "
            "that holds it, or choose other splits with `splits`."
        )
    return read_lines(path)


def shorten(
    items: Sequence,
    most: int = 10,
    *,
    separator: str = ", ",
    format_item: Callable[[Any], str] = str,
) -> str:
    """Joins the first items of a list, and counts the others.

    Args:
        items: The list.
        most: Number of items to show.
        separator: Text between two items.
        format_item: Function from an item to its text.
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return f"{separator.join(map(format_item, items[:most]))}{more}"


def count(items: Collection | int, noun: str, plural: str = "") -> str:
    """Returns the number of items with the noun, such as "1 image" or "2 images".

    Args:
        items: The items, or their number.
        noun: The noun for one item.
        plural: The noun for several items, if it is not just with an s.
    """
    number = len(items) if isinstance(items, Collection) else int(items)
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def split_commas(text: str) -> list[str]:
    """Splits a comma-separated list; items with a comma are in double quotes.

    Items are stripped, and empty ones left out.

    Raises:
        errors.UserError: A quote is not closed.
    """
    try:
        (row,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise errors.UserError(
            f"'{text}' is not a comma-separated list ({error}). Quote an item that "
            'contains a comma as in \'a,"b, c"\', and a double quote as "".'
        ) from error
    return [item.strip() for item in row if item.strip()]


def join_commas(items: Collection[str]) -> str:
    """Joins items such that `split_commas` returns them."""
    quoted = (
        '"{}"'.format(item.replace('"', '""'))
        if set(item) & set(',"\n') or item != item.strip()
        else item
        for item in items
    )
    return ",".join(quoted)
