"""Clients that flood connections, logs and workers, and ambiguous requests."""

import contextlib
import io
import itertools
import json
import logging
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from kerasseg import errors
from kerasseg.serve import (
    decoding,
    file_headers,
    listening,
    logs,
    request_checks,
    settings,
    versions,
)
from kerasseg.serve.request_errors import RequestError
from tests.support import serve_fake, served
from tests.support.server_process import (
    IMAGE_FILE,
    Fake,
    put,
    rest,
    running,
    serving,
    until,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("exported")) as running_server:
        yield running_server


pytestmark = pytest.mark.usefixtures("stays_alive")


# Requests whose end a proxy may see elsewhere.

BODY = b"5\r\nhello\r\n0\r\n\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def statuses(response):
    return re.findall(rb"HTTP/1\.1 (\d{3}) ", response)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", b"400"),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"400"),
        (b"Content-Length: 15\r\nContent-Length: 5\r\n", b"400"),
        (b"Content-Length: 15\n", b"400"),
        (b"Content-Length: 15\r\n\tx\r\n", b"400"),
        (b"X: a\r\n b\r\nContent-Length: 15\r\n", b"400"),
        (b"X: a\rContent-Length: 15\r\n", b"400"),
        (b"Content-Length : 15\r\n", b"400"),
        (b"Content-Length: +15\r\n", b"400"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_ambiguous_requests_are_refused_and_the_connection_is_closed(
    server, head, status, first
):
    start = b"POST /segment HTTP/1.1\r\nHost: localhost\r\n"
    data = (b"" if first else NEXT) + start + head + b"\r\n" + BODY + NEXT
    response = server.send(data)
    assert statuses(response) == ([status] if first else [b"200", status]), response


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", b"505"),
        (b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", b"505"),
        (b"GET /healthz HTTP/1.1\nHost: localhost\n\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (
            b"POST /segment HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
            b"400",
        ),
        (
            b"POST /segment HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
            b"\r\n\r\n5\r\nhello\r\n0\r\n\n",
            b"400",
        ),
    ],
)
def test_malformed_requests_are_refused_and_the_connection_is_closed(
    server, data, status
):
    response = server.send(data + NEXT)
    assert statuses(response) == [status], response


# Other hosts and other sites.


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"Host": "evil.example"}, 421),
        ("/segment", {"Host": "evil.example"}, 421),
        ("/v1/models/levels", {"Host": "127.0.0.1.evil.example:8501"}, 421),
        ("/model", {"Host": "localhost@evil.example"}, 421),
        ("/", {"Host": "LocalHost:1"}, 200),
        ("/", {"Host": "[::1]:8501"}, 200),
        ("/healthz", {"Host": "10.0.0.7:8501"}, 200),
        ("/readyz", {"Host": "pod"}, 200),
        ("/metrics", {"Host": "pod"}, 200),
        ("/", {"Sec-Fetch-Site": "cross-site"}, 200),  # A link.
        ("/segment", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/segment", {"Origin": "https://evil.example"}, 403),
        ("/segment", {"Origin": "null"}, 403),
        ("/segment", {"Origin": "http://localhost:8501"}, 200),
        ("/segment", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("/v1/models/levels:predict", {"Sec-Fetch-Site": "Cross-Site"}, 403),
    ],
)
def test_other_hosts_and_other_sites_are_refused(server, path, headers, status):
    post = path in ("/segment", "/v1/models/levels:predict")
    method, body = ("POST", IMAGE_FILE) if post else ("GET", None)
    assert server.request(method, path, body, headers)[0] == status


@pytest.mark.parametrize(
    ("given", "host", "names"),
    [
        ("", "0.0.0.0", {"*"}),
        ("", "127.0.0.1", {"localhost", "127.0.0.1", "[::1]"}),
        ("", "127.0.0.2", {"localhost", "127.0.0.1", "[::1]", "127.0.0.2"}),
        ("", "::1", {"localhost", "127.0.0.1", "[::1]"}),
        (" A.example, b ", "127.0.0.1", {"a.example", "b"}),
        ("*", "127.0.0.1", {"*"}),
    ],
)
def test_the_allowed_hosts_are_those_given_or_the_loopback_names(given, host, names):
    assert request_checks.allowed_hosts(given, host) == names


# Workers.


