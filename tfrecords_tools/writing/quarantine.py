"""Runs the tasks of a build, also where a picture ends the process that reads it.

What broken files do to a compiled decoder, no error can catch. The task that was at
such a pair is run again in a process of its own; where that ends too, the pair is bad.
"""

import collections
import collections.abc
import contextlib
import dataclasses

from tfrecords_tools.writing import journal, tasks, workers

_TRIES = 2


def run(
    to_do: list[tasks.Task], *, num_workers: int = 1, advance
) -> collections.abc.Iterator[journal.Finished]:
    """Yields the files as they are finished.

    Args:
        to_do: Tasks of a build.
        num_workers: Processes; 1 stays in this one, and ends with it.
        advance: See `workers.run`.

    Raises:
        WorkerDiedError: A process died, and not at a pair.
        BuildError: A pair is bad.
        WriteError: A file could not be written.
    """
    waiting = {task.path.name: task for task in to_do}
    suspects: list[str] = []  # Names of the files that are written alone.
    deaths: collections.Counter = collections.Counter()  # By file and pair.
    while waiting:
        batch = [waiting[name] for name in suspects[:1]] or list(waiting.values())
        try:
            for done in workers.run(
                tasks.write_shard, batch, num_workers=num_workers, advance=advance
            ):
                del waiting[done.shard.name]
                yield done
            suspects = suspects[1:]
        except workers.WorkerDiedError:
            found = _pairs_at(batch)
            if not found:
                raise
            for name, i in found.items():
                deaths[name, i] += 1
                if deaths[name, i] >= _TRIES and len(batch) == 1:
                    deadly = (*waiting[name].deadly, i)
                    waiting[name] = dataclasses.replace(waiting[name], deadly=deadly)
            suspects += [name for name in found if name not in suspects]


def _pairs_at(batch):
    """Numbers of the pairs that tasks were at when a process died, by file."""
    found = {}
    for task in batch:
        with contextlib.suppress(FileNotFoundError):
            found[task.path.name] = task.note.read_text()
        journal.sweep(task.path.parent, task.path.name)
    return {name: int(text) for name, text in found.items() if text}
