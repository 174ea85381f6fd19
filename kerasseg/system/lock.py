"""A lock, so that only one process at a time writes into a folder.

It is a lock of the operating system, which ends with its process. The file that a
killed process leaves behind does not lock the folder.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator

LOCK_FILE = ".lock"  # Contains the process id.
_NO_LOCKS = errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS  # On some network disks.


class LockedError(BlockingIOError):
    """Another process holds the lock."""

    def __init__(self, folder, pid):
        super().__init__(
            errno.EAGAIN,
            f"{folder} is locked by pid {pid}: another program writes there. Wait "
            f"until it ends, or give another folder",
        )


@contextlib.contextmanager
def hold(folder: str | os.PathLike) -> Iterator[bool]:
    """Holds the lock of a folder for the duration of a block.

    Yields:
        Whether the lock is held: false on file systems without locks.

    Raises:
        LockedError: Another process holds it.
    """
    path = pathlib.Path(folder, LOCK_FILE)
    file, is_held = _take(path)
    try:
        yield is_held
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _take(path):
    while True:
        file = open(path, "a+")  # noqa: SIM115 - open as long as the lock is held.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return file, False
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
            return file, True
        file.close()  # Its last holder removed the file after it was opened here.


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
