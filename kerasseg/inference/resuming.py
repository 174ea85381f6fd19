"""Resuming a prediction: which results of an earlier run are still valid."""

import dataclasses
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Iterable, Mapping

from kerasseg import errors
from kerasseg.inference import outputs
from kerasseg.inference.inputs import is_video
from kerasseg.system import files
from kerasseg.workdir import layout

_SETTINGS = "predict.json"
_JOURNAL = ".predict.jsonl"


def fingerprint(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a network's files.

    Args:
        path: A workdir, whose best model and its thresholds count; a `.keras` file; or
            the folder of an export.
    """
    path = pathlib.Path(path)
    best = path / layout.BEST_MODEL
    of_run = [best, path / layout.THRESHOLDS]  # Without the second, if there is none.
    paths = of_run if best.exists() else sorted(path.rglob("*")) or [path]
    digest = hashlib.sha256()
    for file in paths:
        if file.is_file():
            digest.update(os.fsencode(file.name))
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def claim(output_dir: str | os.PathLike, settings: dict, *, overwrite: bool) -> bool:
    """Writes the settings of a prediction into the folder of its results.

    Args:
        output_dir: The folder.
        settings: Everything that the results depend on, as JSON values.
        overwrite: Whether results of other settings may be replaced.

    Returns:
        Whether the folder holds results of the same settings that can be kept.

    Raises:
        errors.UserError: It holds results of other settings, and `overwrite` is false.
    """
    path = pathlib.Path(output_dir, _SETTINGS)
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    earlier = files.read_text(path) if path.exists() else None
    if earlier == text:
        return not overwrite
    if earlier is not None and not overwrite:
        raise errors.UserError(
            f"{output_dir} holds results of another network or other settings, see "
            f"{path}. Give another `output_dir`, or `overwrite` to replace them."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, text.encode())
    return False


def is_done(
    output_dir: str | os.PathLike,
    name: str,
    source: pathlib.Path,
    kinds: Iterable[str],
) -> bool:
    """Returns whether every result is up to date, in a folder without a journal.

    A result must not be empty, and newer than its source, and than the settings that
    `claim` wrote, because the folder may still hold results of another network.

    Args:
        output_dir: Folder of the results.
        name: Name of the result, see `inputs.find_images`.
        source: The image or video.
        kinds: Keys of `outputs.KINDS`.
    """
    try:
        settings = pathlib.Path(output_dir, _SETTINGS)
        changed = max(path.stat().st_mtime for path in (source, settings))
        paths = _paths(output_dir, name, source, kinds).values()
        return all(p.stat().st_mtime >= changed and _size(p) > 0 for p in paths)
    except OSError:
        return False


def _paths(output_dir, name, source, kinds):
    paths = outputs.video_paths if is_video(source) else outputs.paths
    return paths(output_dir, name, kinds)


def _size(path):
    """Returns the bytes of a file, or of a folder's files; 0 if one is empty."""
    if not path.is_dir():
        return path.stat().st_size
    sizes = [each.stat().st_size for each in path.iterdir()]
    return sum(sizes) if all(sizes) else 0


@dataclasses.dataclass(frozen=True)
class Source:
    """What identifies the content of a source without reading it.

    Attributes:
        size: Bytes.
        modified: Time of the last change, in nanoseconds.
    """

    size: int
    modified: int


def source(path: str | os.PathLike) -> Source | None:
    """Returns the state of an image or video; None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Source(status.st_size, status.st_mtime_ns)


class Journal:
    """The results that were completed in a folder, by which network and settings.

    Each line of the file holds the name of a result, the checksum of the settings, the
    source, and the size of each result. The last line of a name counts. Lines that a
    crash has damaged are skipped.

    Args:
        output_dir: Folder of the results, which `claim` has claimed.
    """

    def __init__(self, output_dir: str | os.PathLike):
        self._output_dir = output_dir
        self._path = pathlib.Path(output_dir, _JOURNAL)
        settings = pathlib.Path(output_dir, _SETTINGS).read_bytes()
        self._settings = hashlib.sha256(settings).hexdigest()
        self._lock = threading.Lock()
        self._entries = self._read()

    def _read(self) -> dict[str, dict]:
        if not self._path.exists():
            return {}
        entries = {}
        for line in files.read_bytes(self._path).splitlines():
            try:
                entry = json.loads(line)
                entries[entry["name"]] = {**entry, "results": {**entry["results"]}}
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return entries

    def adopt(self, paths: Mapping[str, pathlib.Path], kinds: Iterable[str]) -> None:
        """Adds the results of a version that kept no journal, see `is_done`.

        Does nothing where there is a journal.

        Args:
            paths: Images and videos by name.
            kinds: Keys of `outputs.KINDS`.
        """
        if self._path.exists():
            return
        lines = [
            self._line(name, path, source(path), kinds)
            for name, path in paths.items()
            if is_done(self._output_dir, name, path, kinds)
        ]
        files.write_bytes(self._path, b"".join(lines))

    def is_done(self, name: str, path: pathlib.Path, kinds: Iterable[str]) -> bool:
        """Returns whether every result is complete and up to date.

        Args:
            name: Name of the result, see `inputs.find_images`.
            path: The image or video.
            kinds: Keys of `outputs.KINDS`.
        """
        found = source(path)
        entry = self._entries.get(name, {})
        if found is None or not self._is_current(entry, found):
            return False
        try:
            return all(
                0 < _size(result) == entry["results"].get(kind)
                for kind, result in _paths(self._output_dir, name, path, kinds).items()
            )
        except OSError:
            return False

    def add(
        self,
        name: str,
        path: pathlib.Path,
        found: Source | None,
        kinds: Iterable[str],
    ) -> None:
        """Adds an entry for the results of a source; missing results do not count.

        Args:
            name: Name of the result.
            path: The image or video.
            found: Its state when it was read.
            kinds: Keys of `outputs.KINDS`.

        Raises:
            OSError: The journal cannot be written.
        """
        with self._lock, open(self._path, "ab") as file:
            file.write(self._line(name, path, found, kinds))

    def _is_current(self, entry, found):
        expected = self._settings, dataclasses.asdict(found) if found else None
        return (entry.get("settings"), entry.get("source")) == expected

    def _line(self, name, path, found, kinds) -> bytes:
        """Makes an entry, which keeps other kinds of the same source, and its line."""
        earlier = self._entries.get(name, {})
        results = dict(earlier["results"]) if self._is_current(earlier, found) else {}
        for kind, result in _paths(self._output_dir, name, path, kinds).items():
            results[kind] = _size(result) if result.exists() else 0
        entry = {
            "name": name,
            "settings": self._settings,
            "source": dataclasses.asdict(found) if found else None,
            "results": results,
        }
        self._entries[name] = entry
        # The line feed is first: the line before may have been cut off by a crash.
        return b"\n" + json.dumps(entry).encode()
