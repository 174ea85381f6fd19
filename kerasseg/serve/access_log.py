"""What the access log records of each request, and the id of the request.

Query strings, headers other than X-Request-ID, and the content of requests are never
recorded.
"""

import contextlib
import contextvars
import dataclasses
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

HEADER = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_MAX_PATH = 200  # Characters.
_GONE = 499  # The client closed the connection before the response.
_PROBES = ("/healthz", "/readyz", "/metrics", "/monitoring/prometheus/metrics")
_LEVELS = {500: "error", 503: "warning", 504: "warning"}

Write = Callable[[str, dict[str, Any]], None]  # Of a level and of fields.


@dataclasses.dataclass
class Record:
    """What is known of a request so far.

    Attributes:
        request_id: Id of the request.
        num_images: Number of images whose size is known.
        size: Height and width of the largest one in pixels.
        decode_seconds: Seconds until its images were decoded, the waiting included.
            These and the following seconds are sums over the images.
        queue_seconds: Seconds for which images waited for the network.
        compute_seconds: Seconds in which the network ran for batches with its images.
        bytes_in: Bytes of the body received so far.
        bytes_out: Bytes of the body of the response.
        status: HTTP status of the response; None before it.
        began: Clock at its beginning, as `time.monotonic` returns it.
    """

    request_id: str = ""
    num_images: int = 0
    size: tuple[int, int] = (0, 0)
    decode_seconds: float = 0.0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    status: int | None = None
    began: float = dataclasses.field(default_factory=time.monotonic)

    def add_images(self, count: int, height: int, width: int) -> None:
        """Records the size of images."""
        self.num_images += count
        self.size = max(self.size, (height, width), key=lambda size: size[0] * size[1])

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Records the time of the block as that of decoding."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.decode_seconds += time.monotonic() - began

    def add_call(self, since: float, started: float | None) -> None:
        """Records a call of the network that ends now.

        Args:
            since: Clock when it was queued.
            started: Clock when it started; None if it did not.
        """
        now = time.monotonic()
        self.queue_seconds += (now if started is None else started) - since
        self.compute_seconds += 0.0 if started is None else now - started

    def fields(self) -> dict[str, Any]:
        """Returns the measured fields of a line, with times in milliseconds."""
        values: dict[str, Any] = {
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "milliseconds": _milliseconds(time.monotonic() - self.began),
        }
        if self.num_images:
            values["images"] = self.num_images
            values["height"], values["width"] = self.size
            values["decode_milliseconds"] = _milliseconds(self.decode_seconds)
            values["queue_milliseconds"] = _milliseconds(self.queue_seconds)
            values["compute_milliseconds"] = _milliseconds(self.compute_seconds)
        return values


CURRENT: contextvars.ContextVar[Record] = contextvars.ContextVar("request")


def current() -> Record:
    """Returns the record of the request that is being processed, or else a new one."""
    return CURRENT.get(None) or Record()


def request_id(given: Iterable[str] = ()) -> str:
    """Returns the id that a client has given once, if it is a short word; or a new one.

    Args:
        given: Values of the header.
    """
    values = list(given)
    if len(values) == 1 and _ID.fullmatch(values[0]):
        return values[0]
    return secrets.token_hex(16)


class AccessLog:
    """An ASGI application that calls another one, and records each request.

    The response gets the header X-Request-ID.

    Args:
        app: The other application.
        write: Called with the level and the fields of each finished request, except for
            successful requests of probes.
    """

    def __init__(self, app: Callable, write: Write):
        self._app, self._write = app, write

    async def __call__(self, scope, receive, send):
        """Handles one request."""
        names = (
            v.decode("latin-1") for k, v in scope["headers"] if k == b"x-request-id"
        )
        record = Record(request_id(names))
        CURRENT.set(record)

        async def counted():
            message = await receive()
            record.bytes_in += len(message.get("body", b""))
            return message

        async def answer(message):
            if message["type"] == "http.response.start":
                record.status = message["status"]
                header = HEADER.encode(), record.request_id.encode()
                message = {**message, "headers": [*message["headers"], header]}
            elif scope["method"] != "HEAD":
                record.bytes_out += len(message["body"])
            await send(message)

        try:
            await self._app(scope, counted, answer)
        finally:
            path = scope["raw_path"].decode("ascii", "backslashreplace")
            client = (scope["client"] or ("",))[0]
            self._finish(record, client, scope["method"], path)

    def _finish(self, record, client, method, path):
        status = _GONE if record.status is None else record.status
        if path in _PROBES and status == 200:
            return
        self._write(
            _LEVELS.get(status, "info"),
            {
                "request_id": record.request_id,
                "client": client,
                "method": shortened(method),
                "path": shortened(path),
                "status": status,
                **record.fields(),
            },
        )


def write_refused(
    write: Write, identity: str, client: str, status: int, num_bytes: int
) -> None:
    """Records a connection that got an error before its request was known.

    Args:
        write: See `AccessLog`.
        identity: Id that the response has.
        client: Address of the client.
        status: HTTP status of the response.
        num_bytes: Bytes of its body.
    """
    fields = {
        "request_id": identity,
        "client": client,
        "status": status,
        "bytes_out": num_bytes,
    }
    write(_LEVELS.get(status, "info"), fields)


def shortened(text: str) -> str:
    """Cuts a text of a client; a line of the log has a limited length."""
    return text if len(text) <= _MAX_PATH else f"{text[:_MAX_PATH]}..."


def _milliseconds(seconds):
    return round(1000 * seconds, 1)
