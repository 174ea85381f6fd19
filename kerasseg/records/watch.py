"""Warns about reads that do not return, as when a disk or network stalls."""

import contextlib
import dataclasses
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator

SECONDS = 30  # Between the start of a read and the first warning, and the next ones.


@dataclasses.dataclass
class _Read:
    """A read in progress: its file, its start, and the number of warnings so far."""

    name: str | os.PathLike
    start: float
    warnings: int = 0


class _Watch:
    """A thread that watches the reads of other threads, and ends if there are none."""

    def __init__(self):
        self.reads: dict[int, _Read] = {}
        self.ids = itertools.count()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def start(self):
        """Starts the thread unless it is running."""
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, daemon=True)
                self.thread.start()

    def _run(self):
        last = time.monotonic()
        while True:
            time.sleep(SECONDS / 4)
            now = time.monotonic()
            reads = list(self.reads.values())
            with self.lock:
                if not reads and now - last > SECONDS:
                    self.thread = None
                    return
            last = now if reads else last
            for read in reads:
                seconds = now - read.start
                if seconds > SECONDS * (read.warnings + 1):
                    read.warnings = int(seconds / SECONDS)
                    logging.warning(
                        "Reading %s has returned nothing for %.0f seconds. Check that "
                        "its disk or network is available.",
                        read.name,
                        seconds,
                    )


_watch = _Watch()


def _forget():
    """A forked process has neither the thread nor the reads of its parent."""
    global _watch
    _watch = _Watch()


os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def reading(name: str | os.PathLike) -> Iterator[None]:
    """Watches a read for the duration of a block.

    Args:
        name: Name of the file in the warning.
    """
    watch, read_id = _watch, next(_watch.ids)
    watch.reads[read_id] = _Read(name, time.monotonic())
    if watch.thread is None:
        watch.start()
    try:
        yield
    finally:
        del watch.reads[read_id]