def decoders(server):
    """Returns the process numbers of the decoders, zombies included."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return {int(pid) for each in tasks for pid in each.read_text().split()}


def test_decoders_that_are_killed_while_idle_fail_no_request(server):
    server.check_alive()
    until(lambda: len(decoders(server)) == 3)  # Two, and a spare one.
    for _ in range(3):
        before = decoders(server)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        server.check_alive()
        until(lambda before=before: not before & decoders(server))  # Reaped.
        server.check_alive()
    until(lambda: len(decoders(server)) == 3)


# Files that keep a decoder busy, or make it print.


def chunk(kind, data):
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def png_with(extra):
    """Returns the image file with chunks after its header."""
    return IMAGE_FILE[:33] + extra + IMAGE_FILE[33:]


def jpeg(**options):
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "file",
    [
        png_with(100_000 * chunk(b"tEXt", b"")),
        png_with(2000 * chunk(b"zTXt", b"a\0\0")),
        png_with(200_000 * chunk(b"IDAT", b"")),
        b"\xff\xd8" + b"\xff\xfe\0\2" * 4_000_000,
        jpeg()[:2] + 2000 * b"\xff\xe1\0\2" + jpeg()[2:],
        jpeg()[:-2] + 500 * jpeg()[jpeg().index(b"\xff\xda") : -2] + b"\xff\xd9",
    ],
    ids=["text", "compressed", "empty", "comments", "segments", "scans"],
)
def test_files_of_too_many_parts_are_refused_before_they_are_decoded(server, file):
    written = server.errors.stat().st_size
    began = time.monotonic()
    status, error = server.json("POST", "/segment", file)
    assert status == 400
    assert "which is the limit; save it again" in error["error"]
    assert time.monotonic() - began < 4
    assert server.errors.stat().st_size == written


@pytest.mark.parametrize("count", [1, 900])
def test_messages_of_decoders_are_counted_and_not_logged(server, count):
    before = server.metric("kerasseg_decoder_messages_total")
    written = server.errors.stat().st_size
    file = png_with(count * chunk(b"tEXt", b""))
    server.request("POST", "/segment", file)
    until(lambda: server.metric("kerasseg_decoder_messages_total") >= before + count)
    assert server.errors.stat().st_size == written


@given(
    st.lists(st.sampled_from([b"tEXt", b"IDAT", b"eXIf"]), max_size=30),
    st.binary(max_size=9),
    st.booleans(),
)
@hypothesis_settings(deadline=None)
def test_the_parts_of_any_file_are_counted_without_an_error(kinds, data, cut):
    file = png_with(b"".join(chunk(kind, data) for kind in kinds))
    for start in (b"", b"\xff\xd8", b"\xff\xd8\xff\xda"):
        file_headers.check_structure(start + file[: len(file) // (1 + cut)])


def test_progressive_images_are_not_refused():
    file = jpeg(progressive=True, quality=95)
    assert file.count(b"\xff\xda") > 3
    file_headers.check_structure(file)


def test_the_cpu_time_of_a_decoder_is_limited():
    async def main():
        decoder = decoding.Decoder(1, 20, function=serve_fake.compute_forever)
        try:
            await decoder.decode(served.FILE, upright=True)
        finally:
            decoder.close()

    began = time.monotonic()
    with pytest.raises(RequestError, match="took too long") as caught:
        served.run(main())
    assert caught.value.status == 504
    assert time.monotonic() - began < 9.5  # Not the 20 seconds of the clock.


# Logs.


def test_websocket_upgrades_and_invalid_requests_do_not_flood_the_log(server):
    written = server.errors.stat().st_size
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    for _ in range(100):
        head = NEXT[:-2] + upgrade
        with server.connect() as line:
            line.sendall(head)
            assert b"200" in line.recv(1000)
        server.send(b"\x16\x03\x01")
    assert server.errors.stat().st_size - written < 2000


def test_messages_of_one_place_are_limited(caplog):
    limit = logs.RateLimit(most=2, seconds=0.3)
    logger = logging.getLogger("test_logs")
    caplog.handler.addFilter(limit)

    def log():
        logger.warning("again %d", 1)

    try:
        for _ in range(5):
            log()
        logger.warning("another")
        time.sleep(0.35)
        log()
    finally:
        caplog.handler.removeFilter(limit)
    assert [record.getMessage() for record in caplog.records] == [
        *["again 1"] * 2,
        "another",
        "again 1 (3 like this were dropped)",
    ]


# Connections.


class FewDescriptors(Fake):
    """A server whose process may open few files."""

    limit = 600

    def command(self, folder, chosen):
        limit = f"import resource; resource.setrlimit(7, ({self.limit},) * 2); "
        run = "import runpy, sys; sys.argv.pop(0); runpy.run_module"
        code = f"{limit}{run}('tests.support.serve_fake', run_name='__main__')"
        python, _, module, *given = super().command(folder, chosen)
        return [python, "-c", code, module, *given]

    def __init__(self, folder, **chosen):
        assert resource.RLIMIT_NOFILE == 7
        super().__init__(folder, **chosen)


def addresses():
    """Yields loopback addresses for clients."""
    return (f"127.0.0.{i}" for i in itertools.cycle(range(2, 250)))


@pytest.mark.parametrize("many", [False, True], ids=["one address", "many addresses"])
def test_more_connections_than_descriptors_do_not_stop_the_server(tmp_path, many):
    put(tmp_path, 1)
    with running(FewDescriptors(tmp_path)) as server:
        lines = []
        for address in itertools.islice(addresses(), 700):
            source = (address, 0) if many else None
            with contextlib.suppress(OSError):
                lines.append(
                    socket.create_connection(
                        ("127.0.0.1", server.port), 2, source_address=source
                    )
                )
            assert server.num_open() < 600
        lines[-1].settimeout(30)  # The server may run beside other programs.
        with contextlib.suppress(ConnectionError):
            assert lines[-1].recv(1000) == b""  # Aborted, or reset.
        began = time.monotonic()
        connected = socket.create_connection(
            ("127.0.0.1", server.port), 10, source_address=("127.0.1.1", 0)
        )
        with connected as line:
            line.sendall(NEXT[:-2] + b"Connection: close\r\n\r\n")
            response = rest(line)
        if not many:
            assert response.startswith(b"HTTP/1.1 200")
            assert time.monotonic() - began < 5
        for line in lines:
            line.close()
        until(lambda: server.num_open() < 100)
        server.check_alive()
        assert "Traceback" not in server.errors.read_text()


def test_the_limit_for_open_files_is_raised_or_connections_are_lowered(
    monkeypatch, caplog
):
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.append(given))
    chosen = settings.Settings(export_dir=".", model_name="m")

    def lowered(soft, hard, **options):
        limits.append((soft, hard))
        given = settings.Settings(export_dir=".", model_name="m", **options)
        return listening.fit_descriptors(given).max_connections

    # 2 * 512 connections, 384 others and 8 for each of two decoders are 1424.
    assert listening.fit_descriptors(chosen).max_connections == 512
    assert limits[-1] == (1424, 4096)
    assert lowered(256, 4096) == 512
    assert limits[-1] == (1424, 4096)
    assert not caplog.messages
    assert lowered(256, 1000) == (1000 - 400) / 2
    assert limits[-1] == (1000, 1000)
    caplog.clear()
    fitting = listening.fit_descriptors(chosen)
    assert fitting.max_connections_per_client == 128 * 300 // 512
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "max_connections was lowered from 512 to 300, because the process may open "
        "1000 files (ulimit -n)."
    )
    # With gRPC, 3 * 512 + 400 = 1936: 936 too many, 312 of each kind.
    assert lowered(1000, 1000, grpc_port=0) == 200
    # Eight connections need 2 * 8 + 400.
    with pytest.raises(errors.UserError, match="may open 300 files, at least 416 are"):
        lowered(300, 300)


def test_a_full_listener_accepts_nothing():
    with listening.listen(
        settings.Settings(export_dir=".", model_name="m", port=0)
    ) as listener:
        listener.has_room = lambda: False
        with pytest.raises(OSError, match="too many connections"):
            listener.accept()
        listener.has_room = lambda: True
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            accepted.close()


# Versions that block.


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/more"])
@pytest.mark.parametrize("kind", ["fifo", "endless"])
def test_a_version_with_a_file_that_is_not_regular_is_refused(tmp_path, name, kind):
    watcher = versions.Versions(tmp_path, "m", serve_fake.Engine)
    for number in (1, 2, 3):
        put(tmp_path, number)
    path = tmp_path / "3" / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for _ in range(2):
        watcher.poll()
    assert watcher.get().number == 2
    (status,) = watcher.status(3)
    assert f"{path.name} is not a regular file" in status["status"]["error_message"]
    put(tmp_path, 4)
    for _ in range(2):
        watcher.poll()
    assert watcher.get().number == 4


def test_a_version_that_blocks_keeps_no_later_version_out(tmp_path):
    loads = []

    def load(path):
        loads.append(path.name)
        if path.name == "2":
            time.sleep(1.5)
        return serve_fake.Engine(path)

    watcher = versions.Versions(
        tmp_path, "m", load, load_seconds=0.3, retry_seconds=0.0
    )
    put(tmp_path, 1)
    put(tmp_path, 2)
    for _ in range(3):
        watcher.poll()
    assert watcher.get().number == 1
    assert loads.count("2") == 1  # Not again while it is blocked.
    (status,) = watcher.status(2)
    assert "blocked" in status["status"]["error_message"]
    put(tmp_path, 3)
    for _ in range(2):
        watcher.poll()
    assert watcher.get().number == 3


def test_a_folder_that_blocks_is_skipped_and_the_scan_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "_SCAN_SECONDS", 0.2)
    read = versions._fingerprint

    def fingerprint(folder):
        if folder.name == "7":
            time.sleep(2)
        return read(folder)

    monkeypatch.setattr(versions, "_fingerprint", fingerprint)
    put(tmp_path, 1)
    put(tmp_path, 7)
    watcher = versions.Versions(tmp_path, "m", serve_fake.Engine)
    for _ in range(2):
        watcher.poll()
    assert watcher.get().number == 1
    assert watcher.seconds_since_last_scan < 1
    monkeypatch.setattr(os, "listdir", lambda _: time.sleep(1))
    with pytest.raises(TimeoutError):
        watcher.poll()
    assert watcher.seconds_since_last_scan > 0.2


def test_the_time_since_the_last_scan_is_a_metric(server):
    assert 0 < server.metric("kerasseg_seconds_since_last_model_scan") < 5


def test_an_error_repeats_only_the_start_of_a_long_value():
    assert str(RequestError(400, "x" * 10**6)) == "x" * 1000 + "..."
    assert json.dumps(str(RequestError(400, "short"))) == '"short"'
