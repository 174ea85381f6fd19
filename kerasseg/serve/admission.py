"""Limits for the requests, bytes and computation that the server accepts at once."""

import asyncio
import collections
import contextlib
import ipaddress
import math
import time
from collections.abc import Callable, Iterator

from kerasseg.serve.request_errors import RequestError

_MAX_RETRY_SECONDS = 60
_DECAY = 0.9  # Of the moving average of the request time.
_CLIENTS_SHARE = 0.5  # Of the seconds of large images.
_IPV6_PREFIX = 64  # Bits of an address that identify a client's network.


class Admission:
    """Limits requests, bytes and computation; what exceeds them gets a 503.

    Not thread-safe: only the server's event loop calls it.

    Args:
        max_requests: Maximum number of requests processed at once.
        max_bytes: Maximum bytes of bodies held at once, including arriving ones.
        max_per_client: Maximum number of requests of one client; None for no limit.
        max_seconds: Maximum estimated seconds of computation accepted at once, of small
            and of large images each. One client may fill half of that of large images.
        max_image_bytes: Maximum bytes of decoded images and of responses held at once.
    """

    def __init__(
        self,
        max_requests: int,
        max_bytes: int,
        *,
        max_per_client: int | None = None,
        max_seconds: float = math.inf,
        max_image_bytes: float = math.inf,
    ):
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._max_per_client = max_per_client or max_requests
        self.max_seconds = max_seconds
        self._max_image_bytes = max_image_bytes
        self.num_inside = self.num_bytes = self.num_image_bytes = 0
        self._of_clients: collections.Counter[str] = collections.Counter()
        # Estimated seconds by whether the images are large, and the clients' large.
        self.seconds = {False: 0.0, True: 0.0}
        self._large_of_clients = collections.defaultdict[str, float](float)
        self._mean_seconds = 0.0

    def check(self, client: str = "") -> None:
        """Raises `RequestError`, 503, if no further request is accepted now."""
        if self.num_inside >= self._max_requests:
            raise self._overloaded(
                f"The server is busy with {self.num_inside} requests, which is its "
                f"limit; try again later."
            )
        if self._of_clients[client] >= self._max_per_client:
            raise self._overloaded(
                f"Your address has {self._of_clients[client]} requests in progress, "
                f"which is the limit for one address; try again later."
            )

    @contextlib.contextmanager
    def enter(self, client: str = "") -> Iterator[None]:
        """Counts a request while the block runs.

        Args:
            client: Identifies who sent it, see `client_of`.

        Raises:
            RequestError: 503, the limit is reached.
        """
        self.check(client)
        self.num_inside += 1
        self._of_clients[client] += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.num_inside -= 1
            _subtract(self._of_clients, client, 1)
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
                raise self._full()
            held += num_bytes
            self.num_bytes += num_bytes

        try:
            yield hold
        finally:
            self.num_bytes -= held

    @contextlib.contextmanager
    def holding_image(self, num_bytes: int) -> Iterator[None]:
        """Counts the bytes of an image, or of a response, until the block ends.

        A single one may exceed the limit.

        Raises:
            RequestError: 503, the limit is reached.
        """
        if self.num_image_bytes and (
            self.num_image_bytes + num_bytes > self._max_image_bytes
        ):
            raise self._full()
        self.num_image_bytes += num_bytes
        try:
            yield
        finally:
            self.num_image_bytes -= num_bytes

    @contextlib.contextmanager
    def computing(self, client: str, seconds: float, *, large: bool) -> Iterator[None]:
        """Counts the estimated seconds of a computation until the block ends.

        Raises:
            RequestError: 413, it takes longer than any request may; 503, there is too
                much work before it.
        """
        self.check_seconds(seconds)
        accepted = self.seconds[large]
        if accepted and accepted + seconds > self.max_seconds:
            kind = "large images" if large else "images"
            raise self._overloaded(
                f"The server has accepted {kind} that take about {accepted:.0f} s; try "
                f"again later.",
                accepted,
            )
        clients = self._large_of_clients.get(client, 0.0)
        if large and clients and clients + seconds > self.max_seconds * _CLIENTS_SHARE:
            raise self._overloaded(
                f"Your address has large images in progress that take about "
                f"{clients:.0f} s; try again later.",
                clients,
            )
        self.seconds[large] += seconds
        if large:
            self._large_of_clients[client] += seconds
        try:
            yield
        finally:
            self.seconds[large] = max(0.0, self.seconds[large] - seconds)
            if large:
                _subtract(self._large_of_clients, client, seconds)

    def check_seconds(self, seconds: float) -> None:
        """Raises `RequestError`, 413, for more seconds than a request may take."""
        if seconds > self.max_seconds:
            raise RequestError(
                413,
                f"The computation would take about {seconds:.1f} s, the limit is "
                f"{self.max_seconds:g} s; send a smaller image, or fewer.",
            )

    def _full(self):
        return self._overloaded(
            "The server has reached its limit for the size of all requests; "
            "try again later."
        )

    def _overloaded(self, message, seconds=0.0):
        retry_after = max(self.retry_after, min(_MAX_RETRY_SECONDS, round(seconds)))
        return RequestError(503, message, retry_after=retry_after)


class Budget:
    """What one request may use.

    Args:
        admission: The server's limits.
        client: Identifies who sent it, see `client_of`.
        deadline: Event loop time after which the result is not needed.

    Attributes:
        tiled: Set if an image of the request is predicted in tiles.
        large: A lock: the large images of one request wait for each other.
    """

    def __init__(self, admission: Admission, client: str, deadline: float):
        self.admission, self.client, self.deadline = admission, client, deadline
        self.tiled = False
        self.large = asyncio.Lock()

    @contextlib.contextmanager
    def using(self, seconds: float, num_bytes: int, *, large: bool) -> Iterator[None]:
        """Counts a computation, and the bytes of its image, until the block ends.

        Raises:
            RequestError: See `Admission.computing`.
        """
        with (
            self.admission.computing(self.client, seconds, large=large),
            self.admission.holding_image(num_bytes),
        ):
            yield


def client_of(host: str | None) -> str:
    """Returns the name under which the requests of an address are counted.

    Of an IPv6 address only the network counts, since a client owns all addresses of it.
    """
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


def _subtract(counter, key, value):
    """Subtracts from a counter, and forgets keys with nothing left."""
    counter[key] -= value
    if counter[key] <= 1e-9:
        del counter[key]
