"""Servers in separate processes, and their clients."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import numpy as np

from kerasseg import images

QUICK = {"poll_seconds": 0.05, "header_seconds": 1.0, "body_seconds": 1.5}
LEVELS = np.array([[0, 63, 64], [127, 128, 255]], np.uint8)
CLASSES = [[0, 0, 1], [1, 2, 2]]
POST = b"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: "


def png(red):
    """Encodes an image of red values; green and blue are 0."""
    red = np.array(red, np.uint8)
    return images.encode_image(np.stack([red, 0 * red, 0 * red], -1))


IMAGE_FILE = png(LEVELS)


class Server:
    """The command on a folder of versions; sends requests and stops it."""

    def __init__(self, folder, **settings):
        self.errors = pathlib.Path(folder, "errors.txt")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                self.command(folder, {**QUICK, **settings}),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.line = line = self.process.stdout.readline()
        match = re.search(r"http://127.0.0.1:(\d+)/", line)
        assert match, line + self.errors.read_text()
        self.port = int(match[1])

    def command(self, folder, settings):
        flags = [f"--{name}={value}" for name, value in settings.items()]
        given = [f"--export_dir={folder}", "--model_name=levels", "--port=0", *flags]
        return [sys.executable, "-m", "kerasseg.serve", *given]

    def request(self, method, path, body=None, headers=None):
        """Returns status, headers and body of a response."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(line):
            line.request(method, path, body, headers or {})
            response = line.getresponse()
            return response.status, response.headers, response.read()

    def json(self, method, path, body=None, headers=None):
        """Returns status and value of a JSON response."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        status, _, text = self.request(method, path, body, headers)
        return status, json.loads(text)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, data):
        """Sends bytes and returns all data until the server closes."""
        with self.connect() as line:
            with contextlib.suppress(ConnectionError):
                line.sendall(data)
            return rest(line)

    def wait_until_ready(self):
        until(lambda: self.request("GET", "/readyz")[0] == 200, 120)

    def check_alive(self):
        """Checks that the server is healthy, and that a valid request succeeds."""
        assert self.request("GET", "/healthz")[0] == 200
        status, _, mask = self.request("POST", "/segment", IMAGE_FILE)
        assert (status, images.read_label(mask).tolist()) == (200, CLASSES)

    def metric(self, line):
        """Returns the value of a line of /metrics; 0 if there is none."""
        text = self.request("GET", "/metrics")[2].decode()
        match = re.search(rf"^{re.escape(line)} (\S+)$", text, re.M)
        return float(match[1]) if match else 0.0

    def memory(self):
        """Returns the resident memory of its process in bytes."""
        pages = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def num_open(self):
        """Returns the number of open files and connections."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.kill()
        self.process.communicate()


class Fake(Server):
    """The same server with the network of `tests.support.serve_fake`."""

    def command(self, folder, settings):
        given = [str(folder), json.dumps(settings)]
        return [sys.executable, "-m", "tests.support.serve_fake", *given]


def put(folder, number, *names):
    """Creates a version for `tests.support.serve_fake`."""
    path = pathlib.Path(folder) / str(number)
    path.mkdir()
    for name in (*names, "saved_model.pb"):
        (path / name).write_text("x")


@contextlib.contextmanager
def running(server):
    """Yields a server that is ready, and stops it."""
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def serving(folder, **settings):
    """Yields a `Fake` with one version."""
    put(folder, 1)
    return running(Fake(folder, **settings))


def until(condition, seconds=60):
    """Waits until a function returns a true value."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)


def rest(line):
    """Reads until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


def at_once(*calls):
    """Calls functions in threads; returns their results in order."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
