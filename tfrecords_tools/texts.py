"""Texts that people wrote, on whatever system, and lists that they read."""

import pathlib

from kerasseg import errors


def read_lines(path: pathlib.Path) -> list[str]:
    """Reads lines without the spaces around them, and without empty ones.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")  # Some editors begin a file with a mark.
    except UnicodeDecodeError as error:
        raise errors.UserError(
            f"{path} is no UTF-8 text ({error}). Save it as UTF-8 in your editor"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def some(items, most: int = 10, *, separator: str = ", ", say=str) -> str:
    """Lists the first of many, and says how many more there are.

    Args:
        items: A sequence.
        most: How many are listed.
        separator: What stands between them.
        say: Makes a text of each that is listed.
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return f"{separator.join(map(say, items[:most]))}{more}"
