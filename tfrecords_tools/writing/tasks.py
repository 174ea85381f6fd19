"""The task of a worker: writing one file of records from its pairs."""

import contextlib
import dataclasses
import errno
import os
import pathlib
import shutil
from collections.abc import Callable

import cv2

from kerasseg import datasets, images, records
from kerasseg.system import limits
from tfrecords_tools.converters import pairs, registry
from tfrecords_tools.writing import encoding, journal, planning, workers


class WriteError(OSError):
    """A file that could not be written; if the disk is full, with the space needed."""


_DEADLY = (
    "it crashed the process that read it, twice, or took more than {:.0f} seconds of "
    "processor time. Its files break a decoder, or have far too many details"
)
BAD = (ValueError, OSError, MemoryError, ArithmeticError, RecursionError, cv2.error)
_BASE_BYTES, _BYTES_PER_PIXEL = 1 << 30, 40  # Finding the nearest colors takes most.
_BASE_SECONDS, _SECONDS_PER_PIXEL = 60.0, 1e-6


def limit_bytes(max_pixels: int) -> int:
    """Returns the memory that a process may take to read a pair."""
    return _BASE_BYTES + _BYTES_PER_PIXEL * max_pixels


def limit_seconds(max_pixels: int) -> float:
    """Returns the processor time that a process may take to read a pair."""
    return _BASE_SECONDS + _SECONDS_PER_PIXEL * max_pixels


def deadly(max_pixels: int) -> str:
    """Returns why a pair is bad whose reading ended the process."""
    return _DEADLY.format(limit_seconds(max_pixels))


def reason(error: Exception, max_pixels: int) -> str:
    """Returns why a pair is bad, from an error of one of the types `BAD`."""
    if isinstance(error, MemoryError):
        return f"reading it takes more than {limit_bytes(max_pixels):,} bytes of memory"
    return str(error)


@dataclasses.dataclass(frozen=True)
class Task:
    """One file to write.

    Attributes:
        spec: Spec of the data set.
        split: Name of the split.
        path: The file of records.
        pairs: Its pairs, in order.
        stats: Stats of their files when the build was planned, see `planning.Plan`.
        rules: How images and labels are read.
        skip_bad: Whether to skip bad pairs instead of stopping.
        deadly: Indices of pairs that are bad because they crash the process that reads
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
        """The file that holds the index of the current pair while the task runs."""
        return self.path.with_name(f".{self.path.name}.at.tmp-0")

    @property
    def num_bytes(self) -> int:
        """Memory that a process may take to read a pair."""
        return limit_bytes(self.rules.max_pixels)

    @property
    def seconds(self) -> float:
        """Processor time that a process may take to read a pair."""
        return limit_seconds(self.rules.max_pixels)


def write_shard(task: Task, advance: Callable[[], object]) -> journal.Finished:
    """Checks and encodes the pairs of a task, and writes them as one file.

    Args:
        task: The task.
        advance: Called after each pair.

    Raises:
        BuildError: A pair is bad, and bad pairs are not skipped.
        WriteError: The disk is full, or the file cannot be written.
    """
    rejected: list[dict] = []
    try:
        shard = records.write_shard(task.path, _serialized(task, rejected, advance))
    except OSError as error:
        raise write_error(task.path, error, _num_source_bytes(task)) from error
    return journal.Finished(shard, tuple(rejected))


@contextlib.contextmanager
def _note_current(task):
    """Yields a function that notes the index of a pair before it is read.

    The note remains only if the process dies.
    """
    descriptor = os.open(task.note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        yield lambda i: os.pwrite(descriptor, b"%08d" % i, 0)
    finally:
        os.close(descriptor)
        task.note.unlink()


def _serialized(task, rejected, advance):
    converter = registry.converter(task.spec.name)
    read_pair = getattr(converter, "read_pair", pairs.read_files)
    with _note_current(task) as note:
        for i in range(len(task.pairs)):
            note(i)
            with _limited(task):
                encoded = list(_encode(task, i, read_pair, rejected))
            yield from encoded
            advance()


def _limited(task):
    """Limits the time to read a pair, unless the whole program would end."""
    if workers.is_worker():
        return limits.limit_seconds(task.seconds)
    return contextlib.nullcontext()


def _encode(task, i, read_pair, rejected):
    """Yields the record of a pair, or nothing if the pair is skipped."""
    pair, why, data = task.pairs[i], "", b""
    try:
        if i in task.deadly:
            raise images.ImageError(deadly(task.rules.max_pixels))
        encoding.check_size(pair, task.rules)
        data = encoding.encode_pair(pair, read_pair(pair), task.spec, task.rules)
    except BAD as error:
        why = reason(error, task.rules.max_pixels)
    _check_unchanged(task, pair)
    if not why:
        yield data
    elif task.skip_bad:
        files = {"name": pair.name, "image": pair.image, "label": pair.label}
        rejected.append({"split": task.split, **files, "reason": why})
    else:
        raise planning.BuildError(
            f"Split '{task.split}', pair '{pair.name}' is bad: {why.rstrip('.')}. "
            "Correct it and run the same command again, or skip bad pairs with "
            "`on_error=skip`."
        )


def _check_unchanged(task, pair):
    """Checks after reading that the files are those that were planned."""
    changed = [x for x in pair.files if planning.stat_file(x) != task.stats[x]]
    if changed:
        raise planning.BuildError(
            f"Split '{task.split}', pair '{pair.name}': {', '.join(changed)} changed "
            "while the records were built. Do not change the source, and run the same "
            "command again."
        )


def _num_source_bytes(task):
    files = {file for pair in task.pairs for file in pair.files}
    return sum(planning.stat_file(file)[0] for file in files)


def write_error(path: pathlib.Path, error: OSError, num_bytes: int = 0) -> WriteError:
    """Returns the error of a file that could not be written.

    Args:
        path: The file.
        error: The error of the system.
        num_bytes: Bytes that the file needs.
    """
    what = f"{path} could not be written ({error.strerror})"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return WriteError(
            error.errno,
            f"{what}. Finished files are kept. Give a writable folder, or repair this "
            "one, and run the same command again.",
        )
    folder = next(parent for parent in path.parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    return WriteError(
        error.errno,
        f"{what}: it needs about {num_bytes:,} bytes, {free:,} are free there. "
        "Finished files are kept. Free some space and run the same command again.",
    )
