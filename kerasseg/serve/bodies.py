"""Reading request bodies, with limits for size and time."""

import asyncio
import zlib
from collections.abc import Callable, Mapping

from kerasseg.serve.request_errors import RequestError

_STEP_BYTES = 64 * 1024  # Decompressed at a time.


class ClientGoneError(Exception):
    """The client closed the connection."""


async def read(
    scope: Mapping,
    receive: Callable,
    *,
    max_bytes: int,
    seconds: float,
    hold: Callable[[int], None],
) -> bytes:
    """Reads a body and decompresses gzip.

    Args:
        scope: ASGI connection scope.
        receive: ASGI receive callable.
        max_bytes: Maximum size of the body, compressed and decompressed.
        seconds: Timeout.
        hold: Called with the number of bytes that are kept; may raise `RequestError`.

    Raises:
        RequestError: 408, too slow; 413, too large; 415 or 400, not valid gzip.
        ClientGoneError: The client closed the connection.
    """
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip"):
        raise RequestError(415, "Content-Encoding must be gzip or identity; change it.")
    if int(headers.get(b"content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(seconds):
            body = await _collect(receive, max_bytes, hold)
    except TimeoutError:
        raise RequestError(
            408, f"The body did not arrive within {seconds:g} seconds; send it faster."
        ) from None
    if encoding == b"gzip":
        body = await asyncio.to_thread(_unpack, body, max_bytes)
        hold(len(body))
    return body


async def _collect(receive, max_bytes, hold):
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if len(body) + len(message["body"]) > max_bytes:
            raise _too_large(max_bytes)
        hold(len(message["body"]))
        body += message["body"]
        if not message.get("more_body"):
            return bytes(body)


def _unpack(body, max_bytes):
    packed = zlib.decompressobj(zlib.MAX_WBITS | 16)
    unpacked = bytearray()
    try:
        while body and not packed.eof:
            unpacked += packed.decompress(body, _STEP_BYTES)
            body = packed.unconsumed_tail
            if len(unpacked) > max_bytes:
                raise _too_large(max_bytes)
    except zlib.error as error:
        raise RequestError(
            400, f"The body is not valid gzip data ({error})."
        ) from error
    if not packed.eof:
        raise RequestError(
            400, "The gzip data of the body is truncated; send it completely."
        )
    if packed.unused_data:
        raise RequestError(400, "The body has data after its gzip data; remove it.")
    return bytes(unpacked)


def _too_large(max_bytes):
    return RequestError(
        413, f"The body has more than {max_bytes:,} bytes; send a smaller image."
    )


async def gone(receive: Callable) -> None:
    """Returns when the client closes the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
