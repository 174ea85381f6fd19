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
# What one client may fill, so that others are still accepted.
_CLIENTS_SECONDS = {False: 0.75, True: 0.5}  # Share by whether the images are large.
_CLIENTS_BYTES = 0.75  # Share of bodies, and of images and responses.
_IPV6_PREFIX = 64  # Bits of an address that identify a client's network.


class Admission:
    """Limits requests, bytes and computation; what exceeds them gets a 503.

    Not thread-safe: only the server's event loop calls it.

    Args:
        max_requests: Maximum number of requests processed at once.
        max_bytes: Maximum bytes of bodies held at once, including arriving ones.
        max_per_client: Maximum number of requests of one client; None for no limit.
        max_seconds: Maximum estimated seconds of computation accepted at once, of small
            and of large images each. One client may fill three quarters of that of
            small images, and half of that of large ones.
        max_image_bytes: Maximum bytes of decoded images and of responses held at once.
            Of these, and of `max_bytes`, one client may fill three quarters.
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
        self._max_requests = max_requests
        self._max_per_client = max_per_client or max_requests
        self.max_seconds = max_seconds
        self._bodies, self._images = _Held(max_bytes), _Held(max_image_bytes)
        self.num_inside = 0
        self._of_clients: collections.Counter[str] = collections.Counter()
        # Estimated seconds by whether the images are large, and those of each client.
        self.seconds = {False: 0.0, True: 0.0}
        self._seconds_of_clients = {
            large: collections.defaultdict[str, float](float) for large in self.seconds
        }
        self._mean_seconds = 0.0

    @property
    def num_bytes(self) -> int:
        """Bytes of bodies held now."""
        return sum(self._bodies.of_clients.values())

    @property
    def num_image_bytes(self) -> int:
        """Bytes of decoded images and of responses held now."""
        return sum(self._images.of_clients.values())

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
    def holding(self, client: str | None = None) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of one body until the block ends.

        Args:
            client: Identifies who sent it, see `client_of`; None: it has no share.

        Yields:
            Function that adds a number of bytes; raises `RequestError`, 503, beyond the
            limit.
        """
        held = 0

        def hold(num_bytes):
            nonlocal held
            if not self._bodies.fits(client, num_bytes):
                raise self._full()
            held += num_bytes
            self._bodies.of_clients[client] += num_bytes

        try:
            yield hold
        finally:
            _subtract(self._bodies.of_clients, client, held)

    @contextlib.contextmanager
    def holding_image(
        self, num_bytes: int, client: str | None = None
    ) -> Iterator[None]:
        """Counts the bytes of an image, or of a response, until the block ends.

        A single one may exceed the limit; others are then accepted from other clients
        only.

        Args:
            num_bytes: The bytes.
            client: Identifies who sent or receives it, see `client_of`; None: it has no
                share.

        Raises:
            RequestError: 503, the limit is reached.
        """
        if not self._images.fits(client, num_bytes, alone=True):
            raise self._full()
        self._images.of_clients[client] += num_bytes
        try:
            yield
        finally:
            _subtract(self._images.of_clients, client, num_bytes)

    @contextlib.contextmanager
    def computing(self, client: str, seconds: float, *, large: bool) -> Iterator[None]:
        """Counts the estimated seconds of a computation until the block ends.

        Raises:
            RequestError: 413, it takes longer than any request may; 503, there is too
                much work before it.
        """
        self.check_seconds(seconds)
        accepted = self.seconds[large]
        kind = "large images" if large else "images"
        if accepted and accepted + seconds > self.max_seconds:
            raise self._overloaded(
                f"The server has accepted {kind} that take about {accepted:.0f} s; try "
                f"again later.",
                accepted,
            )
        of_clients = self._seconds_of_clients[large]
        clients = of_clients.get(client, 0.0)
        share = self.max_seconds * _CLIENTS_SECONDS[large]
        if clients and clients + seconds > share:
            raise self._overloaded(
                f"Your address has {kind} in progress that take about {clients:.0f} s; "
                f"try again later.",
                clients,
            )
        self.seconds[large] += seconds
        of_clients[client] += seconds
        try:
            yield
        finally:
            self.seconds[large] = max(0.0, self.seconds[large] - seconds)
            _subtract(of_clients, client, seconds)

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


class _Held:
    """Bytes that are held for clients, of which each one may fill a share.

    Args:
        limit: Maximum number of bytes.
    """

    def __init__(self, limit: float):
        self._limit = limit
        self.of_clients = collections.defaultdict[str | None, int](int)

    def fits(self, client: str | None, num_bytes: int, *, alone: bool = False) -> bool:
        """Returns whether further bytes of a client fit.

        Args:
            client: The client; None: it may fill the limit.
            num_bytes: Number of the bytes.
            alone: Whether they always fit if the client holds nothing else. What
                exceeds its share does not count for others, or it would shut them out.
        """
        held = self.of_clients.get(client, 0)
        share = self._share(client)
        if held + num_bytes > share and (held or not alone):
            return False
        others = sum(
            min(each, self._share(other))
            for other, each in self.of_clients.items()
            if other != client
        )
        return (alone and not others) or (
            others + min(held + num_bytes, share) <= self._limit
        )

    def _share(self, client):
        return self._limit if client is None else _CLIENTS_BYTES * self._limit


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
            self.holding(num_bytes),
        ):
            yield

    def holding(self, num_bytes: int) -> contextlib.AbstractContextManager[None]:
        """Counts the bytes of an image or of outputs until the block ends.

        Raises:
            RequestError: See `Admission.holding_image`.
        """
        return self.admission.holding_image(num_bytes, self.client)


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
