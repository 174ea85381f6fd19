"""Extracts .tar.gz archives of weights: files and folders only, of limited size."""

import gzip
import os
import pathlib
import shutil
import tarfile
import zlib

from kerasseg import errors
from kerasseg.system import files
from kerasseg.weights import cache

SUFFIXES = (".tar.gz", ".tgz")
MAX_BYTES = 16 << 30
_MAX_EXPANSION = 20  # Weights are hardly compressible; graphs are, and are small.
_SLACK = 1 << 20
_MAX_MEMBERS = 10_000
_MAX_READ = 4 << 20  # Of one call; long headers need it.
_DAMAGED = (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile, ValueError)


def unpack(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder of an archive's files; extracts them if it is not there.

    The folder is beside the archive, and whole: a process that is killed leaves another
    one, which the next one removes. If it contains only one folder, that is returned.

    Raises:
        errors.UserError: The archive is damaged, expands too much, or has links,
            devices, or paths that lead out of the folder.
    """
    suffix = next(end for end in SUFFIXES if path.name.endswith(end))
    target = path.with_name(path.name.removesuffix(suffix))
    if not target.is_dir():
        with cache.locked(path.parent):
            if not target.is_dir():
                _unpack(path, target)
    inner = [each for each in target.iterdir() if not each.name.startswith(".")]
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else target


def _unpack(path, target):
    start = f".{target.name}.tmp-"
    for left in path.parent.glob(f"{start}*"):  # Of killed processes.
        shutil.rmtree(left)
    temporary = path.with_name(f"{start}{os.getpid()}")
    temporary.mkdir()
    try:
        limit = min(MAX_BYTES, _MAX_EXPANSION * path.stat().st_size + _SLACK)
        with gzip.open(path) as content:
            bounded = _Bounded(content, limit)
            with tarfile.open(fileobj=bounded, mode="r:") as archive:  # type: ignore[call-overload]
                _extract(archive, temporary, limit)
            while bounded.read(tarfile.RECORDSIZE):  # Verifies the checksum.
                pass
        os.replace(temporary, target)
        files.sync(path.parent)
    except errors.UserError as error:
        error.args = (f"{path}: {error}",)
        raise
    except _DAMAGED as error:
        raise errors.UserError(
            f"{path} is truncated or damaged ({error}). Delete it, and it is "
            "downloaded again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Bounded:
    """A decompressed stream that ends with an error if it is too long."""

    def __init__(self, stream, limit):
        self._stream, self._limit = stream, limit

    def read(self, size):
        if not 0 <= size <= _MAX_READ:
            raise errors.UserError(f"it has a header of {size:,} bytes.{_OTHER}")
        self._check(self._stream.tell() + size - tarfile.RECORDSIZE)
        return self._stream.read(size)

    def seek(self, position, whence=os.SEEK_SET):
        self._check(position)
        return self._stream.seek(position, whence)

    def tell(self):
        return self._stream.tell()

    def _check(self, position):
        if position > self._limit:
            raise errors.UserError(
                f"it expands to more than {self._limit:,} bytes, which weights do not."
                f"{_OTHER}"
            )


_OTHER = " Extract it with tar, if you trust it, and give the path of its weights."


def _extract(archive, folder, limit):
    num_bytes = 0
    for i, member in enumerate(archive):
        parts = pathlib.PurePosixPath(member.name).parts
        if i >= _MAX_MEMBERS:
            raise errors.UserError(f"it has more than {_MAX_MEMBERS:,} files.{_OTHER}")
        if not (member.isreg() or member.isdir()):
            raise errors.UserError(
                f"{member.name[:80]!r} is a link or device, expected a file.{_OTHER}"
            )
        if ".." in parts or parts[:1] == ("/",) or "\0" in member.name:
            raise errors.UserError(
                f"{member.name[:80]!r} leads out of its folder.{_OTHER}"
            )
        num_bytes += member.size
        if num_bytes > limit:
            raise errors.UserError(
                f"its files have more than {limit:,} bytes, which weights do not."
                f"{_OTHER}"
            )
        # Also removes permissions that a file should not have.
        archive.extract(member, folder, filter="data")
        if member.isreg():
            files.sync(folder.joinpath(*parts))
