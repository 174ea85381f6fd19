"""Signals that ask a process to end: the first asks, a second one demands it."""

import math
import signal
import time

# `timeout` sends its signal to its program and once more to the program's group.
_REPEAT_SECONDS = 0.5


def termination_signals() -> list[int]:
    """Returns the signals that ask a program to end.

    They are SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal closed) unless it is
    ignored, as under `nohup`.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return [int(number) for number in numbers]


class ReceivedSignals:
    """Distinguishes the first signal from a second one.

    The same signal within half a second counts once.

    Attributes:
        first: Number of the first signal, None before it.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._time = -math.inf

    def add(self, number: int) -> bool:
        """Adds a signal and returns whether it is a second one."""
        now = time.monotonic()
        if self.first is None:
            self.first, self._time = number, now
            return False
        return number != self.first or now - self._time > _REPEAT_SECONDS
