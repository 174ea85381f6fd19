"""Servers that run as processes of their own, and clients that ask them."""

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
POST = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: "


def png(red):
    """Encodes a picture of red values; green and blue are 0."""
    red = np.array(red, np.uint8)
    return images.encode_image(np.stack([red, 0 * red, 0 * red], -1))


PICTURE = png(LEVELS)


class Server:
    """The command on a folder of versions; asks it and stops it."""

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

    def ask(self, method, path, body=None, headers=None):
        """Returns status, headers and body of an answer."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(line):
            line.request(method, path, body, headers or {})
            answer = line.getresponse()
            return answer.status, answer.headers, answer.read()

    def json(self, method, path, body=None, headers=None):
        """Returns status and value of an answer in JSON."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        status, _, text = self.ask(method, path, body, headers)
        return status, json.loads(text)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, data):
        """Sends bytes and returns all that comes until the server closes."""
        with self.connect() as line:
            with contextlib.suppress(ConnectionError):
                line.sendall(data)
            return rest(line)

    def wait_until_ready(self):
        until(lambda: self.ask("GET", "/readyz")[0] == 200, 120)

    def check_alive(self):
        """After whatever was asked: it says it is well, and the next one succeeds."""
        assert self.ask("GET", "/healthz")[0] == 200
        status, _, mask = self.ask("POST", "/segment", PICTURE)
        assert (status, images.read_label(mask).tolist()) == (200, CLASSES)

    def metric(self, line):
        """Returns the number behind a line of /metrics, 0 where there is none."""
        text = self.ask("GET", "/metrics")[2].decode()
        found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    def memory(self):
        """Returns the bytes that its own process keeps in memory."""
        pages = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def num_open(self):
        """Counts its open files and connections."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.kill()
        self.process.communicate()


class Fake(Server):
    """The same server with the network of `tests.serve_fake`."""

    def command(self, folder, settings):
        given = [str(folder), json.dumps(settings)]
        return [sys.executable, "-m", "tests.serve_fake", *given]


def put(folder, number, *names):
    """Makes what `tests.serve_fake` takes for a version."""
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
    """Waits until a function returns what is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def rest(line):
    """Reads what comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


def at_once(*calls):
    """Calls functions in threads; returns what they return, in order."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
