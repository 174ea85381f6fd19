"""The folder of downloaded weights: where it is, its lock, and checks of its files."""

import contextlib
import errno
import hashlib
import logging
import os
import pathlib
import time
from collections.abc import Iterator

from kerasseg import errors
from kerasseg.system import files, lock
from kerasseg.weights.catalogue import File
from kerasseg.weights.connections import DownloadError

_OFFLINE = ("KERASSEG_OFFLINE", "HF_HUB_OFFLINE")
_PIN = ".sha256"  # As the program sha256sum reads it.
_SECONDS_BETWEEN = 0.2  # Tries of the lock.
_LOGGED_BYTES = 1 << 20  # Pins of smaller files are not worth a line.


def folder(*parts: str) -> pathlib.Path:
    """Returns a folder of the cache, in that of Keras (KERAS_HOME or ~/.keras)."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return pathlib.Path(home).expanduser().joinpath("kerasseg", "weights", *parts)


def is_offline() -> bool:
    """Returns whether KERASSEG_OFFLINE or HF_HUB_OFFLINE forbid downloads."""
    values = {os.environ.get(name, "").strip().lower() for name in _OFFLINE}
    return bool(values & {"1", "true", "yes", "on"})


def check_online(url: str, path: pathlib.Path) -> None:
    """Checks that downloads are allowed.

    Args:
        url: Address of a file that is needed.
        path: Where it will be.

    Raises:
        DownloadError: They are not.
    """
    if is_offline():
        name = next(n for n in _OFFLINE if os.environ.get(n, "").strip())
        raise DownloadError(
            f"{path.name} is needed, and {name} forbids downloads. {by_hand(url, path)}"
        )


def by_hand(url: str, path: pathlib.Path) -> str:
    """Returns a sentence on how a file can be downloaded without this program."""
    return f"To add it by hand, download {url} to {path}"


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[bool]:
    """Holds the lock of a folder; waits while another process holds it.

    Yields:
        Whether it is held: false on file systems without locks.
    """
    with contextlib.ExitStack() as stack:
        is_waiting = False
        while True:
            try:
                is_held = stack.enter_context(lock.hold(directory))
                break
            except lock.LockedError:
                if not is_waiting:
                    logging.warning("Another process downloads to %s.", directory)
                is_waiting = True
                time.sleep(_SECONDS_BETWEEN)
        yield is_held


def verify(path: pathlib.Path, file: File) -> None:
    """Checks the size and hash of a file.

    If no hash is published, the file's own is stored beside it, and is the one that is
    expected from then on.

    Args:
        path: The file.
        file: What is known of it.

    Raises:
        errors.UserError: It is another file, or damaged.
    """
    files.check_regular(os.stat(path), path)
    digest = sha256(path)
    pin = path.with_name(f"{path.name}{_PIN}")
    expected, source = file.sha256, "published"
    if not expected and pin.is_file():
        expected, source = _read_pin(pin), f"that of {pin}"
    mismatch = compare(digest, os.path.getsize(path), expected, file.num_bytes)
    if mismatch:
        raise errors.UserError(
            f"{path} is damaged or another file: {mismatch}, {source}. Delete it, and "
            "it is downloaded again; delete the .sha256 file beside it as well if the "
            "new file is meant."
        )
    if not expected:
        _write_pin(pin, path, digest)


def compare(digest: str, size: int, expected: str, num_bytes: int | None) -> str:
    """Returns how a file differs from what is expected, or an empty text.

    Args:
        digest: Its SHA-256.
        size: Its number of bytes.
        expected: The first digits of the hash that is expected.
        num_bytes: The size that is expected; None for any.
    """
    if num_bytes is not None and size != num_bytes:
        return f"it has {size:,} bytes, expected {num_bytes:,}"
    if not digest.startswith(expected.lower()):
        return f"its SHA-256 is {digest}, expected {expected}"
    return ""


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_pin(pin):
    words = files.read_text(pin).split()
    if not words or len(words[0]) != 64:
        raise errors.UserError(
            f"{pin} has no SHA-256. Delete it if you trust the file beside it."
        )
    return words[0]


def _write_pin(pin, path, digest):
    try:
        files.write_bytes(pin, f"{digest}  {path.name}\n".encode())
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return  # A cache that is shared, and read only.
    if os.path.getsize(path) >= _LOGGED_BYTES:
        logging.warning(
            "%s: no hash is published. Its SHA-256 is %s, and is verified from now on.",
            path.name,
            digest,
        )
