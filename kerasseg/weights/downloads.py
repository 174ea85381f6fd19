"""Downloads files: resumed after interruptions, verified, and whole or not at all."""

import errno
import http.client
import json
import logging
import os
import pathlib
import re
import shutil
import time
import urllib.parse

from kerasseg import errors
from kerasseg.system import files, json_values, names, progress
from kerasseg.weights import cache, connections
from kerasseg.weights.catalogue import File
from kerasseg.weights.connections import DownloadError

__all__ = ["MAX_BYTES", "DownloadError", "fetch", "file_name"]

MAX_BYTES = 16 << 30
TRIES = 5  # Without progress.
WAIT = 1.0  # Seconds before the second try; doubled for each further one.
_PROGRESS = 1 << 20  # Bytes; less counts as no progress.
_CHUNK = 1 << 20
_SHOWN_BYTES = 4 << 20  # Smaller files need no progress bar.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def file_name(url: str) -> str:
    """Returns the name of a file from its address.

    Raises:
        errors.UserError: It is not a plain name.
    """
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    return json_values.file_name(path.rpartition("/")[2], f"the name in {url!r}")


def fetch(
    file: File, folder: str | os.PathLike, *, max_bytes: int = MAX_BYTES
) -> pathlib.Path:
    """Returns the path of a file in a folder; downloads it if it is not there.

    An interrupted download leaves `NAME.part`, at whose end the next one continues.
    One process at a time downloads to a folder, and others wait for it. A file that
    was put there by hand is verified as one that was downloaded.

    Args:
        file: Address, and what is known of the content.
        folder: The folder, which is created.
        max_bytes: Largest size.

    Raises:
        DownloadError: It cannot be downloaded, or downloads are forbidden.
        errors.UserError: It has another hash or size than published, or than at its
            first use.
    """
    path = pathlib.Path(folder, file_name(file.url))
    if not path.exists():
        connections.check_address(file.url)
        cache.check_online(file.url, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with cache.locked(path.parent) as is_held:
            if not path.exists():  # Another process has downloaded it since.
                _download(file, path, max_bytes, is_held)
    cache.verify(path, file)
    return path


def _download(file, path, max_bytes, is_locked):
    # Without a lock, two processes must not write to one file.
    name = path.name if is_locked else f"{path.name}.{os.getpid()}"
    part = _Part(path.with_name(name))
    try:
        _with_retries(file, part, max_bytes)
        part.publish(path)
    except OSError as error:
        if isinstance(error, DownloadError) and error.status == 404:
            part.remove()
            raise
        if error.errno in _FULL:
            error = DownloadError(
                f"The disk is full. Free space, or set KERAS_HOME to another folder; "
                f"{part.size:,} bytes are kept."
            )
        if isinstance(error, DownloadError):
            error.args = (
                f"{path.name} cannot be downloaded. {error} "
                f"{cache.by_hand(file.url, path)}",
            )
        raise error from error.__cause__


def _with_retries(file, part, max_bytes):
    tries, furthest = 0, part.size
    while True:
        try:
            return _try(file, part, max_bytes)
        except DownloadError as error:
            if part.size >= furthest + _PROGRESS:
                tries, furthest = 0, part.size
            tries += 1
            if not error.is_temporary or tries >= TRIES:
                raise
            seconds = max(error.seconds, WAIT * 2 ** (tries - 1))
            logging.warning("%s Next try in %.0f seconds.", error, seconds)
        time.sleep(seconds)


def _try(file, part, max_bytes):
    """Downloads what a part lacks, and verifies it."""
    start = part.size if part.can_continue(file) else 0
    if not start or start != part.num_bytes:
        headers = part.headers(start)
        try:
            with connections.open_url(file.url, headers) as response:
                _check_response(response, file)
                begin = _begin(response, part, start)
                _check_size(response, file, part, begin, max_bytes)
                _copy(response, file, part, begin, max_bytes)
        except DownloadError as error:
            if error.status == 416:  # The file is shorter than the part.
                part.remove()
                error.is_temporary = True
            raise
    mismatch = cache.compare(
        cache.sha256(part.path), part.size, file.sha256, file.num_bytes
    )
    if mismatch:
        part.remove()
        raise DownloadError(
            f"The file of the server is not the one expected: {mismatch}. It is "
            "damaged or has been replaced.",
            is_temporary=start > 0,  # The part may be of another version.
        )


class _Part:
    """What is there of a file, and of which version of the file.

    Attributes:
        path: The bytes.
        num_bytes: Size of the whole file; None if it is not known.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path.with_name(f"{path.name}.part")
        self._info = path.with_name(f"{path.name}.part.json")
        self.num_bytes: int | None = None
        self._url = self._validator = ""
        try:
            info = files.read_json(self._info)
            self._url = json_values.get(info, "url", str, "part")
            self._validator = json_values.get(info, "validator", str, "part")
            if info["num_bytes"] is not None:
                self.num_bytes = json_values.integer(info["num_bytes"], "num_bytes")
        except (errors.UserError, KeyError):  # None, or a killed process's.
            self._url = self._validator = ""

    @property
    def size(self) -> int:
        """Number of bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def can_continue(self, file: File) -> bool:
        """Returns whether a mixture of two versions would be noticed."""
        is_known = bool(self._validator or file.sha256)
        return self._url == file.url and is_known and self.size > 0

    def headers(self, start: int) -> dict[str, str]:
        """Returns the headers of a request for the bytes from `start` on."""
        if not start:
            return {}
        condition = {"If-Range": self._validator} if self._validator else {}
        return {"Range": f"bytes={start}-", **condition}

    def is_of(self, validator: str) -> bool:
        """Returns whether a response is of the version of this part."""
        return not (validator and self._validator) or validator == self._validator

    def begin(self, url: str, validator: str, num_bytes: int | None) -> None:
        """Removes the bytes, and records which version the next ones are of."""
        self.remove()
        self._url, self._validator, self.num_bytes = url, validator, num_bytes
        info = {"url": url, "validator": validator, "num_bytes": num_bytes}
        files.write_bytes(self._info, json.dumps(info).encode())

    def remove(self) -> None:
        """Removes the bytes and the version."""
        self.path.unlink(missing_ok=True)
        self._info.unlink(missing_ok=True)
        self._url, self._validator, self.num_bytes = "", "", None

    def publish(self, path: pathlib.Path) -> None:
        """Makes the part the whole file."""
        files.sync(self.path)
        os.replace(self.path, path)
        files.sync(path.parent)
        self._info.unlink(missing_ok=True)


def _validator(response):
    """Returns what identifies the version of a file for If-Range, or an empty text."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"'):  # Others are weak, and do not promise equal bytes.
        return etag
    return response.headers.get("Last-Modified", "")


def _begin(response, part, start):
    """Returns where the bytes of a response belong; 0 if they are the whole file."""
    if response.status == 200:
        return 0  # Without support of ranges, or the file has changed.
    found = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "")
    )
    total = int(found[3]) if found and found[3] != "*" else None
    if (
        not start
        or response.status != 206
        or not found
        or int(found[1]) != start
        or part.num_bytes not in (None, total)
        or not part.is_of(_validator(response))
    ):
        part.remove()
        raise DownloadError(
            f"The server sent another part of the file than requested (status "
            f"{response.status}).",
            is_temporary=True,
        )
    part.num_bytes = total
    return start


def _check_response(response, file):
    """Refuses pages that take the place of a file."""
    kind = response.headers.get_content_type()
    is_json = kind == "application/json" and not file_name(file.url).endswith(".json")
    if kind in ("text/html", "application/xhtml+xml") or is_json:
        raise _page(response.read1(_CHUNK), kind)
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise DownloadError(
            f"The server compressed the file ({names.one_line(encoding)[:40]}), which "
            "was not asked for."
        )


def _page(data, kind):
    text = data.decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
    shown = names.one_line(" ".join((title[1] if title else text).split()))[:120]
    return DownloadError(
        f"The server sent a page ({kind}) instead of the file: {shown!r}. A login, a "
        "proxy or a confirmation may be needed."
    )


def _check_size(response, file, part, begin, max_bytes):
    """Checks the sizes that a response states, and begins a whole file."""
    length = response.headers.get("Content-Length", "")
    num_bytes = begin + int(length) if length.isdecimal() else None
    if num_bytes is not None:
        if num_bytes > max_bytes:
            raise _too_large(num_bytes, max_bytes)
        if file.num_bytes is not None and num_bytes != file.num_bytes:
            part.remove()
            raise DownloadError(
                f"The server's file has {num_bytes:,} bytes, expected "
                f"{file.num_bytes:,}: it has been replaced."
            )
        free = shutil.disk_usage(part.path.parent).free
        if num_bytes - begin > free:
            raise OSError(errno.ENOSPC, f"{num_bytes - begin:,} bytes are needed")
    if not begin:
        part.begin(file.url, _validator(response), num_bytes)


def _too_large(num_bytes, max_bytes):
    return DownloadError(
        f"It has {num_bytes:,} bytes or more, and at most {max_bytes:,} are expected."
    )


def _copy(response, file, part, begin, max_bytes):
    """Appends the bytes of a response to a part."""
    position, total = begin, part.num_bytes
    bar = None
    if total is None or total >= _SHOWN_BYTES:
        text = file_name(file.url)
        bar = progress.track(total, unit="B", text=text, initial=begin, scale=True)
    try:
        with open(part.path, "ab") as target:
            while data := _read(response):
                if position == 0 and re.match(rb"\s*<(!doctype|html)", data, re.I):
                    raise _page(data, "HTML")
                position += len(data)
                if position > max_bytes:
                    part.remove()
                    raise _too_large(position, max_bytes)
                target.write(data)
                target.flush()  # A killed process loses nothing.
                if bar is not None:
                    bar.update(len(data))
    finally:
        if bar is not None:
            bar.close()
    if total is not None and position != total:
        raise DownloadError(
            f"The connection ended after {position:,} of {total:,} bytes.",
            is_temporary=True,
        )


def _read(response):
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise connections.interrupted(error) from error
