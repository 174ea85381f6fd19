"""Timeouts and limits of connections, with a network of adjustable speed."""

import concurrent.futures
import contextlib
import json
import shutil
import signal
import time

import pytest

from tests.support.server_process import (
    IMAGE_FILE,
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
    with serving(folder, max_megapixels=1e-5, max_request_mib=0.05) as running_server:
        yield running_server


pytestmark = pytest.mark.usefixtures("stays_alive")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b"408"),
        (b"GET /healthz HTTP/1.1\r\nHost", b"408"),
        (POST + b"10\r\n\r\nabc", b"408"),
        (POST + b"nan\r\n\r\n", b"400"),
        (POST + b"-1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00 this is TLS", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5000, b"400"),
    ],
)
def test_stalled_and_broken_connections_receive_an_error_and_are_closed(
    server, sent, status
):
    with server.connect() as line:
        line.sendall(sent)
        response = rest(line)
    assert response.split()[1] == status
    assert "error" in json.loads(response.split(b"\r\n\r\n")[1])


def test_data_after_the_body_is_not_a_request(server):
    with server.connect() as line:
        line.sendall(
            POST + b"%d\r\n\r\n" % len(IMAGE_FILE) + IMAGE_FILE + b"more\r\n\r\n"
        )
        response = rest(line)
    assert response.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 400" in response


def test_an_endless_body_is_an_error_while_it_arrives(server):
    with server.connect() as line:
        line.sendall(
            b"POST /segment HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(200):  # 50 times the limit, then it stalls.
                line.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        response = rest(line)
    assert response.startswith(b"HTTP/1.1 413")


def test_requests_beyond_the_limit_receive_503(tmp_path):
    with serving(tmp_path, max_requests=2) as server:
        responses = at_once(
            *[lambda: server.request("POST", "/segment", SLOW) for _ in range(5)]
        )
        assert sorted(status for status, *_ in responses) == [200, 200, 503, 503, 503]
        waits = {
            headers["retry-after"] for status, headers, _ in responses if status == 503
        }
        assert waits <= {"1", "2"}
        assert server.request("POST", "/segment", IMAGE_FILE)[0] == 200


def test_deadlines_in_the_queue_and_during_the_computation_differ(tmp_path):
    with serving(tmp_path, request_seconds=1.0, max_batch_size=1) as server:
        server.request("POST", "/segment", IMAGE_FILE)  # The decoders have started.
        responses = at_once(
            *[lambda: server.request("POST", "/segment", SLOWER) for _ in range(3)]
        )
        assert sorted(status for status, *_ in responses) == [429, 429, 504]
        time.sleep(1.5)  # Requests cancelled in the queue are not computed.
        assert server.request("POST", "/segment", IMAGE_FILE)[0] == 200


def test_requests_of_disconnected_clients_are_not_computed(tmp_path):
    with serving(tmp_path, max_batch_size=1) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            response = pool.submit(server.request, "POST", "/segment", SLOWER)
            until(lambda: server.metric("kerasseg_requests_inside") == 1)
            lines = [server.connect() for _ in range(5)]
            for line in lines:
                line.sendall(POST + b"%d\r\n\r\n" % len(IMAGE_FILE) + IMAGE_FILE)
            until(lambda: server.metric("kerasseg_requests_inside") == 6)
            for line in lines:
                line.close()
            until(lambda: server.metric("kerasseg_requests_inside") == 1)
            assert response.result()[0] == 200
        gone = 'kerasseg_requests_total{route="segment",status="499"}'
        assert server.metric(gone) == 5
        server.check_alive()
        assert server.metric("kerasseg_batch_pictures_count") == 2  # Not 7.


def test_an_image_that_crashes_its_decoder_fails_no_other(tmp_path):
    crash, endless = png([[252, 0]]), png([[253, 0]])
    with serving(tmp_path, decoders=3) as server:
        bodies = [crash, IMAGE_FILE, endless, IMAGE_FILE, crash, IMAGE_FILE]
        responses = at_once(
            *[
                lambda body=body: server.request("POST", "/segment", body)
                for body in bodies
            ]
        )
        assert [status for status, *_ in responses] == [500, 200, 504, 200, 500, 200]
        for _ in range(3):  # More than there are processes.
            assert server.request("POST", "/segment", crash)[0] == 500
            server.check_alive()


def test_versions_can_be_added_and_removed_under_load(tmp_path):
    with serving(tmp_path) as server:
        busy = True

        def load():
            while busy:
                yield server.request("POST", "/segment", IMAGE_FILE)[0]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(lambda: set(load())) for _ in range(8)]
            for number in range(2, 30):
                put(tmp_path, number, *(["broken"] if number % 3 == 0 else []))
                time.sleep(0.05)
                if number % 2:
                    shutil.rmtree(tmp_path / str(number - 1))
            busy = False
            assert [future.result() for future in clients] == [{200}] * 8
        until(lambda: server.json("GET", "/readyz")[1]["version"] == "29")
        states = server.json("GET", "/v1/models/levels")[1]["model_version_status"]
        assert [each["state"] for each in states].count("AVAILABLE") == 1
        server.check_alive()


