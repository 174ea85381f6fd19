"""The body of a request, as large and as slow as is allowed and no more."""

import asyncio
import zlib

from kerasseg.serve.refusals import Refusal

_STEP_BYTES = 64 * 1024  # Unpacked at a time.


class ClientGoneError(Exception):
    """The client hung up; nobody waits for an answer."""


async def read(scope, receive, *, max_bytes: int, seconds: float, hold) -> bytes:
    """Reads a body while it arrives, and unpacks gzip.

    Args:
        scope: Of ASGI.
        receive: Of ASGI.
        max_bytes: Of the body, packed and unpacked.
        seconds: In which it must be here.
        hold: Is told the number of bytes that will be kept; may refuse them.

    Raises:
        Refusal: 408, too slow; 413, too large; 415 or 400, packed in another way.
        ClientGoneError: The client hung up.
    """
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip"):
        raise Refusal(415, "Content-Encoding may be gzip; send the body otherwise.")
    if int(headers.get(b"content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(seconds):
            body = await _collect(receive, max_bytes, hold)
    except TimeoutError:
        raise Refusal(
            408, f"The body was not here after {seconds:g} seconds; send it faster."
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
        raise Refusal(400, f"The body is no gzip data ({error}).") from error
    if not packed.eof:
        raise Refusal(400, "The gzip data of the body is cut; send it whole.")
    if packed.unused_data:
        raise Refusal(400, "More follows the gzip data of the body; send that alone.")
    return bytes(unpacked)


def _too_large(max_bytes):
    return Refusal(
        413, f"The body has more than {max_bytes:,} bytes; send a smaller picture."
    )


async def gone(receive) -> None:
    """Returns when the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
