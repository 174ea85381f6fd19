"""shards.jsonl: the finished files of a build, from which a killed build resumes.

A line of a plan holds its number of files, a line of a shard marks it as finished. A
line that a kill truncated is removed.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil

from kerasseg import records
from tfrecords_tools.writing import planning

JOURNAL_FILE = "shards.jsonl"
NOTES_PREFIX = ".notes-"  # Of a folder that an engine uses while it runs.
_TEMPORARY = re.compile(r"\..+\.tmp-\d+")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A file that was written.

    Attributes:
        shard: Its name, size and checksum.
        rejected: The pairs that were skipped, as dicts of strings.
    """

    shard: records.Shard
    rejected: tuple[dict, ...] = ()


class Journal:
    """The journal of a folder.

    Args:
        folder: Folder of the records.

    Raises:
        BuildError: The journal is damaged.
    """

    def __init__(self, folder: pathlib.Path):
        self._path = folder / JOURNAL_FILE
        self._lines = _read_lines(self._path)

    def known_files(self) -> set[str]:
        """Returns the names of all files that builds of this folder have started."""
        plans = [line for line in self._lines if "num_shards" in line]
        return {
            records.shard_name(line["split"], i, line["num_shards"])
            for line in plans
            for i in range(line["num_shards"])
        }

    def begin(self, plan: planning.Plan) -> None:
        """Adds a plan, before its first file is written."""
        line = {"key": plan.key, "split": plan.split, "num_shards": len(plan.shards)}
        if line not in self._lines:
            self._append(line)

    def note(self, plan: planning.Plan, finished: Finished) -> None:
        """Adds a finished file."""
        shard = dataclasses.asdict(finished.shard)
        rejected = list(finished.rejected)
        self._append({"key": plan.key, "shard": shard, "rejected": rejected})

    def finished(self, plan: planning.Plan) -> dict[str, Finished]:
        """Returns the finished files of a plan that are unchanged, by name."""
        listed = {
            line["shard"]["name"]: Finished(
                records.Shard(**line["shard"]), tuple(line["rejected"])
            )
            for line in self._lines
            if line["key"] == plan.key and "shard" in line
        }
        folder = self._path.parent
        return {
            name: done
            for name, done in listed.items()
            if _is_unchanged(folder, done.shard)
        }

    def _append(self, line):
        self._lines.append(line)
        with open(self._path, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _read_lines(path):
    """Reads the complete lines, and truncates the file after them."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.truncate(path, end)
    return read_json_lines(data[:end], path)


def read_json_lines(data: bytes, path: pathlib.Path) -> list[dict]:
    """Reads a JSON object per line.

    Args:
        data: Contents of a file.
        path: Its path, for error messages.

    Raises:
        BuildError: A line is something else.
    """
    try:
        lines = [json.loads(line) for line in data.splitlines()]
        if not all(isinstance(line, dict) for line in lines):
            raise ValueError("a line is not an object")
    except ValueError as error:
        raise planning.BuildError(
            f"{path} is damaged ({error}). Remove the file to build from the start."
        ) from error
    return lines


def _is_unchanged(folder, shard):
    path = folder / shard.name
    if not path.is_file() or path.stat().st_size != shard.bytes:
        return False
    return records.file_checksum(path) == shard.crc32c


def sweep(folder: pathlib.Path, name: str = "") -> None:
    """Removes unfinished files and notes that a killed build left.

    Args:
        folder: Folder of the build.
        name: Name of the only file to clean up after. By default all files and the
            notes of engines are removed.
    """
    if not name:
        for notes in folder.glob(f"{NOTES_PREFIX}*"):
            shutil.rmtree(notes)
    for path in folder.glob(f".{name}*.tmp-*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)
