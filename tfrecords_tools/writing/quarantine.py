"""Runs the tasks of a build, even if an image crashes the process that reads it.

A broken file can crash a compiled decoder, which no exception reports, or keep it busy
for hours, for which its process is killed. The task that was reading such a pair runs
again in a separate process. If that ends too, the pair is bad.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from tfrecords_tools.writing import journal, tasks, workers

_TRIES = 2


def run(
    to_do: list[tasks.Task], *, num_workers: int = 0, advance: Callable[[int], object]
) -> Iterator[journal.Finished]:
    """Yields the files as they are finished.

    Args:
        to_do: Tasks of a build.
        num_workers: Number of processes. With 0, tasks run in this process, which has
            no limits of time and memory, and which a crash ends.
        advance: Called with the number of images processed, see `workers.run`.

    Raises:
        WorkerDiedError: A process died, but not at a pair.
        BuildError: A pair is bad.
        WriteError: A file could not be written.
    """
    waiting = {task.path.name: task for task in to_do}
    suspects: list[str] = []  # Names of the files that are written one at a time.
    deaths: collections.Counter = collections.Counter()  # By file and pair.
    while waiting:
        batch = [waiting[name] for name in suspects[:1]] or list(waiting.values())
        try:
            for done in workers.run(
                tasks.write_shard,
                batch,
                num_workers=num_workers,
                advance=advance,
                num_bytes=batch[0].num_bytes,
            ):
                del waiting[done.shard.name]
                yield done
            suspects = suspects[1:]
        except workers.WorkerDiedError:
            current = _current_pairs(batch)
            if not current:
                raise
            for name, i in current.items():
                deaths[name, i] += 1
                if deaths[name, i] >= _TRIES and len(batch) == 1:
                    deadly = (*waiting[name].deadly, i)
                    waiting[name] = dataclasses.replace(waiting[name], deadly=deadly)
            suspects += [name for name in current if name not in suspects]


def _current_pairs(batch):
    """Returns the index of the pair that each task was reading, by file."""
    texts = {}
    for task in batch:
        with contextlib.suppress(FileNotFoundError):
            texts[task.path.name] = task.note.read_text()
        journal.sweep(task.path.parent, task.path.name)
    return {name: int(text) for name, text in texts.items() if text}
