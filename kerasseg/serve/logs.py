"""A limit for log messages, which clients can cause at any rate."""

import logging
import threading
import time

_MOST, _SECONDS = 10, 60.0


class RateLimit(logging.Filter):
    """Passes a few messages of each place in the code per minute.

    The first message of the next minute states how many were dropped.

    Args:
        most: Maximum number of messages of one place.
        seconds: Time in which they are counted.
    """

    def __init__(self, most: int = _MOST, seconds: float = _SECONDS):
        super().__init__()
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], list] = {}  # Start and number.

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record is logged."""
        place = record.pathname, record.lineno
        now = time.monotonic()
        with self._lock:
            began, count = self._counts.get(place, (now, 0))
            dropped = 0
            if now - began >= self._seconds:
                dropped, began, count = max(0, count - self._most), now, 0
            self._counts[place] = [began, count + 1]
        if dropped:
            record.msg = f"{record.getMessage()} ({dropped} like this were dropped)"
            record.args = ()
        return count < self._most


def limit() -> None:
    """Limits the messages of all loggers of this program."""
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler and not any(isinstance(f, RateLimit) for f in handler.filters):
            handler.addFilter(RateLimit())
