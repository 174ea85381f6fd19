"""Files that appear under their names only when they are whole and on the disk."""

import contextlib
import os
import pathlib


@contextlib.contextmanager
def open_file(path: str | os.PathLike):
    """Opens a file for bytes that gets its name when the block ends without an error.

    A process that is killed leaves `.<name>.tmp-<process>` at most, and what stood
    under the name before.
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
    """Writes a whole file at once."""
    with open_file(path) as file:
        file.write(data)


def sync(path: str | os.PathLike) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
