"""The task of one worker: one file of records, from its pairs alone."""

import contextlib
import dataclasses
import errno
import os
import pathlib
import shutil

from kerasseg import datasets, images, records
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import encoding, journal, planning


class WriteError(OSError):
    """A file that could not be written; the text says what is needed and free."""


_DEADLY = "it ended the process that read it, twice: a decoder breaks on its files"


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
        deadly: Numbers of the pairs that are bad since they end the process that reads
            them.
    """

    spec: datasets.DatasetSpec
    split: str
    path: pathlib.Path
    pairs: tuple[pairs.Pair, ...]
    stats: dict[str, tuple[int, int]]
    rules: encoding.Rules
    skip_bad: bool
    deadly: tuple[int, ...] = ()

    @property
    def note(self) -> pathlib.Path:
        """The file that says, while the task runs, at which pair it is."""
        return self.path.with_name(f".{self.path.name}.at.tmp-0")


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


@contextlib.contextmanager
def _noting(task):
    """Gives a function that notes the number of a pair before it is read.

    Only a process that dies leaves the note behind.
    """
    descriptor = os.open(task.note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        yield lambda i: os.pwrite(descriptor, b"%08d" % i, 0)
    finally:
        os.close(descriptor)
        task.note.unlink()


def _serialized(task, rejected, advance):
    converter = pairs.converter(task.spec.name)
    read_pair = getattr(converter, "read_pair", pairs.read_files)
    with _noting(task) as note:
        for i in range(len(task.pairs)):
            note(i)
            yield from _checked(task, i, read_pair, rejected)
            advance()


def _checked(task, i, read_pair, rejected):
    """Yields the record of a pair, or nothing where it is left out."""
    pair, reason, data = task.pairs[i], "", b""
    try:
        if i in task.deadly:
            raise images.ImageError(_DEADLY)
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
            f"Split '{task.split}', pair '{pair.name}' is bad: {reason}. Correct it "
            "and run the same command again, or leave bad pairs out with "
            "`on_error=skip`"
        )


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
    what = f"{path} could not be written ({error.strerror})"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return WriteError(
            error.errno,
            f"{what}. Finished files are kept. Give a folder that can be written to, "
            "or mend this one, and run the same command again",
        )
    folder = next(parent for parent in path.parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    return WriteError(
        error.errno,
        f"{what}: it needs about {num_bytes:,} bytes, {free:,} are free there. "
        "Finished files are kept: make room and run the same command again",
    )
