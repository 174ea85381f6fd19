"""The log and the access log: their lines, and what cannot disturb the server."""

import asyncio
import contextlib
import datetime
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import errors
from kerasseg.serve import access_log, batching, line_writer, logs, process_metrics
from kerasseg.serve.settings import Settings
from tests.support import faults, served
from tests.support.server_process import IMAGE_FILE, Fake, png, put, until


class Pipe:
    """A pipe whose reader can be slow, or go."""

    def __init__(self):
        self.reading, self.writing = os.pipe()

    def read(self):
        """Returns what was written, when the writer has closed the pipe."""
        os.close(self.writing)
        with open(self.reading, "rb") as file:
            return file.read()


def describe(count):
    return f"{count} dropped"


@pytest.mark.parametrize("name", ["log_format", "access_log"])
def test_unknown_formats_are_errors(name):
    chosen = Settings(export_dir=".", model_name="m", **{name: "xml"})
    with pytest.raises(errors.UserError, match=f"`{name}=xml`: choose one of .*json"):
        chosen.check()


def test_lines_are_written_in_order():
    pipe = Pipe()
    writer = line_writer.LineWriter(pipe.writing, describe)
    for i in range(100):
        writer.put(f"{i} \udcff")
    writer.close(5)
    writer.put("late")
    assert pipe.read() == b"".join(b"%d \\udcff\n" % i for i in range(100))
    assert writer.num_dropped == 1


def test_lines_that_nobody_reads_are_dropped_without_waiting_and_then_counted():
    pipe = Pipe()
    writer = line_writer.LineWriter(pipe.writing, describe, max_bytes=1000)
    began = time.monotonic()
    os.set_blocking(pipe.writing, False)  # Fills the pipe.
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe.writing, b"x" * 999 + b"\n")
    os.set_blocking(pipe.writing, True)
    for _ in range(50):
        writer.put("y" * 99)  # 100 bytes: ten fit.
    assert time.monotonic() - began < 1
    assert writer.num_dropped == 40
    reader = threading.Thread(target=lambda: lines.extend(pipe.read().split(b"\n")))
    lines = []
    duplicate, pipe.writing = pipe.writing, os.dup(pipe.writing)
    reader.start()
    writer.close(5)
    os.close(duplicate)
    reader.join()
    assert lines.count(b"y" * 99) == 10
    assert b"40 dropped" in lines


def test_lines_that_cannot_be_written_are_dropped():
    full = os.open("/dev/full", os.O_WRONLY)
    pipe = Pipe()
    os.close(pipe.reading)
    for descriptor in (full, pipe.writing):
        writer = line_writer.LineWriter(descriptor, describe)
        writer.put("a")
        writer.put("b")
        writer.close(5)
        assert writer.num_dropped == 2
        os.close(descriptor)


def test_a_line_that_was_written_in_part_is_ended(monkeypatch):
    written, failing = bytearray(), [False, True, False, False, False]

    def write(_, data):
        if failing.pop(0):
            raise OSError("no space")
        part = data[:2] if len(failing) == 4 else data  # The first time.
        written.extend(part)
        return len(part)

    monkeypatch.setattr(line_writer.os, "write", write)
    writer = line_writer.LineWriter(1, describe)
    writer.put("abcd")
    writer.put("ef")
    writer.close(5)
    assert written == b"ab\nef\n1 dropped\n"


def test_an_object_has_the_time_in_utc_the_level_and_its_fields():
    # 1 January 2000 is 10957 days after the epoch: 946,684,800 seconds.
    line = logs.entry(
        "json", "info", "Hi", {"x": 2}, when=946_684_800.0625, exception="a\nb"
    )
    assert json.loads(line) == {
        "time": "2000-01-01T00:00:00.062Z",
        "level": "info",
        "message": "Hi",
        "x": 2,
        "exception": "a\nb",
    }
    line = logs.entry(
        "text", "info", "Hi", {"x": 2, "y": "a b"}, when=946_684_800, exception="a\nb"
    )
    assert line == '2000-01-01T00:00:00.000Z INFO Hi x=2 y="a b"\n    a\n    b'


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
@settings(deadline=None)
def test_no_text_of_a_client_begins_a_line_or_adds_a_field(message, value, exception):
    line = logs.entry("json", "info", message, {"x": value}, exception=exception)
    assert line.isascii() and "\n" not in line
    keys = {"time", "level", "message", "x"} | ({"exception"} if exception else set())
    assert set(json.loads(line)) == keys
    line = logs.entry("text", "info", message, {"x": value}, exception=exception)
    first, *others = line.split("\n")
    assert first.isprintable()
    assert all(x.startswith("    ") and x.isprintable() for x in others)
    word = first.rpartition(" x=")[2] if " x=" not in value else None
    if word is not None:
        assert re.fullmatch(r'[\w./:@%+-]+|"([^"\\]|\\.)*"', word, re.ASCII), word


