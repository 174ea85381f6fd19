"""Atomic writing of files, and reading of regular files."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from kerasseg import errors

_LONG_NAME = 100  # Bytes. File systems allow 255 or fewer, 143 with encryption.
_TEMPORARY = re.compile(r"\..+\.tmp-\d+", re.DOTALL)
_KINDS = {  # Of files that are not regular, by `stat.S_IFMT`.
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextlib.contextmanager
def open_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a binary file that replaces `path` when the block ends without an error.

    The content is on the disk by then. A process that is killed leaves at most a file
    `.<name>.tmp-<pid>`, with a hash instead of a long name, and the previous file
    unchanged.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{_short(path.name)}.tmp-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _short(name):
    data = os.fsencode(name)
    return name if len(data) <= _LONG_NAME else hashlib.sha256(data).hexdigest()[:32]


def is_temporary(name: str) -> bool:
    """Returns whether a file may be what a killed process left, see `open_file`."""
    return _TEMPORARY.fullmatch(name) is not None


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


def read_bytes(path: str | os.PathLike, most: int = -1) -> bytes:
    """Reads a regular file; a named pipe or a device could block or never end.

    Args:
        path: The file.
        most: Number of bytes to read at most; -1 for all.

    Raises:
        FileNotFoundError: The file does not exist.
        errors.UserError: It is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # A pipe does not block.
    try:
        check_regular(os.fstat(descriptor), path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def check_regular(status: os.stat_result, path: str | os.PathLike) -> None:
    """Checks that a file is regular.

    Args:
        status: Its status, of `os.stat` or `os.fstat`.
        path: Its path, for the error message.

    Raises:
        errors.UserError: It is a folder, a named pipe, a device or a socket.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise errors.UserError(
            f"{os.fspath(path)!r} is {_KINDS.get(kind, 'a special file')}, expected a "
            "regular file. Remove it, or give another file."
        )


def read_text(path: str | os.PathLike) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark.

    Raises:
        errors.MissingFileError: The file does not exist.
        errors.UserError: It is not a regular file, or not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
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
        errors.UserError: It is not a regular file, not UTF-8 or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{path} is not a JSON file: {error}. Correct it, or give another file."
        ) from error
