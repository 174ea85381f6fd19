"""Writing the lines of the log, which must never stop or delay the server."""

import collections
import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable

_MAX_BYTES = 4 * 2**20  # Waiting for a slow disk or reader; further lines are dropped.
_STANDARD = (0, 1, 2)


class LineWriter:
    """Writes lines in a thread, so that only this thread waits.

    Lines are dropped, and counted, if they cannot be written, or too many are waiting.
    As soon as lines can be written again, one of them states how many were dropped.

    Args:
        descriptor: File descriptor that is written to; it is not closed.
        describe: Function of a number of dropped lines to the line that states it.
        max_bytes: Maximum number of bytes that wait.

    Attributes:
        num_dropped: Number of dropped lines.
    """

    def __init__(
        self,
        descriptor: int,
        describe: Callable[[int], str],
        *,
        max_bytes: int = _MAX_BYTES,
    ):
        self._descriptor, self._describe = descriptor, describe
        self._max_bytes = max_bytes
        self._lines: collections.deque[bytes] = collections.deque()
        self._num_bytes = 0
        self._changed = threading.Condition()
        self._closed = self._is_partial = False
        self.num_dropped = self._num_reported = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Adds a line, without its end; returns at once and raises nothing."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._closed or self._num_bytes + len(data) > self._max_bytes:
                self.num_dropped += 1
                return
            self._lines.append(data)
            self._num_bytes += len(data)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Waits until all lines are written, for a number of seconds at most."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                data = self._lines.popleft()
            written = self._write(data)
            with self._changed:
                self._num_bytes -= len(data)
                self.num_dropped += not written
                unreported = self.num_dropped - self._num_reported
            if written and unreported:
                line = self._describe(unreported).encode() + b"\n"
                self._num_reported += unreported if self._write(line) else 0

    def _write(self, data):
        """Returns whether a line was written completely."""
        rest = b"\n" + data if self._is_partial else data  # Ends the partial one.
        size = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # Another program has made it non-blocking.
                select.select([], [self._descriptor], [])
            except OSError:  # No space, no reader.
                self._is_partial = self._is_partial or len(rest) < size
                return False
        self._is_partial = False
        return True


def descriptors() -> tuple[int, int]:
    """Returns descriptors of standard output and standard error.

    Those that were closed when the program started are opened as the null device, like
    standard input. Otherwise, a connection could get their number, and the log would be
    sent to a client.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.dup2(null, number)
    found = (
        null if stream is None else number
        for number, stream in ((1, sys.__stdout__), (2, sys.__stderr__))
    )
    output, errors = found
    if null > max(_STANDARD) and null not in (output, errors):
        with contextlib.suppress(OSError):
            os.close(null)
    return output, errors
