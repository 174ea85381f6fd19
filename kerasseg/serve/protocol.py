"""What uvicorn's connections lack: deadlines for slow clients, and caps on many.

A connection is told 408 and closed when the head of a request takes too long, closed
when nobody reads its answer, and told 503 at once where there are too many. What is no
HTTP is told 400. All errors are JSON, as those of the rest of the server.
"""

import asyncio
import dataclasses
import json
import typing

from uvicorn.protocols.http import h11_impl

from kerasseg.serve.graceful_close import LingeringTransport

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a connection may do.

    Attributes:
        max_connections: At once.
        max_connections_per_client: At once, of one address.
        header_seconds: From the first byte of a request, or from the start of the
            connection, to the end of its head.
        write_seconds: In which the client must go on reading its answer.
    """

    max_connections: int
    max_connections_per_client: int
    header_seconds: float
    write_seconds: float


class GuardedProtocol(h11_impl.H11Protocol):
    """A connection with deadlines.

    Args:
        limits: What it may do.
        **others: Of uvicorn.
    """

    def __init__(self, *, limits: Limits, **others):
        super().__init__(**others)
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport):
        """Counts the connection; one too many is told so and closed."""
        lingering = LingeringTransport(transport, self._limits.write_seconds)
        super().connection_made(typing.cast(asyncio.Transport, lingering))
        same = sum(_host(other) == _host(self) for other in self.connections)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(503, "The server has too many connections; try again later.")
        elif same > self._limits.max_connections_per_client:
            self._refuse(503, "Your address has too many connections; close some.")
        else:
            self._watch_head()

    def data_received(self, data):
        """Reads on, unless the connection was given up."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch_head()

    def connection_lost(self, exc):
        """Stops the clocks."""
        self._head_timer = _cancelled(self._head_timer)
        self._write_timer = _cancelled(self._write_timer)
        super().connection_lost(exc)

    def pause_writing(self):
        """Gives the client a time to read what waits for it."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(
            self._limits.write_seconds, self.transport.abort
        )

    def resume_writing(self):
        """Stops that clock."""
        super().resume_writing()
        self._write_timer = _cancelled(self._write_timer)

    def shutdown(self):
        """Closes the connection when its answer is sent."""
        if not self.transport.is_closing():
            super().shutdown()

    def send_400_response(self, msg):
        """Answers what is no HTTP."""
        del msg
        self._refuse(400, "This is no valid HTTP/1.1 request.")

    def _watch_head(self):
        """Lets the clock run while neither a body nor an answer is on its way.

        What follows a request that was refused before its body was here counts as the
        head of the next one: it is thrown away until the time is up.
        """
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy:
            self._head_timer = _cancelled(self._head_timer)
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(
                self._limits.header_seconds, self._too_slow
            )

    def _too_slow(self):
        seconds = self._limits.header_seconds
        self._head_timer = None
        self._refuse(
            408, f"The request was not here after {seconds:g} seconds; send it faster."
        )

    def _refuse(self, status, message):
        """Says why and closes, past h11, which may be in any state."""
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and self.cycle.response_started
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not answering or self.cycle.response_complete:
            body = json.dumps({"error": message}).encode()
            retry = "retry-after: 1\r\n" if status == 503 else ""
            head = (
                f"HTTP/1.1 {status} {_PHRASES[status]}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"{retry}connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self._head_timer = _cancelled(self._head_timer)
        if len(self.connections) > 2 * self._limits.max_connections:
            self.transport.abort()  # A flood: no time for last words.
        self.transport.close()


def _host(connection):
    return connection.client[0] if connection.client else None


def _cancelled(timer):
    if timer is not None:
        timer.cancel()
