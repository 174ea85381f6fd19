"""Zip archives whose sizes are checked before anything is decompressed."""

import contextlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator

from kerasseg import errors
from kerasseg.weights.files import arrays

ERRORS = (
    *(EOFError, IndexError, KeyError, NotImplementedError, OverflowError),
    *(RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error),
)
_MAX_DIRECTORY = 16 << 20  # Bytes; zipfile needs more than ten times as much.
_END = b"PK\5\6"
_END_BYTES = 22
_END_64 = b"PK\6\7"


class Archive:
    """The entries of an open archive.

    Attributes:
        names: Their names.
    """

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int):
        entries = archive.infolist()
        self._archive = archive
        self._entries = {entry.filename: entry for entry in entries}
        self.names = list(self._entries)
        if len(self.names) != len(entries):
            raise arrays.damaged("zip: several entries of one name")
        for entry in entries:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise errors.UserError(
                    "it is compressed by a method that is not read. Extract it, and "
                    "store it without compression."
                )
        # Entries may overlap; together they must not be larger than the file, either.
        arrays.check_size(sum(entry.file_size for entry in entries), file_bytes)
        # zipfile allocates this size before it reads.
        if max((entry.compress_size for entry in entries), default=0) > file_bytes:
            raise arrays.damaged("zip: an entry is larger than the file")

    def size(self, name: str) -> int:
        """Returns the number of bytes of an entry; KeyError if there is none."""
        return self._entries[name].file_size

    def read(self, name: str) -> bytes:
        """Returns an entry, whose checksum is verified."""
        data = self._archive.read(self._entries[name])
        if len(data) != self.size(name):
            raise arrays.damaged("zip: an entry is shorter than stated")
        return data


@contextlib.contextmanager
def open_archive(path: str | os.PathLike) -> Iterator[Archive]:
    """Opens an archive for a block.

    Raises:
        errors.UserError: It is damaged, encrypted or expands too much, also when the
            block reads it.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        try:
            _check_directory(file, size)
            with zipfile.ZipFile(file) as archive:
                yield Archive(archive, size)
        except errors.UserError:
            raise
        except ERRORS as error:
            raise arrays.damaged(f"zip: {error}") from error


def _check_directory(file, size):
    """Limits the directory at the end, of which zipfile makes an object per entry."""
    file.seek(max(0, size - _END_BYTES - 20 - 56 - (1 << 16)))
    tail = file.read()
    start = len(tail) - _END_BYTES
    if tail[start : start + 4] != _END or tail[-2:] != b"\0\0":
        start = tail.rfind(_END)
    if start < 0:
        raise arrays.damaged("a zip archive without its end")
    num_bytes = int.from_bytes(tail[start + 12 : start + 16], "little")
    if start >= 76 and tail[start - 20 : start - 16] == _END_64:
        num_bytes = int.from_bytes(tail[start - 36 : start - 28], "little")
    if num_bytes > _MAX_DIRECTORY:
        raise errors.UserError(
            f"its zip directory has {num_bytes:,} bytes, at most {_MAX_DIRECTORY:,} "
            "are read. This is no file of weights; give another."
        )
