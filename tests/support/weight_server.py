"""A server of files with faults: cuts, stalls, wrong headers, redirects, pages."""

import contextlib
import dataclasses
import http.server
import re
import threading
import time
from collections.abc import Callable


@dataclasses.dataclass
class Reply:
    """What the server answers.

    Attributes:
        data: The content.
        status: Status of HTTP; 206 is used for ranges.
        cut: Number of bytes of the body after which the connection is closed.
        stall: Seconds to wait at the cut.
        delay: Seconds to wait after each 64 KiB.
        length: Content-Length, if it is wrong; False for none.
        ranges: Whether ranges are supported.
        etag: The validator; empty for none.
        headers: Further headers.
    """

    data: bytes = b""
    status: int = 200
    cut: int | None = None
    stall: float = 0.0
    delay: float = 0.0
    length: int | bool | None = None
    ranges: bool = True
    etag: str = '"one"'
    headers: dict = dataclasses.field(default_factory=dict)


class Server:
    """Replies by path: a `Reply`, or a function of the number of the request to one.

    Attributes:
        url: Its address.
        replies: What is replied, by path; status 404 for others.
        requests: Paths and headers of the requests.
    """

    def __init__(self, url):
        self.url = url
        self.replies: dict[str, Reply | Callable[[int], Reply]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def headers(self, path):
        """Headers of the requests of a path."""
        return [headers for each, headers in self.requests if each == path]


@contextlib.contextmanager
def serving():
    """Serves in threads for a block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            reply = server.replies.get(path, Reply(b"no such file", 404))
            if callable(reply):
                reply = reply(len(server.headers(path)))
            server.requests.append((path, dict(self.headers)))
            with contextlib.suppress(ConnectionError):
                self._send(reply)
            self.close_connection = True

        def _send(self, reply):
            data, status, start = reply.data, reply.status, 0
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            condition = self.headers.get("If-Range")
            is_same = condition in (None, reply.etag)
            headers = dict(reply.headers)
            if match and reply.ranges and is_same and status == 200:
                start = int(match[1])
                status = 206 if start < len(data) else 416
                last = f"{start}-{len(data) - 1}" if status == 206 else "*"
                headers["Content-Range"] = f"bytes {last}/{len(data)}"
                data = data[start:]
            length = len(data) if reply.length is None else reply.length
            self.send_response(status)
            headers.setdefault("Content-Type", "application/octet-stream")
            if length is not False:
                headers["Content-Length"] = str(length)
            if reply.etag:
                headers["ETag"] = reply.etag
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self._send_body(data, reply, start)

        def _send_body(self, data, reply, start):
            end = len(data) if reply.cut is None else max(0, reply.cut - start)
            for i in range(0, min(end, len(data)), 1 << 16):
                self.wfile.write(data[i : min(i + (1 << 16), end)])
                time.sleep(reply.delay)
            if end < len(data) or reply.stall:
                time.sleep(reply.stall)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.daemon_threads = True
        server = Server(f"http://127.0.0.1:{found.server_port}")
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            found.shutdown()
            thread.join()
