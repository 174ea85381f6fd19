"""Extends uvicorn's connections by timeouts and by limits on their number.

A connection receives 408 and is closed if the head of a request arrives too slowly. It
is closed if the client does not read the response, and receives 503 if there are too
many connections. Invalid HTTP receives 400. All errors are JSON.
"""

import asyncio
import dataclasses
import json
import typing

import h11
from h11 import _receivebuffer as h11_buffer
from uvicorn.protocols.http import h11_impl

from kerasseg.serve import access_log, admission
from kerasseg.serve.graceful_close import GracefulCloseTransport

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of connections.

    Attributes:
        max_connections: Maximum number of connections at once, and of further ones
            whose error is being sent.
        max_connections_per_client: Maximum number from one address.
        header_seconds: Time from the first byte of a request, or the start of the
            connection, to the end of the head.
        write_seconds: Time in which the client must continue to read a response.
        refused: Connections beyond the limits, whose error is being sent.
    """

    max_connections: int
    max_connections_per_client: int
    header_seconds: float
    write_seconds: float
    refused: set = dataclasses.field(default_factory=set)


class GuardedProtocol(h11_impl.H11Protocol):
    """A connection with timeouts.

    Args:
        limits: Its limits.
        write: Called with the level and the fields of an error that is sent without a
            request, see `access_log.write_refused`.
        **others: Keyword arguments of uvicorn's protocol.
    """

    def __init__(self, *, limits: Limits, write: access_log.Write, **others):
        super().__init__(**others)
        self._limits, self._write = limits, write
        self.address = ""  # Under which the connections of a client are counted.
        self.conn._receive_buffer = _StrictBuffer()
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport):
        """Counts the connection; beyond the limits, it receives 503 and is closed."""
        closing = GracefulCloseTransport(transport, self._limits.write_seconds)
        super().connection_made(typing.cast(asyncio.Transport, closing))
        self.address = admission.client_of(self.client[0] if self.client else None)
        served = self.connections - self._limits.refused
        same = sum(getattr(each, "address", "") == self.address for each in served)
        if len(served) > self._limits.max_connections:
            self._refuse("The server has too many connections; try again later.")
        elif same > self._limits.max_connections_per_client:
            self._refuse("Your address has too many connections; close some.")
        else:
            self._watch_head()

    def data_received(self, data):
        """Processes data, unless the connection is closing."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch_head()

    def connection_lost(self, exc):
        """Stops the timers."""
        self._head_timer = _cancelled(self._head_timer)
        self._write_timer = _cancelled(self._write_timer)
        self._limits.refused.discard(self)
        super().connection_lost(exc)

    def pause_writing(self):
        """Starts the timer in which the client must read."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(
            self._limits.write_seconds, self.transport.abort
        )

    def resume_writing(self):
        """Stops the timer of writing."""
        super().resume_writing()
        self._write_timer = _cancelled(self._write_timer)

    def shutdown(self):
        """Closes the connection when its response is sent."""
        if not self.transport.is_closing():
            super().shutdown()

    def send_400_response(self, msg):
        """Responds to invalid HTTP."""
        del msg
        self._fail(400, "This is not a valid HTTP/1.1 request.")

    def _unsupported_upgrade_warning(self):
        """Logs nothing: a request to upgrade is processed like any other one."""

    def _refuse(self, message):
        """Sends an error; in a flood, the connection is aborted without one."""
        if len(self._limits.refused) >= self._limits.max_connections:
            self.transport.abort()
            return
        self._limits.refused.add(self)
        self._fail(503, message)

    def _watch_head(self):
        """Runs the timer while neither a body nor a response is being sent.

        If a request failed before its body arrived, the body counts as the head of the
        next request: it is discarded until the timer ends.
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
        self._fail(
            408,
            f"The request did not arrive within {seconds:g} seconds; send it faster.",
        )

    def _fail(self, status, message):
        """Sends an error and closes, without h11, which may be in any state."""
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and self.cycle.response_started
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not answering or self.cycle.response_complete:
            body = json.dumps({"error": message}).encode()
            retry = "retry-after: 1\r\n" if status == 503 else ""
            identity = access_log.request_id()
            head = (
                f"HTTP/1.1 {status} {_PHRASES[status]}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"{access_log.HEADER}: {identity}\r\n{retry}connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            client = self.client[0] if self.client else ""
            access_log.write_refused(self._write, identity, client, status, len(body))
        self._head_timer = _cancelled(self._head_timer)
        self.transport.close()


class _StrictBuffer(h11_buffer.ReceiveBuffer):
    """Refuses the lines that h11 accepts and proxies may read in another way."""

    def maybe_extract_lines(self):
        """Extracts the lines up to an empty one, each of which must end with CR LF.

        Raises:
            h11.RemoteProtocolError: A line ends with LF only, or continues another.
        """
        before = len(self)
        lines = super().maybe_extract_lines()
        if lines is None:
            return None
        if sum(len(line) + 2 for line in lines) + 2 != before - len(self):
            raise h11.RemoteProtocolError("A line ends without CR.")
        if any(line[:1] in (b" ", b"\t") for line in lines):
            raise h11.RemoteProtocolError("A line continues the previous one.")
        return lines


def _cancelled(timer):
    if timer is not None:
        timer.cancel()