def test_the_number_of_connections_is_limited(tmp_path):
    with serving(tmp_path, max_connections_per_client=3) as server:
        time.sleep(0.2)
        lines = [server.connect() for _ in range(4)]
        response = rest(lines[3])
        assert response.startswith(b"HTTP/1.1 503")
        assert b"Your address has too many connections" in response
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
        _, status = server.json("GET", "/v1/models/levels")
        states = [(s["version"], s["state"]) for s in status["model_version_status"]]
        assert states == [("3", "END"), ("2", "AVAILABLE"), ("1", "END")]
        assert (
            server.request("POST", "/segment", IMAGE_FILE)[1]["x-model-version"] == "2"
        )


def test_received_requests_are_completed_after_sigterm(tmp_path):
    with serving(tmp_path) as server:
        server.request("POST", "/segment", IMAGE_FILE)  # The decoders have started.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            response = pool.submit(server.request, "POST", "/segment", SLOW)
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            assert response.result()[0] == 200
        assert server.process.wait(10) == 0
        with pytest.raises(ConnectionRefusedError):
            server.request("GET", "/healthz")


def test_requests_not_completed_in_the_grace_period_receive_503(tmp_path):
    with serving(tmp_path, grace_seconds=0.5) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            response = pool.submit(server.json, "POST", "/segment", SLOWER)
            until(lambda: server.metric("kerasseg_requests_inside") == 1)
            server.process.send_signal(signal.SIGTERM)
            assert response.result() == (
                503,
                {"error": "The server is stopping; use another one."},
            )
        assert server.process.wait(10) == 0


@pytest.mark.parametrize(("end", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_does_not_wait_for_an_aborted_computation(tmp_path, end, status):
    with serving(tmp_path, grace_seconds=0.5) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            endless = png([[250, 255]])  # 25.5 seconds.
            response = pool.submit(server.request, "POST", "/segment", endless)
            until(lambda: server.metric("kerasseg_batch_pictures_count") == 1)
            server.process.send_signal(end)
            assert response.result()[0] == 503
        assert server.process.wait(10) == status


def test_ctrl_c_ends_with_status_130(tmp_path):
    with serving(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 130


def test_without_a_version_it_is_alive_and_not_ready(tmp_path):
    server = Fake(tmp_path)
    try:
        assert server.request("GET", "/healthz")[0] == 200
        for method, path in (
            ("GET", "/readyz"),
            ("GET", "/model"),
            ("POST", "/segment"),
            ("POST", "/v1/models/levels:predict"),
        ):
            status, headers, _ = server.request(method, path, b"")
            assert (status, headers["retry-after"]) == (503, "1")
        assert server.json("GET", "/v1/models/levels")[0] == 404
    finally:
        server.stop()


def test_an_image_that_takes_long_to_decode_does_not_block_others(tmp_path):
    with serving(tmp_path) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.json, "POST", "/segment", png([[253, 0]]))
        until(lambda: server.metric("kerasseg_requests_inside") == 1)
        assert server.request("GET", "/healthz")[0] == 200
        assert not slow.done()
        assert slow.result()[0] == 504  # After the timeout of five seconds.
