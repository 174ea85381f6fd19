"""Many concurrent clients in one thread, each with its own connection."""

import asyncio
import collections
import dataclasses
import threading
import time


@dataclasses.dataclass(frozen=True)
class Response:
    """A response; its status is 0 if it was lost or truncated."""

    status: int
    seconds: float
    headers: dict
    body: bytes


@dataclasses.dataclass(frozen=True)
class Request:
    """A request; with `leaves`, its client leaves before the response."""

    body: bytes
    path: str = "/segment"
    accept: str = "*/*"
    leaves: bool = False


async def post(port, request: bytes | Request) -> Response:
    """Posts a request, or a body to /segment."""
    if isinstance(request, bytes):
        request = Request(request)
    began, body = time.monotonic(), request.body
    head = f"POST {request.path} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Accept: {request.accept}\r\nContent-Length: {len(body)}\r\n"
    data = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            if request.leaves:
                await writer.drain()
                return Response(499, time.monotonic() - began, {}, b"")
            data = await reader.read(-1)
        finally:
            writer.close()
    except ConnectionError:
        pass
    seconds = time.monotonic() - began
    head, _, content = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    if not data or len(content) != int(headers.get("content-length", -1)):
        return Response(0, seconds, headers, content)
    return Response(int(lines[0].split()[1]), seconds, headers, content)


async def _closed(port, bodies, num_clients, stop):
    """Runs clients that each send the next request after a response."""
    responses = []

    async def client(first):
        i = first
        while not stop():
            response = await post(port, bodies[i % len(bodies)])
            responses.append((i, response))
            if not response.status:
                return
            i += num_clients

    await asyncio.gather(*[client(i) for i in range(num_clients)])
    return responses


async def _open(port, bodies, rate, stop):
    """Sends requests at a fixed rate, independent of responses."""
    tasks = []
    began = time.monotonic()
    while not stop():
        while len(tasks) < (time.monotonic() - began) * rate:
            body = bodies[len(tasks) % len(bodies)]
            tasks.append(asyncio.ensure_future(post(port, body)))
        await asyncio.sleep(0.005)
    return list(enumerate(await asyncio.gather(*tasks)))


def _for(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def closed_loop(port, bodies, *, num_clients, seconds):
    """Returns (number of the request, response) of clients that wait for responses."""
    return asyncio.run(_closed(port, bodies, num_clients, _for(seconds)))


def open_loop(port, bodies, *, rate, seconds):
    """Returns the same for `rate` new requests per second."""
    return asyncio.run(_open(port, bodies, rate, _for(seconds)))


class Load:
    """Clients that send requests while a block runs; records `responses`."""

    def __init__(self, port, bodies, num_clients=8):
        self._stop = threading.Event()
        self._arguments = port, bodies, num_clients, self._stop.is_set
        self._thread = threading.Thread(target=self._run)
        self.responses = []

    def _run(self):
        self.responses = asyncio.run(_closed(*self._arguments))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def statuses(self):
        """Returns the number of responses by status."""
        return collections.Counter(response.status for _, response in self.responses)
