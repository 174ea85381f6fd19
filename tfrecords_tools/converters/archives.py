"""Unpacks downloads that are zip or tar archives, next to the archives.

Archives are not trusted: if a member would be written outside of the folder, is not a
regular file, or expands too much, the whole archive is refused.
"""

import bz2
import errno
import gzip
import json
import lzma
import os
import pathlib
import shutil
import stat
import struct
import tarfile
import typing
import zipfile
import zlib
from collections.abc import Callable

from kerasseg import errors

MARKER = ".unpacked.json"  # Holds the names, sizes and times of the archives.
_ENDING = ".unpacked"
_MAX_RATIO = 200  # Unpacked size to size of the archive.
_SMALL = 1 << 24  # Unpacked bytes that are allowed at any ratio.
_MEMBER = 512  # Unpacked bytes that the shortest member counts as.
_MAX_NAME = 1 << 16  # Bytes of a member's name and attributes.
_DEPTH = 3  # Levels of folders above that of the data set.
_CHUNK = 1 << 20
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error),
    *(lzma.LZMAError, EOFError, struct.error, OverflowError, UnicodeError),
    IndexError,  # From zipfile: a member without a name.
    *(NotImplementedError, RuntimeError),  # From zipfile: methods and passwords.
)


class ArchiveError(errors.UserError):
    """An archive that cannot be unpacked, or is refused."""


def find(text: str) -> list[pathlib.Path]:
    """Returns the archives in the option `source_dir`; none if it is a folder."""
    whole = pathlib.Path(text)
    paths = [whole] if whole.is_file() else [*map(pathlib.Path, text.split(","))]
    return paths if all(path.is_file() for path in paths) else []


def unpack(paths: list[pathlib.Path]) -> pathlib.Path:
    """Unpacks archives into one folder next to the first, `<its name>.unpacked`.

    A folder that was unpacked before is reused.

    Returns:
        The folder.

    Raises:
        ArchiveError: A file is not an archive, is damaged or refused, or the folder
            was unpacked from other archives.
        OSError: The disk is full, or the folder is not writable.
    """
    folder = paths[0].with_name(f"{paths[0].name}{_ENDING}")
    contents = [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths
    ]
    _sweep(folder)
    if not folder.exists():
        temporary = folder.with_name(f"{_temporary(folder)}{os.getpid()}")
        temporary.mkdir()
        try:
            for path in paths:
                _unpack_one(path, temporary)
            (temporary / MARKER).write_text(json.dumps(contents))
            _rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    _check_marker(folder, contents)
    return folder


def _temporary(folder):
    return f".{folder.name}.tmp-"


def _rename(temporary, folder):
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():  # Otherwise another process was faster; use its folder.
            raise


def _sweep(folder):
    """Removes folders that killed processes left."""
    for path in folder.parent.glob(f"{_temporary(folder)}*"):
        number = path.name.rpartition("-")[2]
        if number.isdecimal() and not _is_alive(int(number)):
            shutil.rmtree(path)


def _is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # A process of another user.
        pass
    return number != os.getpid()


def _check_marker(folder, contents):
    try:
        found = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        found = None
    if found != contents:
        raise ArchiveError(
            f"{folder} was unpacked from other archives, or these have changed. Remove "
            "it to unpack them again, or give the folder itself."
        )


def _unpack_one(path, folder):
    if zipfile.is_zipfile(path):
        members = _zip_members(path)
    elif _is_tar(path):
        members = _tar_members(path)
    else:
        raise ArchiveError(
            f"{path} is a file, expected a folder, or a zip or tar archive. Check that "
            "the download is complete."
        )
    num_left = max(_SMALL, _MAX_RATIO * path.stat().st_size)
    try:
        for name, size, content in members:
            parts = _parts(name, path)
            num_left -= max(size, _MEMBER)
            if num_left < 0:
                raise _too_large(path, name)
            if parts[0] != "__MACOSX":
                _write(folder.joinpath(*parts), content, path)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # Not of the archive, whose positions may be negative.
        raise ArchiveError(
            f"{path} is damaged or protected ({error}). Get the file again."
        ) from error


