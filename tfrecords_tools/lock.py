"""One build at a time in a folder.

The lock is the system's and ends with its process, however that ends; what a killed
build leaves behind is a file that locks nothing.
"""

import contextlib
import fcntl
import os
import pathlib

from tfrecords_tools import planning

LOCK_FILE = ".lock"  # Holds the number of the process.


@contextlib.contextmanager
def hold(folder: pathlib.Path):
    """Holds the lock of a folder for the length of a block.

    Raises:
        BuildError: Another process holds it.
    """
    path = folder / LOCK_FILE
    file = _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _take(path):
    while True:
        file = open(path, "a+")  # noqa: SIM115 - it stays open as long as the lock.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise planning.BuildError(
                f"{path.parent} is locked by pid {holder}: another build writes there. "
                "Wait for it, or build into another folder"
            ) from error
        if _is_at(file, path):
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            return file
        file.close()  # Who had it has removed the file since it was opened.


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
