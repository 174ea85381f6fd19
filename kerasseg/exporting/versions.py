"""Numbered version folders, published atomically for TensorFlow Serving."""

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator

from kerasseg import errors
from kerasseg.system import files, path_checks

_TEMPORARY = ".tmp-"  # Not a number: no server loads it.
_SAVED_MODEL = "saved_model.pb"
_STALE_SECONDS = 24 * 3600


def check_version(
    export_dir: str | os.PathLike,
    version: int | str | None = None,
    *,
    with_saved_model: bool = True,
) -> None:
    """Checks that a version can be written; changes nothing.

    Args:
        export_dir: Folder of the versions; it need not exist.
        version: Number of the version, at least 1; None: the next free number.
        with_saved_model: Whether the version will hold a SavedModel.

    Raises:
        errors.UserError: `version` is not such a number, other versions hold a
            SavedModel and this one would not, or TensorFlow could not read the folder.
        FileExistsError: The version exists.
        PermissionError: `export_dir` is not writable.
    """
    check = path_checks.check_model if with_saved_model else path_checks.check_utf8
    check(export_dir, "export_dir")
    if version is not None:
        _check_number(export_dir, version)
    if not with_saved_model and _has_saved_model(export_dir):
        raise errors.UserError(
            f"{export_dir} holds versions with a SavedModel. A server that watches it "
            f"could not load a version without one. Add saved_model to `format`, or "
            f"give another `export_dir`."
        )
    existing = os.path.abspath(export_dir)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not (os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)):
        raise _not_writable(export_dir, f"{existing} is not a writable folder")


def _has_saved_model(export_dir):
    pattern = os.path.join(glob.escape(os.fspath(export_dir)), "*", _SAVED_MODEL)
    return bool(glob.glob(pattern))


def _check_number(export_dir, version):
    if not re.fullmatch(r"[1-9][0-9]{0,17}", str(version)):
        raise errors.UserError(
            f"`version={version}`: expected a whole number above 0. Choose for example "
            f"{_next(export_dir)}, or leave it out for the next free number."
        )
    if int(version) in _existing(export_dir):
        raise _exists(export_dir, version)


def _exists(export_dir, version):
    return FileExistsError(
        f"Version {version} exists in {export_dir}. Choose another `version`, such as "
        f"{_next(export_dir)}, or leave it out for the next free number."
    )


def _not_writable(export_dir, reason):
    return PermissionError(
        f"{export_dir} is not writable ({reason}). Give another `export_dir`, or "
        f"change its permissions."
    )


def _existing(export_dir):
    names = os.listdir(export_dir) if os.path.isdir(export_dir) else []
    return {int(name) for name in names if re.fullmatch("[0-9]+", name)}


def _next(export_dir):
    return max(_existing(export_dir), default=0) + 1


@contextlib.contextmanager
def temporary_folder(export_dir: str | os.PathLike) -> Iterator[str]:
    """Creates a folder beside the versions, and removes it when the block ends.

    Also removes folders that a killed export left more than a day ago.

    Yields:
        Its path; `publish` turns it into a version.

    Raises:
        PermissionError: `export_dir` is not writable.
    """
    path = os.path.join(export_dir, f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        os.makedirs(export_dir, exist_ok=True)
        _sweep(export_dir)
        os.mkdir(path)
    except OSError as error:
        raise _not_writable(export_dir, error.strerror) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(export_dir):
    for entry in os.scandir(export_dir):
        if not entry.name.startswith(_TEMPORARY):
            continue
        with contextlib.suppress(FileNotFoundError):  # Published in the meantime.
            age = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if age > _STALE_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)


def publish(
    temporary: str | os.PathLike,
    export_dir: str | os.PathLike,
    version: int | str | None = None,
) -> str:
    """Flushes a finished folder to the disk, then renames it to its number.

    Args:
        temporary: The folder of `temporary_folder`.
        export_dir: As in `check_version`.
        version: As in `check_version`.

    Returns:
        Path of the version.

    Raises:
        FileExistsError: Another program wrote that version in the meantime.
    """
    for folder, _, names in os.walk(os.fspath(temporary)):
        for name in names:
            files.sync(os.path.join(folder, name))
        files.sync(folder)
    while True:
        number = _next(export_dir) if version is None else int(version)
        path = os.path.join(export_dir, str(number))
        try:
            os.rename(temporary, path)
            break
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            if version is not None:
                raise _exists(export_dir, version) from error
    files.sync(export_dir)
    return path
