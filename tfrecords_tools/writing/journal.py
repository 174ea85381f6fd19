"""shards.jsonl: which files of a build are finished, so that a killed one goes on.

A line of a plan says how many files it makes, a line of a shard that one is whole. A
line that was cut by a kill is left out.
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
NOTES_PREFIX = ".notes-"  # Of a folder that an engine keeps while it runs.
_TEMPORARY = re.compile(r"\..+\.tmp-\d+")


@dataclasses.dataclass(frozen=True)
class Finished:
    """One file that was written.

    Attributes:
        shard: What it holds.
        rejected: The pairs that were left out: dicts of texts.
    """

    shard: records.Shard
    rejected: tuple[dict, ...] = ()


class Journal:
    """The journal of one folder."""

    def __init__(self, folder: pathlib.Path):
        self._path = folder / JOURNAL_FILE
        self._lines = _read_lines(self._path)

    def known_files(self) -> set[str]:
        """Names of all files that builds of this folder have begun."""
        plans = [line for line in self._lines if "num_shards" in line]
        return {
            records.shard_name(line["split"], i, line["num_shards"])
            for line in plans
            for i in range(line["num_shards"])
        }

    def begin(self, plan: planning.Plan) -> None:
        """Notes a plan before its first file is written."""
        line = {"key": plan.key, "split": plan.split, "num_shards": len(plan.shards)}
        if line not in self._lines:
            self._append(line)

    def note(self, plan: planning.Plan, finished: Finished) -> None:
        """Notes a finished file."""
        shard = dataclasses.asdict(finished.shard)
        rejected = list(finished.rejected)
        self._append({"key": plan.key, "shard": shard, "rejected": rejected})

    def finished(self, plan: planning.Plan) -> dict[str, Finished]:
        """Files of a plan that are noted and still what they were, by name."""
        found = {
            line["shard"]["name"]: Finished(
                records.Shard(**line["shard"]), tuple(line["rejected"])
            )
            for line in self._lines
            if line["key"] == plan.key and "shard" in line
        }
        folder = self._path.parent
        return {
            name: done for name, done in found.items() if _is_whole(folder, done.shard)
        }

    def _append(self, line):
        self._lines.append(line)
        with open(self._path, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _read_lines(path):
    """Reads the whole lines, and cuts off a line that was not finished."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    try:
        return [json.loads(line) for line in data[:whole].splitlines()]
    except ValueError as error:
        raise planning.BuildError(
            f"{path} is damaged ({error}). Remove the file to build from the start"
        ) from error


def _is_whole(folder, shard):
    path = folder / shard.name
    if not path.is_file() or path.stat().st_size != shard.bytes:
        return False
    return records.file_checksum(path) == shard.crc32c


def sweep(folder: pathlib.Path, name: str = "") -> None:
    """Removes the unfinished files and the notes that a killed build left.

    Args:
        folder: Of the build.
        name: Of the only file whose build is dead; by default all are, an engine too.
    """
    if not name:
        for notes in folder.glob(f"{NOTES_PREFIX}*"):
            shutil.rmtree(notes)
    for path in folder.glob(f".{name}*.tmp-*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)
