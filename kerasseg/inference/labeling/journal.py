"""Scores of images that were computed in a folder, so that a run can be resumed."""

import dataclasses
import hashlib
import json
import math
import os
import pathlib

from kerasseg.inference import resuming
from kerasseg.system import files

_FILE = ".label_next.jsonl"


@dataclasses.dataclass(frozen=True)
class Scored:
    """An image's score and features.

    Attributes:
        score: Mean of the uncertainty over all pixels.
        features: See `scores.features`.
    """

    score: float
    features: list[float]


class Journal:
    """Scores by name; each line of its file holds one, with the state of its image.

    Lines of other settings, and lines that a crash has damaged, are skipped.

    Args:
        output_dir: The folder.
        settings: Everything that the scores depend on, as JSON values.
    """

    def __init__(self, output_dir: str | os.PathLike, settings: dict):
        self._path = pathlib.Path(output_dir, _FILE)
        text = json.dumps(settings, sort_keys=True)
        self._settings = hashlib.sha256(text.encode()).hexdigest()
        self._entries = self._read() if self._path.exists() else {}

    def _read(self):
        entries = {}
        for line in files.read_bytes(self._path).splitlines():
            try:
                entry = json.loads(line)
                if entry["settings"] == self._settings:
                    values = [float(value) for value in entry["features"]]
                    found = Scored(float(entry["score"]), values)
                    if math.isfinite(sum(values, found.score)):
                        entries[entry["name"]] = (entry["source"], found)
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return entries

    def find(self, name: str, path: pathlib.Path) -> Scored | None:
        """Returns the score of an image; None if there is none, or it has changed."""
        source = resuming.source(path)
        state, scored = self._entries.get(name, (None, None))
        is_current = source is not None and state == dataclasses.asdict(source)
        return scored if is_current else None

    def add(self, name: str, source: resuming.Source | None, scored: Scored) -> None:
        """Adds the score of an image in the state that was read.

        Raises:
            OSError: The journal cannot be written.
        """
        state = dataclasses.asdict(source) if source else None
        entry = {"name": name, "settings": self._settings, "source": state}
        entry |= dataclasses.asdict(scored)
        with open(self._path, "ab") as file:
            # The line feed is first: the line before may have been cut off by a crash.
            file.write(b"\n" + json.dumps(entry).encode())
        self._entries[name] = (state, scored)
