"""Connections and load, with a network whose time is chosen: deadlines and limits."""

import concurrent.futures
import contextlib
import json
import shutil
import signal
import time

import pytest

from tests.server_process import (
    PICTURE,
    POST,
    Fake,
    at_once,
    png,
    put,
    rest,
    serving,
    until,
)

SLOW, SLOWER = png([[250, 7]]), png([[250, 20]])  # Tenths of a second.


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with serving(folder, max_megapixels=1e-5, max_request_mib=0.05) as made:
        yield made


@pytest.fixture(autouse=True)
def stays_alive(request):
    """After whatever was asked, the next good request succeeds."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").check_alive()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b"408"),
        (b"GET /healthz HTTP/1.1\r\nHost", b"408"),
        (POST + b"10\r\n\r\nabc", b"408"),
        (POST + b"nan\r\n\r\n", b"400"),
        (POST + b"-1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00 this is TLS", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 5000, b"400"),
    ],
)
def test_stalled_and_broken_connections_are_told_and_closed(server, sent, status):
    with server.connect() as line:
        line.sendall(sent)
        answer = rest(line)
    assert answer.split()[1] == status
    assert "error" in json.loads(answer.split(b"\r\n\r\n")[1])


def test_a_body_that_is_longer_than_it_says_is_no_request(server):
    with server.connect() as line:
        line.sendall(POST + b"%d\r\n\r\n" % len(PICTURE) + PICTURE + b"more\r\n\r\n")
        answer = rest(line)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 400" in answer


def test_an_endless_body_is_refused_while_it_comes(server):
    with server.connect() as line:
        line.sendall(
            b"POST /segment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(200):  # 50 times what is allowed, then it stalls.
                line.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        answer = rest(line)
    assert answer.startswith(b"HTTP/1.1 413")


def test_more_than_the_limit_are_told_to_come_back(tmp_path):
    with serving(tmp_path, max_requests=2) as server:
        answers = at_once(
            *[lambda: server.ask("POST", "/segment", SLOW) for _ in range(5)]
        )
        assert sorted(status for status, *_ in answers) == [200, 200, 503, 503, 503]
        waits = {
            headers["retry-after"] for status, headers, _ in answers if status == 503
        }
        assert waits <= {"1", "2"}
        assert server.ask("POST", "/segment", PICTURE)[0] == 200


def test_deadlines_in_the_queue_and_at_work_differ(tmp_path):
    with serving(tmp_path, request_seconds=1.0, max_batch_size=1) as server:
        server.ask("POST", "/segment", PICTURE)  # The decoders are awake now.
        answers = at_once(
            *[lambda: server.ask("POST", "/segment", SLOWER) for _ in range(3)]
        )
        assert sorted(status for status, *_ in answers) == [429, 429, 504]
        time.sleep(1.5)  # What was given up in the queue is not computed any more.
        assert server.ask("POST", "/segment", PICTURE)[0] == 200


def test_what_nobody_waits_for_is_not_computed(tmp_path):
    with serving(tmp_path, max_batch_size=1) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.ask, "POST", "/segment", SLOWER)
            until(lambda: server.metric("kerasseg_requests_inside") == 1)
            lines = [server.connect() for _ in range(5)]
            for line in lines:
                line.sendall(POST + b"%d\r\n\r\n" % len(PICTURE) + PICTURE)
            until(lambda: server.metric("kerasseg_requests_inside") == 6)
            for line in lines:
                line.close()
            until(lambda: server.metric("kerasseg_requests_inside") == 1)
            assert answer.result()[0] == 200
        gone = 'kerasseg_requests_total{route="segment",status="499"}'
        assert server.metric(gone) == 5
        server.check_alive()
        assert server.metric("kerasseg_batch_pictures_count") == 2  # Not 7.


def test_a_picture_that_ends_its_decoder_costs_no_other(tmp_path):
    deadly, endless = png([[252, 0]]), png([[253, 0]])
    with serving(tmp_path, decoders=3) as server:
        bodies = [deadly, PICTURE, endless, PICTURE, deadly, PICTURE]
        answers = at_once(
            *[lambda body=body: server.ask("POST", "/segment", body) for body in bodies]
        )
        assert [status for status, *_ in answers] == [500, 200, 504, 200, 500, 200]
        for _ in range(3):  # More than there are processes.
            assert server.ask("POST", "/segment", deadly)[0] == 500
            server.check_alive()


def test_versions_that_come_and_go_under_load_leave_it_well(tmp_path):
    with serving(tmp_path) as server:
        busy = True

        def load():
            while busy:
                yield server.ask("POST", "/segment", PICTURE)[0]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(lambda: set(load())) for _ in range(8)]
            for number in range(2, 30):
                put(tmp_path, number, *(["broken"] if number % 3 == 0 else []))
                time.sleep(0.05)
                if number % 2:
                    shutil.rmtree(tmp_path / str(number - 1))
            busy = False
            assert [future.result() for future in asked] == [{200}] * 8
        until(lambda: server.json("GET", "/readyz")[1]["version"] == "29")
        states = server.json("GET", "/v1/models/levels")[1]["model_version_status"]
        assert [each["state"] for each in states].count("AVAILABLE") == 1
        server.check_alive()


def test_connections_are_capped(tmp_path):
    with serving(tmp_path, max_connections_per_client=3) as server:
        time.sleep(0.2)
        lines = [server.connect() for _ in range(4)]
        answer = rest(lines[3])
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Your address has too many connections" in answer
        for line in lines:
            line.close()


def test_a_new_version_takes_over_and_a_broken_one_does_not(tmp_path):
    with serving(tmp_path) as server:
        put(tmp_path, 2)
        deadline = time.monotonic() + 10
        while server.json("GET", "/readyz")[1]["version"] != "2":
            assert time.monotonic() < deadline
        put(tmp_path, 3, "broken")
        while (
            len(server.json("GET", "/v1/models/levels")[1]["model_version_status"]) < 3
        ):
            assert time.monotonic() < deadline
        time.sleep(0.3)
        _, facts = server.json("GET", "/v1/models/levels")
        found = [(f["version"], f["state"]) for f in facts["model_version_status"]]
        assert found == [("3", "END"), ("2", "AVAILABLE"), ("1", "END")]
        assert server.ask("POST", "/segment", PICTURE)[1]["x-model-version"] == "2"


def test_sigterm_lets_what_is_here_be_answered(tmp_path):
    with serving(tmp_path) as server:
        server.ask("POST", "/segment", PICTURE)  # The decoders are awake now.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.ask, "POST", "/segment", SLOW)
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            assert answer.result()[0] == 200
        assert server.process.wait(10) == 0
        with pytest.raises(ConnectionRefusedError):
            server.ask("GET", "/healthz")


def test_what_is_not_done_in_the_time_to_stop_is_told_so(tmp_path):
    with serving(tmp_path, grace_seconds=0.5) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.json, "POST", "/segment", SLOWER)
            until(lambda: server.metric("kerasseg_requests_inside") == 1)
            server.process.send_signal(signal.SIGTERM)
            assert answer.result() == (
                503,
                {"error": "The server is stopping; ask another."},
            )
        assert server.process.wait(10) == 0


@pytest.mark.parametrize(("end", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_does_not_wait_for_a_network_that_computes_for_nobody(tmp_path, end, status):
    with serving(tmp_path, grace_seconds=0.5) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            endless = png([[250, 255]])  # 25.5 seconds.
            answer = pool.submit(server.ask, "POST", "/segment", endless)
            until(lambda: server.metric("kerasseg_batch_pictures_count") == 1)
            server.process.send_signal(end)
            assert answer.result()[0] == 503
        assert server.process.wait(10) == status


def test_ctrl_c_ends_with_its_own_status(tmp_path):
    with serving(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 130


def test_before_there_is_a_version_it_is_alive_and_not_ready(tmp_path):
    server = Fake(tmp_path)
    try:
        assert server.ask("GET", "/healthz")[0] == 200
        for method, path in (
            ("GET", "/readyz"),
            ("GET", "/model"),
            ("POST", "/segment"),
            ("POST", "/v1/models/levels:predict"),
        ):
            status, headers, _ = server.ask(method, path, b"")
            assert (status, headers["retry-after"]) == (503, "1")
        assert server.json("GET", "/v1/models/levels")[0] == 404
    finally:
        server.stop()


def test_a_header_that_takes_long_to_read_keeps_nobody_else_waiting(tmp_path):
    parts = b"\xff\xfe\0\2" * 4_000_000  # Empty comments of a JPEG: 15 s of reading.
    with serving(tmp_path) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.json, "POST", "/segment", b"\xff\xd8" + parts)
        until(lambda: server.metric("kerasseg_requests_inside") == 1)
        assert server.ask("GET", "/healthz")[0] == 200
        assert not slow.done()
        # No picture; or given up after the five seconds that it may take here.
        assert slow.result()[0] in (400, 504)