def _too_large(path, name):
    return ArchiveError(
        f"{path} is refused: with {name} it would expand to more than {_MAX_RATIO} "
        "times its size. If you trust it, unpack it yourself and give the folder."
    )


def _zip_members(path):
    """Yields name, size and content of each file, after checking all of them."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            _parts(member.filename, path)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _not_regular(path, member.filename)
            limit = max(_SMALL, _MAX_RATIO * member.compress_size)
            if member.file_size > limit:
                raise _too_large(path, member.filename)
        for member in members:
            with archive.open(member) as content:
                yield member.filename, member.file_size, content


class _Member(tarfile.TarInfo):
    """A member whose name and attributes, which are read as a whole, are short."""

    def _proc_member(self, archive):  # type: ignore[misc]
        long = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
        long |= {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
        if self.type in long and not 0 <= self.size <= _MAX_NAME:
            raise ArchiveError(
                f"{archive.name} is refused: a name or an attribute in it has "
                f"{self.size:,} bytes, the maximum is {_MAX_NAME:,}. If you trust it, "
                "unpack it yourself and give the folder."
            )
        return super()._proc_member(archive)  # type: ignore[misc]


def _is_tar(path):
    try:
        with tarfile.open(path, tarinfo=_Member):
            return True
    except tarfile.TarError:
        return False


def _tar_members(path):
    """Yields name, size and content of each file. Truncation is detected at the end."""
    with _decompressed(path) as stream, _open_tar(path, stream) as tar:
        for member in tar:
            if member.isdir():
                continue
            if not member.isreg():
                raise _not_regular(path, member.name)
            if member.size < 0:
                raise EOFError(f"{member.name} has {member.size} bytes")
            yield member.name, member.size, tar.extractfile(member)
        if tar.fileobj.tell() < tar.offset + tarfile.BLOCKSIZE:
            raise EOFError("it is truncated")
        while stream.read(_CHUNK):  # To check the checksum at the end.
            pass


def _open_tar(path, stream):
    return tarfile.open(path, mode="r|", fileobj=stream, tarinfo=_Member)


def _decompressed(path):
    with open(path, "rb") as file:
        start = file.read(6)
    kinds: dict[bytes, typing.Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
    kinds |= {b"\xfd7zXZ\x00": lzma.open, b"": open}
    return next(opener for magic, opener in kinds.items() if start.startswith(magic))(
        path, "rb"
    )


def _not_regular(path, name):
    return ArchiveError(
        f"{path} is refused: {name} is a link or a device, not a regular file. If you "
        "trust it, unpack it yourself and give the folder."
    )


def _parts(name, path):
    """Returns the parts of a member's name, which must stay within the folder."""
    plain = name.replace("\\", "/")
    parts = pathlib.PurePosixPath(plain).parts
    if not parts or plain[0] == "/" or plain[1:2] == ":" or {"..", MARKER} & {*parts}:
        raise ArchiveError(
            f"{path} is refused: its member {name!r} would be written outside of the "
            "folder. Get it from its authors, or unpack it yourself and give the "
            "folder."
        )
    return parts


def _write(target, content, path):
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as file:
            shutil.copyfileobj(content, file, _CHUNK)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArchiveError(
                f"{path} is refused: the name {target.name[:40]!r}... in it is too "
                "long for this disk. Unpack it yourself and give the folder."
            ) from error
        if not isinstance(error, (FileExistsError, NotADirectoryError)):
            raise
        raise ArchiveError(
            f"{path} is refused: {target.name} occurs in it twice, or in another "
            "archive too. Unpack them yourself and give the folder."
        ) from error


def find_folder(
    folder: pathlib.Path, accepts: Callable[[pathlib.Path], bool]
) -> pathlib.Path:
    """Finds the folder of the data set, searching from the top.

    Args:
        folder: Folder to search.
        accepts: Function that returns whether a folder is that of the data set.

    Raises:
        ArchiveError: No folder is accepted.
    """
    level = [folder]
    for _ in range(_DEPTH + 1):
        for candidate in level:
            if accepts(candidate):
                return candidate
        level = sorted(
            path for above in level for path in above.iterdir() if path.is_dir()
        )
    raise ArchiveError(
        f"{folder} was unpacked, but does not hold the data set. Give all archives of "
        "the data set, separated by commas, or its folder."
    )
