"""Says which file is waited for, so that no disk or network stalls without a word."""

import contextlib
import itertools
import logging
import os
import threading
import time

SECONDS = 30  # Of waiting for one file until that is said, and said again.


class _Watch:
    """A thread that looks at what others wait for, and ends when that is nothing."""

    def __init__(self):
        self.waiting: dict[int, list] = {}  # [where, start, times that it was said]
        self.numbers = itertools.count()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def start(self):
        """Starts the thread if it does not run."""
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, daemon=True)
                self.thread.start()

    def _run(self):
        last = time.monotonic()
        while True:
            time.sleep(SECONDS / 4)
            now = time.monotonic()
            waiting = list(self.waiting.values())
            with self.lock:
                if not waiting and now - last > SECONDS:
                    self.thread = None
                    return
            last = now if waiting else last
            for entry in waiting:
                where, start, said = entry
                if now - start > SECONDS * (said + 1):
                    entry[2] = int((now - start) / SECONDS)
                    _say(where, now - start)


def _say(where, seconds):
    logging.warning(
        "Nothing has come of %s for %.0f seconds: is its disk or network there?",
        where,
        seconds,
    )


_watch = _Watch()


def _forget():
    """A forked process has neither the thread nor what others waited for."""
    global _watch
    _watch = _Watch()


os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def reading(where: str | os.PathLike):
    """Watches what is read in a block.

    Args:
        where: What the warning calls it.
    """
    watch, number = _watch, next(_watch.numbers)
    watch.waiting[number] = [where, time.monotonic(), 0]
    if watch.thread is None:
        watch.start()
    try:
        yield
    finally:
        del watch.waiting[number]
