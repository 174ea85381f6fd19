"""Closing a connection so that the last answer arrives."""

import asyncio

_SECONDS = 1.0  # Between the last byte sent and the end.


class LingeringTransport:
    """A transport whose `close` ends the sending first, and reads on for a moment.

    A connection that is closed with bytes unread is reset, and a reset takes away what
    the other side has not read yet: the answer that says why.

    Args:
        transport: What else is asked of this is asked of it.
        write_seconds: After which an answer that nobody reads is given up.
    """

    def __init__(self, transport: asyncio.Transport, write_seconds: float):
        self._transport = transport
        self._write_seconds = write_seconds
        self._closing = False

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Tells whether the end was asked for; what is received then is for nobody."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Sends what there is, then the end; then waits for that of the other side."""
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
