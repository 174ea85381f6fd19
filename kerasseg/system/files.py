"""Atomic writing of files, and reading of text files."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from kerasseg import errors


@contextlib.contextmanager
def open_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a binary file that replaces `path` when the block ends without an error.

    The content is on the disk by then. A process that is killed leaves at most a file
    `.<name>.tmp-<pid>`, and the previous file unchanged.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file as a whole or not at all; see `open_file`."""
    with open_file(path) as file:
        file.write(data)


def sync(path: str | os.PathLike) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(path: str | os.PathLike) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark.

    Raises:
        errors.MissingFileError: The file does not exist.
        errors.UserError: It is not UTF-8.
    """
    try:
        return pathlib.Path(path).read_text("utf-8-sig")
    except FileNotFoundError:
        raise errors.MissingFileError(
            f"{path} does not exist. Correct the path."
        ) from None
    except UnicodeDecodeError as error:
        raise errors.UserError(
            f"{path} is not a UTF-8 text file ({error}). Save it as UTF-8 in your "
            f"editor, or give another file."
        ) from error


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file in UTF-8; see `read_text`.

    Raises:
        errors.MissingFileError: The file does not exist.
        errors.UserError: It is not UTF-8 or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise errors.UserError(
            f"{path} is not a JSON file: {error}. Correct it, or give another file."
        ) from error