@given(ANY_TEXT)
def test_ids_of_clients_are_taken_if_they_are_short_words(text):
    found = access_log.request_id([text])
    assert re.fullmatch(r"[A-Za-z0-9._:/+=@-]{1,128}", found)
    assert found == text or re.fullmatch("[0-9a-f]{32}", found)


def test_ids_are_made_if_there_is_no_valid_one():
    assert access_log.request_id(["a-1"]) == "a-1"
    for given_ids in ([], [""], ["a" * 129], ["a", "b"], ["a\n"], ["é"]):
        assert len(access_log.request_id(given_ids)) == 32
    assert access_log.request_id() != access_log.request_id()


def handle(app, path="/x", method="GET"):
    """Calls an application behind the access log; returns lines and messages."""
    lines, sent = [], []

    async def receive():
        return {"type": "http.request", "body": b"12345", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"method": method, "headers": [], "client": ("::1", 5)}
    scope["raw_path"] = path.encode("latin-1")
    logged = access_log.AccessLog(app, lambda *line: lines.append(line))
    with contextlib.suppress(asyncio.CancelledError):
        served.run(logged(scope, receive, send))
    return lines, sent


def respond(status, body=b""):
    async def app(_, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


def test_a_request_is_recorded_with_its_sizes():
    ((level, fields),), sent = handle(respond(200, b"abc"), "/" + 300 * "a")
    assert level == "info"
    assert fields.pop("milliseconds") >= 0
    identity = fields.pop("request_id")
    assert fields == {
        "client": "::1",
        "method": "GET",
        "path": "/" + 199 * "a" + "...",
        "status": 200,
        "bytes_in": 5,
        "bytes_out": 3,
    }
    assert sent[0]["headers"] == [(b"x-request-id", identity.encode())]
    ((_, fields),), _ = handle(respond(200, b"abc"), method="HEAD")
    assert fields["bytes_out"] == 0


@pytest.mark.parametrize(
    ("status", "level"),
    [(400, "info"), (499, "info"), (413, "info"), (503, "warning"), (500, "error")],
)
def test_mistakes_of_clients_are_no_errors(status, level):
    async def gone(*_):
        raise asyncio.CancelledError

    ((found, fields),), _ = handle(gone if status == 499 else respond(status))
    assert (found, fields["status"]) == (level, status)


def test_successful_probes_are_not_recorded():
    for path in ("/healthz", "/readyz", "/metrics"):
        assert not handle(respond(200), path)[0]
        assert handle(respond(503), path)[0]


def test_waiting_and_computing_are_recorded_apart():
    async def main():
        batcher = batching.Batcher(8, 1000, 0)

        def compute(payloads):
            time.sleep(0.1)
            return payloads

        async def request():
            record = access_log.Record()
            access_log.CURRENT.set(record)
            deadline = asyncio.get_running_loop().time() + 5
            await batcher.submit(compute, 1, key=object(), weight=1, deadline=deadline)
            return record

        found = await asyncio.gather(*[asyncio.create_task(request()) for _ in "ab"])
        await batcher.close()
        return found

    # Each takes 0.1 s; the second one waits for the first.
    first, second = served.run(main())
    assert (first.queue_seconds < 0.05, first.compute_seconds >= 0.1) == (True, True)
    assert 0.1 <= second.queue_seconds < 0.19
    assert 0.1 <= second.compute_seconds < 0.19


def test_images_are_recorded_by_number_and_largest_size():
    record = access_log.Record(began=time.monotonic() - 2)
    record.add_images(1, 30, 20)
    record.add_images(2, 20, 29)
    with record.decoding():
        time.sleep(0.01)
    record.add_call(time.monotonic() - 1, None)
    fields = record.fields()
    assert (fields["images"], fields["height"], fields["width"]) == (3, 30, 20)
    assert fields["decode_milliseconds"] >= 10
    assert 1000 <= fields["queue_milliseconds"] < 1500
    assert fields["compute_milliseconds"] == 0
    assert 2000 <= fields["milliseconds"] < 2500


def test_the_cpu_time_of_decoders_includes_those_that_have_ended():
    process = subprocess.Popen(
        [sys.executable, "-c", "sum(range(10**7)); print(); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def values(*pids):
        collected = process_metrics.Decoders(lambda: pids).collect()
        return {s.name: s.value for family in collected for s in family.samples}

    before = values()
    process.stdout.readline()  # It has computed.
    running = values(process.pid)
    process.communicate(b"\n")
    name = "kerasseg_decoders_process_cpu_seconds_total"
    assert running[name] >= before[name] + 0.05
    assert values()[name] >= running[name] - 0.02  # /proc has ticks of 0.01 s.
    assert [x["kerasseg_decoders"] for x in (before, running)] == [0, 1]
    assert running["kerasseg_decoders_process_resident_memory_bytes"] > 10**6
    assert values(process.pid)["kerasseg_decoders"] == 0


def test_calls_of_grpc_are_recorded_with_their_status():
    grpc = pytest.importorskip("grpc")
    grpc_access = pytest.importorskip("kerasseg.serve.grpc_access")
    lines, sent = [], []

    class Context:
        def peer(self):
            return "ipv6:%5B::1%5D:5000"

        def invocation_metadata(self):
            return [("x-request-id", "abc")]

        async def send_initial_metadata(self, metadata):
            sent.extend(metadata)

        def code(self):
            return 14  # UNAVAILABLE.

    message = types.SimpleNamespace(ByteSize=lambda: 7)

    async def fail(*_):
        raise grpc.aio.AbortError

    async def succeed(*_):
        return message

    for call, error in ((succeed, None), (fail, grpc.aio.AbortError)):
        observed = grpc_access.observed("/A/B", call, lambda *x: lines.append(x))
        with pytest.raises(error) if error else contextlib.nullcontext():
            served.run(observed(message, Context()))
    assert sent == 2 * [("x-request-id", "abc")]
    (level, fields), (bad_level, bad) = lines
    assert (level, fields["grpc_status"], fields["bytes_out"]) == ("info", "OK", 7)
    assert (fields["client"], fields["method"], fields["bytes_in"]) == (
        "::1",
        "/A/B",
        7,
    )
    assert (bad_level, bad["grpc_status"]) == ("warning", "UNAVAILABLE")


def test_events_threads_and_warnings_go_to_the_log_while_it_is_open(monkeypatch):
    pipe = Pipe()
    monkeypatch.setattr(line_writer, "descriptors", lambda: (pipe.writing, None))
    handlers = logging.getLogger().handlers[:]
    with logs.opened("json", "off") as log:
        log.request("info", {"path": "/"})  # The access log is off.
        logger = logging.getLogger("kerasseg.serve.test")
        try:
            raise ValueError("secret\nline")
        except ValueError:
            logger.exception("A request failed.")
        logger.info("started %d", 1)
        logger.warning("%d", "no number")
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("h11").info("detail")
        thread = threading.Thread(target=lambda: 1 / 0, name="worker")
        thread.start()
        thread.join()
    assert logging.getLogger().handlers == handlers
    failed, started, wrong, died = map(json.loads, pipe.read().splitlines())
    assert failed["level"] == "error" and "ValueError: secret" in failed["exception"]
    assert (started["level"], started["message"]) == ("info", "started 1")
    assert wrong["message"] == "%d"
    assert died["message"] == "The thread worker failed."
    assert "ZeroDivisionError" in died["exception"]


def finish(server):
    """Stops a server; returns the objects of its standard output after the first."""
    server.process.send_signal(signal.SIGTERM)
    output, _ = server.process.communicate(timeout=30)
    assert server.process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


def test_a_server_logs_each_request_as_an_object_and_no_secret(tmp_path):
    put(tmp_path, 1)
    server = Fake(tmp_path, log_format="json", access_log="json")
    try:
        first = json.loads(server.line)
        assert first["address"] == f"http://127.0.0.1:{server.port}/"
        server.wait_until_ready()
        secret = {"Authorization": "secret-1", "Cookie": "secret-2"}
        headers = {**secret, "X-Request-ID": "id-1"}
        _, found, _ = server.request(
            "POST", "/segment?key=secret-3", IMAGE_FILE, headers
        )
        assert found["X-Request-ID"] == "id-1"
        head = b"POST /segment HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\x80b\r\n"
        bad = server.send(
            head + b"Connection: close\r\nContent-Length: 8\r\n\r\nsecret-4"
        )
        server.send(b"\x16\x03secret-5")
        server.request("POST", "/segment", png([[252, 0]]), {"X-Request-ID": "crash"})
        assert server.metric("process_cpu_seconds_total") > 0
        assert server.metric("process_resident_memory_bytes") > 10**7
        assert server.metric("kerasseg_decoders") >= 2
        assert server.metric("kerasseg_log_lines_dropped_total") == 0
        lines = finish(server)
    finally:
        server.stop()
    assert "secret" not in json.dumps(lines)
    assert server.errors.read_text() == ""
    requests = [line for line in lines if line["message"] == "request"]
    by_id = {line["request_id"]: line for line in requests}
    good = by_id["id-1"]
    assert (good["path"], good["status"], good["level"]) == ("/segment", 200, "info")
    assert (good["height"], good["width"], good["images"]) == (2, 3, 1)
    assert good["bytes_in"] == len(IMAGE_FILE) and good["bytes_out"] > 0
    assert 0 < good["compute_milliseconds"] <= good["milliseconds"]
    identity = re.search(rb"x-request-id: ([0-9a-f]{32})\r\n", bad)[1].decode()
    assert (by_id[identity]["status"], by_id[identity]["level"]) == (400, "info")
    assert next(line for line in requests if "path" not in line)["status"] == 400
    events = {line["message"]: line for line in lines if line["message"] != "request"}
    assert events["Version 1 of levels is now served."]["level"] == "info"
    assert events["The server has stopped."]["level"] == "info"
    (crash,) = [line for line in events.values() if line["level"] == "warning"]
    assert crash["message"].startswith("A process that decoded an image ended")
    assert crash["request_id"] == "crash"
    for line in (first, *lines):
        datetime.datetime.fromisoformat(line["time"])
        assert line["time"].endswith("Z")


class Unheard(Fake):
    """A server whose log nobody reads, on a full disk, or with closed streams."""

    def __init__(self, folder, redirection):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        given = {"log_format": "text", "access_log": "json", "port": self.port}
        self.process = subprocess.Popen(
            [
                *("/bin/sh", "-c", f'exec "$@" {redirection}', "sh"),
                *self.command(folder, given),
            ],
            stdout=subprocess.PIPE,
            cwd=faults.ROOT,
        )

    def stop(self):
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()

    def is_ready(self):
        with contextlib.suppress(ConnectionError):
            return self.request("GET", "/readyz")[0] == 200

    def send_many(self, count):
        """Sends requests whose lines have 400 bytes."""
        head = b"GET /" + 190 * b"x" + b" HTTP/1.1\r\nHost: localhost\r\n"
        for _ in range(count // 50):
            close = head + b"Connection: close\r\n\r\n"
            assert self.send(49 * (head + b"\r\n") + close).count(b" 404 ") == 50


def test_a_server_whose_log_blocks_and_ends_goes_on(tmp_path):
    put(tmp_path, 1)
    server = Unheard(tmp_path, "2>/dev/full")
    try:
        until(server.is_ready)
        dropped = "kerasseg_log_lines_dropped_total"
        lost = server.metric(dropped)
        assert lost >= 1  # The event that the version is served.
        server.send_many(300)  # More than the 64 KiB of the pipe.
        server.check_alive()
        assert server.metric(dropped) == lost
        server.process.stdout.close()  # Now writing fails at once.
        until(lambda: server.metric(dropped) > lost + 100)
        server.check_alive()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>&-"])
def test_a_server_with_closed_streams_goes_on(tmp_path, redirection):
    put(tmp_path, 1)
    server = Unheard(tmp_path, redirection)
    try:
        until(server.is_ready)
        server.send_many(100)
        server.check_alive()
        # No connection has the number of a standard stream.
        for number in range(3):
            target = os.readlink(f"/proc/{server.process.pid}/fd/{number}")
            assert target.startswith(("/dev/", "pipe:")), target
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        server.stop()
