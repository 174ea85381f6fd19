"""Runs the tasks of a build in several processes, with a common count of images."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from multiprocessing import connection
from typing import Any

from kerasseg.system import limits
from tfrecords_tools.writing import planning

_POLL_SECONDS = 0.2
_counter: Any = None  # In a worker: images processed by all workers.


class WorkerDiedError(planning.BuildError):
    """A process that ended in the middle of its task."""


def run(
    function: Callable[[Any, Callable[[], object]], Any],
    tasks: Sequence,
    *,
    num_workers: int,
    advance: Callable[[int], object],
    num_bytes: int | None = None,
) -> Iterator:
    """Calls `function(task, advance)` for each task and yields the results.

    Args:
        function: A function of a module. It calls its `advance()` after each image.
        tasks: Picklable arguments.
        num_workers: Number of processes, at most one per task. With 0, tasks run in
            this process.
        advance: Called here with the number of images processed since the last call.
        num_bytes: Memory that a process may use beyond its libraries; None: no limit.

    Raises:
        WorkerDiedError: A worker died.
    """
    if num_workers < 1:
        for task in tasks:
            yield function(task, lambda: advance(1))
        return
    # Not "fork": this process may have threads of TensorFlow.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    counter = context.Value("q", 0)
    pool = futures.ProcessPoolExecutor(
        min(num_workers, len(tasks)), context, _start_worker, (counter, num_bytes)
    )
    try:
        yield from _results(pool, function, tasks, counter, advance)
    except futures.process.BrokenProcessPool as error:
        raise WorkerDiedError(
            "A worker process died, perhaps because memory ran out. Finished files are "
            "kept. Run the same command again with fewer `workers`."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _results(pool, function, tasks, counter, advance):
    waiting = {pool.submit(_run_task, function, task) for task in tasks}
    num_reported = 0
    while waiting:
        done, waiting = futures.wait(waiting, _POLL_SECONDS, futures.FIRST_COMPLETED)
        num_done = counter.value
        advance(num_done - num_reported)
        num_reported = num_done
        for future in done:
            error = future.exception()
            if error:
                raise error
            yield future.result()


def _run_task(function, task):
    return function(task, _advance)


def _advance():
    with _counter.get_lock():
        _counter.value += 1


def is_worker() -> bool:
    """Returns whether this process is one that `run` started."""
    return _counter is not None


def _start_worker(counter, num_bytes):
    """Counts into `counter`, leaves Ctrl-C to the parent, and ends when it ends."""
    global _counter
    _counter = counter
    if num_bytes is not None:
        limits.limit_memory(num_bytes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)
