"""Reads pairs in worker processes, with the limits of time and memory of a build.

A broken file can crash a compiled decoder, which no exception reports, or keep it busy
for hours. It is one bad pair then, and the program that asked goes on.
"""

import functools
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from kerasseg.system import limits, processes
from tfrecords_tools.writing import tasks

_TRIES = 2  # The system may have killed the process for the memory of another one.


class Outcome(NamedTuple):
    """What a call returned, or why it returned nothing.

    Attributes:
        value: The result; None if there is a fault.
        fault: Why the pair cannot be read, or "".
    """

    value: Any
    fault: str = ""


def call(function: Callable, arguments: tuple, max_pixels: int) -> Outcome:
    """Calls a function of a module in a worker process. Errors of a pair are faults.

    Args:
        function: The function, which can be pickled as its arguments and its result.
        arguments: Its arguments.
        max_pixels: Largest number of pixels of an image; the limits depend on it.
    """
    budget = _Budget(
        max_pixels, tasks.limit_bytes(max_pixels), tasks.limit_seconds(max_pixels)
    )
    for _ in range(_TRIES):
        try:
            return _workers()(function, arguments, budget, os.getcwd())
        except processes.WorkerDiedError as error:
            if error.status == -signal.SIGPROF:  # Its time was over.
                break
    return Outcome(None, tasks.deadly(max_pixels))


def call_all(
    function: Callable, items: Iterable[tuple], max_pixels: int
) -> Iterator[Outcome]:
    """Calls a function for each tuple of arguments, on all cores, in order."""

    def run(arguments):
        return call(function, arguments, max_pixels)

    yield from processes.in_order(run, items, num_threads=processes.num_cores())


class _Budget(NamedTuple):
    max_pixels: int
    num_bytes: int
    seconds: float


@functools.cache
def _workers():
    """Starts no process before the first call. They end with this program."""
    return processes.Processes(_run, processes.num_cores())


def _run(function, arguments, budget, folder):
    limits.limit_memory(budget.num_bytes)
    with limits.limit_seconds(budget.seconds):
        try:
            os.chdir(folder)  # Paths may be relative to it.
            return Outcome(function(*arguments))
        except tasks.BAD as error:
            return Outcome(None, tasks.reason(error, budget.max_pixels))
