"""The task of one worker: one file of records, from its pairs alone."""

import dataclasses
import pathlib
import shutil

from kerasseg import datasets, records
from tfrecords_tools import encoding, journal, pairs, planning


class WriteError(OSError):
    """A file that could not be written; the text says what is needed and free."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One file to write.

    Attributes:
        spec: Facts of the data set.
        split: Name of the split.
        path: The file of records.
        pairs: Its pairs, in order.
        stats: What the plan saw of their files, see `planning.Plan`.
        rules: What a pair must fulfil.
        skip_bad: Leave bad pairs out instead of stopping.
    """

    spec: datasets.DatasetSpec
    split: str
    path: pathlib.Path
    pairs: tuple[pairs.Pair, ...]
    stats: dict[str, tuple[int, int]]
    rules: encoding.Rules
    skip_bad: bool


def write_shard(task: Task, advance) -> journal.Finished:
    """Checks and packs the pairs of a task, and writes them as one file.

    Args:
        task: What to write.
        advance: Called after each pair.

    Raises:
        BuildError: A pair is bad and is not to be skipped.
        WriteError: The disk is full, or the file cannot be written.
    """
    rejected: list[dict] = []
    try:
        shard = records.write_shard(task.path, _serialized(task, rejected, advance))
    except OSError as error:
        raise write_error(task.path, error, _num_source_bytes(task)) from error
    return journal.Finished(shard, tuple(rejected))


def _serialized(task, rejected, advance):
    converter = pairs.converter(task.spec.name)
    read_pair = getattr(converter, "read_pair", pairs.read_files)
    for pair in task.pairs:
        reason, data = "", b""
        try:
            data = encoding.encode_pair(pair, read_pair(pair), task.spec, task.rules)
        except (ValueError, OSError) as error:
            reason = str(error)
        _refuse_changed(task, pair)
        if not reason:
            yield data
        elif task.skip_bad:
            facts = {"name": pair.name, "image": pair.image, "label": pair.label}
            rejected.append({"split": task.split, **facts, "reason": reason})
        else:
            raise planning.BuildError(
                f"Split '{task.split}', pair '{pair.name}' is bad: {reason}. Correct "
                "it and run the same command again, or leave bad pairs out with "
                "--on_error=skip"
            )
        advance()


def _refuse_changed(task, pair):
    """Looks after reading, so that what was read is what the plan saw."""
    changed = [x for x in pair.files if planning.stat_file(x) != task.stats[x]]
    if changed:
        raise planning.BuildError(
            f"Split '{task.split}', pair '{pair.name}': {', '.join(changed)} changed "
            "while the records were built. Leave the source alone and run the same "
            "command again"
        )


def _num_source_bytes(task):
    files = {file for pair in task.pairs for file in pair.files}
    return sum(planning.stat_file(file)[0] for file in files)


def write_error(path, error: OSError, num_bytes: int = 0) -> WriteError:
    """Explains why a file could not be written, with what is needed and free."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    return WriteError(
        error.errno,
        f"{path} could not be written ({error.strerror}): it needs about "
        f"{num_bytes:,} bytes, {free:,} are free there. Finished files are kept: make "
        "room and run the same command again",
    )
