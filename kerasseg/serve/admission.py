"""Limits for the requests and bytes that the server holds at once."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from kerasseg.serve.request_errors import RequestError

_MAX_RETRY_SECONDS = 60
_DECAY = 0.9  # Of the moving average of the request time.


class Admission:
    """Limits the number of requests and bytes; further requests get a 503.

    Not thread-safe: only the server's event loop calls it.

    Args:
        max_requests: Maximum number of requests processed at once.
        max_bytes: Maximum bytes of bodies held at once, including arriving ones.
    """

    def __init__(self, max_requests: int, max_bytes: int):
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self.num_inside = self.num_bytes = 0
        self._mean_seconds = 0.0

    def check(self) -> None:
        """Raises `RequestError`, 503, if no further request is accepted now."""
        if self.num_inside >= self._max_requests:
            raise RequestError(
                503,
                f"The server is busy with {self.num_inside} requests, which is its "
                f"limit; try again later.",
                retry_after=self.retry_after,
            )

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Counts a request while the block runs.

        Raises:
            RequestError: 503, the limit is reached.
        """
        self.check()
        self.num_inside += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.num_inside -= 1
            seconds = time.monotonic() - began
            self._mean_seconds += (seconds - self._mean_seconds) * (1 - _DECAY)

    @property
    def retry_after(self) -> int:
        """Estimated seconds until one of the current requests is finished."""
        return min(_MAX_RETRY_SECONDS, max(1, math.ceil(self._mean_seconds)))

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of one body until the block ends.

        Yields:
            Function that adds a number of bytes; raises `RequestError`, 503, beyond the
            limit.
        """
        held = 0

        def hold(num_bytes):
            nonlocal held
            if self.num_bytes + num_bytes > self._max_bytes:
                raise RequestError(
                    503,
                    "The server has reached its limit for the size of all requests; "
                    "try again later.",
                    retry_after=self.retry_after,
                )
            held += num_bytes
            self.num_bytes += num_bytes

        try:
            yield hold
        finally:
            self.num_bytes -= held
