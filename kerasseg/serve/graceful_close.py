"""Closing a connection without losing the last response."""

import asyncio

_SECONDS = 1.0  # Between the last byte sent and the close.


class GracefulCloseTransport:
    """A transport whose `close` sends EOF first and keeps reading for a moment.

    Closing a connection with unread bytes resets it, and the other side then loses what
    it has not read yet, such as the response with the error message.

    Args:
        transport: The wrapped transport, which has all other methods.
        write_seconds: Time after which a response that the client does not read is
            dropped.
    """

    def __init__(self, transport: asyncio.Transport, write_seconds: float):
        self._transport = transport
        self._write_seconds = write_seconds
        self._closing = False

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Returns whether `close` was called; data that arrives later is ignored."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Sends the buffered data and EOF, then waits before closing."""
        if self.is_closing():
            return
        self._closing = True
        self._transport.write_eof()
        self._transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._wait(loop, loop.time() + self._write_seconds)

    def _wait(self, loop, until):
        unsent = self._transport.get_write_buffer_size() and loop.time() < until
        loop.call_later(_SECONDS, self._wait if unsent else self._end, loop, until)

    def _end(self, *_):
        self._transport.abort()
