"""Downloads that come as zip or tar: unpacked beside themselves, and never elsewhere.

An archive is somebody else's text: where a member would be written outside of the
folder, is no plain file, or swells beyond measure, the whole archive is refused.
"""

import bz2
import collections.abc
import gzip
import json
import lzma
import os
import pathlib
import shutil
import stat
import tarfile
import typing
import zipfile
import zlib

from kerasseg import errors

MARKER = ".unpacked.json"  # Says of which archives a folder is.
_ENDING = ".unpacked"
_MAX_RATIO = 200  # Of what is unpacked to the archive.
_SMALL = 1 << 24  # Bytes that an archive may have whatever its ratio.
_DEPTH = 3  # Folders of an archive above the data set's own.
_CHUNK = 1 << 20
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error),
    *(lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError),  # Of zipfile: methods and passwords.
)


class ArchiveError(errors.UserError):
    """An archive that is not unpacked; the text says why."""


def find(text: str) -> list[pathlib.Path]:
    """Takes `--source_dir` apart: paths of archives with commas between, or none."""
    whole = pathlib.Path(text)
    paths = [whole] if whole.is_file() else [*map(pathlib.Path, text.split(","))]
    return paths if all(path.is_file() for path in paths) else []


def unpack(paths: list[pathlib.Path]) -> pathlib.Path:
    """Unpacks archives into one folder beside the first, `<its name>.unpacked`.

    What was unpacked before is taken as it is.

    Raises:
        ArchiveError: A file is no archive, is damaged, or holds what is refused; or the
            folder is of other archives.
        OSError: The disk is full, or the folder cannot be written to.
    """
    folder = paths[0].with_name(f"{paths[0].name}{_ENDING}")
    facts = [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths
    ]
    _sweep(folder)
    if not folder.exists():
        temporary = folder.with_name(f"{_temporary(folder)}{os.getpid()}")
        temporary.mkdir()
        try:
            for path in paths:
                _unpack_one(path, temporary)
            (temporary / MARKER).write_text(json.dumps(facts))
            _appear(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    _check_marker(folder, facts)
    return folder


def _temporary(folder):
    return f".{folder.name}.tmp-"


def _appear(temporary, folder):
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():  # Else another process was faster: its folder is taken.
            raise


def _sweep(folder):
    """Removes what processes that were killed had begun to unpack."""
    for path in folder.parent.glob(f"{_temporary(folder)}*"):
        number = path.name.rpartition("-")[2]
        if number.isdecimal() and not _is_alive(int(number)):
            shutil.rmtree(path)


def _is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # Somebody else's.
        pass
    return number != os.getpid()


def _check_marker(folder, facts):
    try:
        found = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        found = None
    if found != facts:
        raise ArchiveError(
            f"{folder} is not what these archives hold now: they changed, or it is of "
            "others. Remove it to unpack again, or give the folder itself"
        )


def _unpack_one(path, folder):
    if zipfile.is_zipfile(path):
        members = _zip_members(path)
    elif tarfile.is_tarfile(path):
        members = _tar_members(path)
    else:
        raise ArchiveError(
            f"{path} is a file, wanted is a folder, or a zip or tar archive. Is the "
            "download whole?"
        )
    num_left = max(_SMALL, _MAX_RATIO * path.stat().st_size)
    try:
        for name, size, content in members:
            parts = _parts(name, path)
            num_left -= size
            if num_left < 0:
                raise _swells(path, name)
            if parts[0] != "__MACOSX":
                _write(folder.joinpath(*parts), content, path)
    except _BROKEN as error:
        raise ArchiveError(
            f"{path} is damaged or protected ({error}). Get the file again"
        ) from error


def _swells(path, name):
    return ArchiveError(
        f"{path} is refused: with {name} it would become more than {_MAX_RATIO} times "
        "as large. If you trust it, unpack it yourself and give the folder"
    )


def _zip_members(path):
    """Yields name, size and content of each file, after a look at all of them."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            _parts(member.filename, path)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _no_file(path, member.filename)
            limit = max(_SMALL, _MAX_RATIO * member.compress_size)
            if member.file_size > limit:
                raise _swells(path, member.filename)
        for member in members:
            with archive.open(member) as content:
                yield member.filename, member.file_size, content


def _tar_members(path):
    """Yields name, size and content of each file; a cut archive is found at its end."""
    with _decompressed(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if member.isdir():
                continue
            if not member.isreg():
                raise _no_file(path, member.name)
            yield member.name, member.size, tar.extractfile(member)
        if tar.fileobj.tell() < tar.offset + tarfile.BLOCKSIZE:
            raise EOFError("it has no end")
        while stream.read(_CHUNK):  # To look at the checksum behind it.
            pass


def _decompressed(path):
    with open(path, "rb") as file:
        start = file.read(6)
    kinds: dict[bytes, typing.Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
    kinds |= {b"\xfd7zXZ\x00": lzma.open, b"": open}
    return next(opener for magic, opener in kinds.items() if start.startswith(magic))(
        path, "rb"
    )


def _no_file(path, name):
    return ArchiveError(
        f"{path} is refused: {name} is a link or a device, no file. If you trust it, "
        "unpack it yourself and give the folder"
    )


def _parts(name, path):
    """Takes a member's name apart, which must stay within the folder."""
    plain = name.replace("\\", "/")
    parts = pathlib.PurePosixPath(plain).parts
    if not parts or plain[0] == "/" or plain[1:2] == ":" or {"..", MARKER} & {*parts}:
        raise ArchiveError(
            f"{path} is refused: its member {name!r} would be written outside of the "
            "folder. Get it from its authors, or unpack it yourself and give the folder"
        )
    return parts


def _write(target, content, path):
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as file:
            shutil.copyfileobj(content, file, _CHUNK)
    except (FileExistsError, NotADirectoryError) as error:
        raise ArchiveError(
            f"{path} is refused: {target.name} is in it twice, or in another of the "
            "archives too. Unpack them yourself and give the folder"
        ) from error


def find_folder(
    folder: pathlib.Path, accepts: collections.abc.Callable[[pathlib.Path], bool]
) -> pathlib.Path:
    """Finds the data set's own folder: the first that is accepted, from above.

    Raises:
        ArchiveError: None is.
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
        f"{folder} was unpacked and does not hold the data set. Is it another one? "
        "Give all of its archives, with commas between, or its folder"
    )
