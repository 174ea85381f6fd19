"""Numbered folders that appear whole or not at all, as TensorFlow Serving watches."""

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import time

from kerasseg import errors
from kerasseg.system import files

_ASIDE = ".tmp-"  # Not a number: nothing serves it.
_SAVED_MODEL = "saved_model.pb"
_FORGOTTEN_SECONDS = 24 * 3600


def check(export_dir, version=None, *, with_saved_model=True) -> None:
    """Looks whether a version can be written, and touches nothing.

    Args:
        export_dir: Folder of the versions; need not exist.
        version: A whole number from 1, or its digits; None for the next free one.
        with_saved_model: Whether it will hold one.

    Raises:
        ValueError: `version` is no such number, or the others hold a SavedModel and
            this one would not.
        FileExistsError: There is such a version.
        PermissionError: `export_dir` cannot be written to.
    """
    if version is not None:
        _check_number(export_dir, version)
    if not with_saved_model and _has_saved_model(export_dir):
        raise errors.UserError(
            f"{export_dir} holds versions with a SavedModel, which a server may watch: "
            f"it would take one without for broken. Add saved_model to the formats, or "
            f"give another `export_dir`."
        )
    existing = os.path.abspath(export_dir)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not (os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)):
        raise _not_writable(export_dir, f"{existing} is no folder that may be changed")


def _has_saved_model(export_dir):
    pattern = os.path.join(glob.escape(os.fspath(export_dir)), "*", _SAVED_MODEL)
    return bool(glob.glob(pattern))


def _check_number(export_dir, version):
    if not re.fullmatch(r"[1-9][0-9]{0,17}", str(version)):
        raise errors.UserError(
            f"version={version} is no whole number from 1; give one such as "
            f"{_next(export_dir)}, or none to take the next free one."
        )
    if int(version) in _existing(export_dir):
        raise _exists(export_dir, version)


def _exists(export_dir, version):
    return FileExistsError(
        f"Version {version} is in {export_dir} already and stays as it is; give "
        f"another, such as {_next(export_dir)}, or none to take the next free one."
    )


def _not_writable(export_dir, reason):
    return PermissionError(
        f"{export_dir} cannot be written to ({reason}); give another `export_dir`, or "
        f"the right to write there."
    )


def _existing(export_dir):
    names = os.listdir(export_dir) if os.path.isdir(export_dir) else []
    return {int(name) for name in names if re.fullmatch("[0-9]+", name)}


def _next(export_dir):
    return max(_existing(export_dir), default=0) + 1


@contextlib.contextmanager
def folder_aside(export_dir):
    """Makes a folder beside the versions and removes it when the block ends.

    What a killed export left a day ago or longer is removed too.

    Yields:
        Its path; `publish` turns it into a version.

    Raises:
        PermissionError: `export_dir` cannot be written to.
    """
    path = os.path.join(export_dir, f"{_ASIDE}{secrets.token_hex(8)}")
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
        if not entry.name.startswith(_ASIDE):
            continue
        with contextlib.suppress(FileNotFoundError):  # Another export publishes it.
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if old > _FORGOTTEN_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)


def publish(aside, export_dir, version=None) -> str:
    """Sees a finished folder to the disk, then renames it to its number.

    Args:
        aside: What `folder_aside` gave.
        export_dir: See `check`.
        version: See `check`.

    Returns:
        Path of the version.

    Raises:
        FileExistsError: Somebody wrote that version in the meantime.
    """
    for folder, _, names in os.walk(aside):
        for name in names:
            files.sync(os.path.join(folder, name))
        files.sync(folder)
    while True:
        number = _next(export_dir) if version is None else int(version)
        path = os.path.join(export_dir, str(number))
        try:
            os.rename(aside, path)
            break
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            if version is not None:
                raise _exists(export_dir, version) from error
    files.sync(export_dir)
    return path
