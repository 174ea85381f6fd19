"""How much is let in: requests being worked on, and bytes waiting for them."""

import contextlib
import math
import time

from kerasseg.serve.refusals import Refusal

_MAX_RETRY_SECONDS = 60
_MEMORY_OF_MEAN = 0.9  # Weight of what was known before the last request.


class Admission:
    """Lets in so many requests at once and no more: others are told when to return.

    Not for several threads: the loop of the server calls it.

    Args:
        max_requests: Requests inside at once.
        max_bytes: Bytes of bodies held at once, of requests inside and still arriving.
    """

    def __init__(self, max_requests: int, max_bytes: int):
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self.num_inside = self.num_bytes = 0
        self._mean_seconds = 0.0

    def check(self) -> None:
        """Raises `Refusal` if nobody would be let in now, before a body is read."""
        if self.num_inside >= self._max_requests:
            raise Refusal(
                503,
                f"The server is busy with {self.num_inside} requests, which is its "
                f"limit; try again later.",
                retry_after=self.retry_after,
            )

    @contextlib.contextmanager
    def enter(self):
        """Holds one of the places while the block runs.

        Raises:
            Refusal: 503, every place is taken.
        """
        self.check()
        self.num_inside += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.num_inside -= 1
            seconds = time.monotonic() - began
            self._mean_seconds += (seconds - self._mean_seconds) * (1 - _MEMORY_OF_MEAN)

    @property
    def retry_after(self) -> int:
        """Seconds in which about one of the requests inside will have left."""
        return min(_MAX_RETRY_SECONDS, max(1, math.ceil(self._mean_seconds)))

    @contextlib.contextmanager
    def holding(self):
        """Counts the bytes of one body; gives them back when the block ends.

        Yields:
            Takes a number of bytes more; raises `Refusal`, 503, where they are too
            many.
        """
        held = 0

        def hold(num_bytes):
            nonlocal held
            if self.num_bytes + num_bytes > self._max_bytes:
                raise Refusal(
                    503,
                    "The server holds as many bytes of requests as it may; try again "
                    "later.",
                    retry_after=self.retry_after,
                )
            held += num_bytes
            self.num_bytes += num_bytes

        try:
            yield hold
        finally:
            self.num_bytes -= held
