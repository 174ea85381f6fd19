"""The signals that came to a process: the first one asks, the second one insists."""

import math
import signal
import time

_ONE_SECONDS = 0.5


def asked_by() -> list[int]:
    """Lists the signals that ask a program to end.

    They are those of Ctrl-C, of the system, and of a terminal that closes; `nohup` has
    the last one ignored, which it stays.
    """
    hears = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hears else [])]


class Received:
    """Tells the second signal from the first.

    `timeout` sends a signal to its program and once more to the program's group, so
    the same number within half a second of the first is still the first.

    Attributes:
        number: Of the first signal, None before it.
    """

    def __init__(self):
        self.number: int | None = None
        self._came = -math.inf

    def insists(self, number: int) -> bool:
        """Notes a signal; returns whether another one came before it."""
        now = time.monotonic()
        if self.number is None:
            self.number, self._came = number, now
            return False
        return number != self.number or now - self._came > _ONE_SECONDS
