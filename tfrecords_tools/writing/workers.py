"""Runs the tasks of a build in several processes, with one count of pictures done."""

import collections.abc
import multiprocessing
import os
import signal
import threading
import typing
from concurrent import futures
from multiprocessing import connection

from tfrecords_tools.writing import planning

_SECONDS_BETWEEN_LOOKS = 0.2
_counter: typing.Any = None  # In a worker: pictures done by all of them.


class WorkerDiedError(planning.BuildError):
    """A process that ended in the middle of its task."""


def run(function, tasks, *, num_workers: int, advance) -> collections.abc.Iterator:
    """Calls `function(task, advance)` for each task and yields what it returns.

    Args:
        function: A function of a module; it calls `advance()` after each picture.
        tasks: What can be sent to another process.
        num_workers: Processes, no more than there are tasks; 1 stays in this one.
        advance: Called here with the number of pictures done since the last call.

    Raises:
        WorkerDiedError: A worker died.
    """
    if num_workers <= 1:
        for task in tasks:
            yield function(task, lambda: advance(1))
        return
    # No fork of a process that may hold TensorFlow's threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    counter = context.Value("q", 0)
    pool = futures.ProcessPoolExecutor(
        min(num_workers, len(tasks)), context, _start_worker, (counter,)
    )
    try:
        yield from _results(pool, function, tasks, counter, advance)
    except futures.process.BrokenProcessPool as error:
        raise WorkerDiedError(
            "A worker process died, maybe killed for want of memory. Finished files "
            "are kept: run the same command again, with a smaller `workers`"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _results(pool, function, tasks, counter, advance):
    waiting = {pool.submit(_run_task, function, task) for task in tasks}
    num_seen = 0
    while waiting:
        done, waiting = futures.wait(
            waiting, _SECONDS_BETWEEN_LOOKS, futures.FIRST_COMPLETED
        )
        num_done = counter.value
        advance(num_done - num_seen)
        num_seen = num_done
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


def _start_worker(counter):
    """Counts into `counter`, leaves Ctrl-C to the parent and ends when it ends."""
    global _counter
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)
