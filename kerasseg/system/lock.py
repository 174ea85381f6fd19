"""One process at a time that writes into a folder.

The lock is the system's and ends with its process, however that ends; what a killed one
leaves behind is a file that locks nothing.
"""

import contextlib
import errno
import fcntl
import os
import pathlib

LOCK_FILE = ".lock"  # Holds the number of the process.
_NO_LOCKS = errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS  # Of some network disks.


class LockedError(BlockingIOError):
    """Another process holds the lock."""

    def __init__(self, folder, pid):
        super().__init__(
            errno.EAGAIN,
            f"{folder} is locked by pid {pid}: another program writes there. Wait for "
            f"it, or give another folder",
        )


@contextlib.contextmanager
def hold(folder: str | os.PathLike):
    """Holds the lock of a folder for the length of a block.

    On a disk that knows no locks there is none.

    Raises:
        LockedError: Another process holds it.
    """
    path = pathlib.Path(folder, LOCK_FILE)
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
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return file
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            if not isinstance(error, BlockingIOError):
                raise
            raise LockedError(path.parent, holder) from error
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
