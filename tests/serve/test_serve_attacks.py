"""Attacks by one client: none takes the server from the others."""

import asyncio
import json
import socket
import threading
import time
import types
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import images
from kerasseg.serve import (
    admission,
    batching,
    costs,
    decoding,
    image_pipeline,
    model_api,
    request_checks,
    tensor_outputs,
)
from kerasseg.serve.request_errors import RequestError
from tests.serve.test_serve_hostile import chunk, statuses
from tests.support import served
from tests.support.server_process import IMAGE_FILE, POST, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with serving(folder) as running_server:
        yield running_server


pytestmark = pytest.mark.usefixtures("logs_no_traceback", "stays_alive")


# Requests.

HOST = b"Host: localhost\r\n"
CHUNKED = b"POST /segment HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST + b"-1\r\n\r\n", b"400"),
        (POST + b"9" * 21 + b"\r\n\r\n", b"400"),
        (POST + b"9" * 10_000 + b"\r\n\r\n", b"400"),  # int() has a limit for digits.
        (POST + b"99999999999999\r\n\r\n", b"413"),
        (POST + b"0x5\r\n\r\nhello", b"400"),
        (POST + b"5, 6\r\n\r\nhello", b"400"),
        (POST + b"5_0\r\n\r\nhello", b"400"),
        (POST + b"\xb2\r\n\r\nhello", b"400"),  # A digit, in Unicode.
        (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"5\nhello\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"5\r\nhelloXX0\r\n\r\n", b"400"),
        (CHUNKED + b"F" * 21 + b"\r\n", b"400"),
        (b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", b"421"),
    ],
)  # fmt: skip
def test_odd_lengths_chunks_and_hosts_are_refused(server, data, status):
    with server.connect() as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        response = b"".join(iter(lambda: line.recv(65536), b""))
    assert statuses(response) == [status], response


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/segment",
        "http://localhost/segment",
        "*",
        "evil.example:80",
        "//evil.example/",
        "/%00",
        "/v1/models/levels%0d%0aX:y",
        "/..%2f..%2fetc/passwd",
        "/page.js/../page.html",
        "/?" + "a" * 10_000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "CONNECT", "TRACE"])
def test_odd_targets_are_errors_of_the_client(server, method, target):
    status, headers, body = server.request(method, target)
    assert (status == 200 and (method, target[:2]) == ("GET", "/?")) or (
        status in (400, 404, 405, 421)
        and (method == "CONNECT" or json.loads(body)["error"])
    )
    assert "x" not in headers


HOSTS = ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost."]
FOREIGN = [
    *("evil.example", "localhost.evil.example", "127.0.0.1.", "[::2]", "127.0.0.2"),
    *("localhost..", "localhost evil", "[::1", "::1", "a@localhost", "localhost@a"),
    *("localhost,evil", "localhost/", "http://localhost", "[::1].evil", "[localhost]"),
    *("localhost:x", "localhost:1:2", "xn--localhost", "0x7f.1", "2130706433", ""),
]


@given(st.sampled_from(HOSTS), st.sampled_from(["", ":", ":1", ":65535"]))
def test_each_spelling_of_an_allowed_host_is_served(host, port):
    allowed = request_checks.allowed_hosts("", "127.0.0.1")
    headers = [(b"host", (host + port).encode())]
    request_checks.check_origin({"method": "GET", "headers": headers}, allowed)


@pytest.mark.parametrize("host", sorted(set(FOREIGN) - {"127.0.0.1."}))
def test_no_spelling_of_another_host_is_served(host):
    allowed = request_checks.allowed_hosts("", "127.0.0.1")
    headers = [(b"host", host.encode())]
    with pytest.raises(RequestError) as caught:
        request_checks.check_origin({"method": "GET", "headers": headers}, allowed)
    assert caught.value.status == 421


@pytest.mark.parametrize("site", [None, "none", "same-origin", "cross-site", "?"])
@pytest.mark.parametrize("origin", [None, "http://localhost:1", "https://evil", "null"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
def test_the_pages_of_other_sites_can_only_read(method, origin, site):
    headers = [(b"host", b"localhost")]
    headers += [(b"origin", origin.encode())] if origin else []
    headers += [(b"sec-fetch-site", site.encode())] if site else []
    foreign = site == "cross-site" or (
        site is None and origin in ("https://evil", "null")
    )
    try:
        request_checks.check_origin(
            {"method": method, "headers": headers}, {"localhost"}
        )
        refused = False
    except RequestError as error:
        assert error.status == 403
        refused = True
    assert refused == (foreign and method not in ("GET", "HEAD"))


@pytest.mark.parametrize(
    "host", ["Localhost", "127.1", "2130706433", "0x7f000001", "machine", "::1"]
)
def test_each_spelling_of_a_loopback_address_limits_the_hosts(monkeypatch, host):
    resolve = socket.getaddrinfo

    def getaddrinfo(name, port):
        # As in /etc/hosts of Debian.
        return resolve("127.0.1.1" if name == "machine" else name, port)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    names = request_checks.allowed_hosts("", host)
    assert {"localhost", "127.0.0.1", "[::1]"} <= names
    assert request_checks.ANY not in names
    assert names - {"localhost", "127.0.0.1", "[::1]"} <= {host.lower()}


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "no.such.invalid"])
def test_other_addresses_are_served_under_any_name(host):
    assert request_checks.allowed_hosts("", host) == {request_checks.ANY}


# What one client may hold.


def test_one_client_cannot_hold_all_bytes_of_bodies():
    gate = admission.Admission(9, max_bytes=100)
    with gate.holding("a") as hold, gate.holding("a") as hold_too:
        hold(50)
        hold_too(25)
        with pytest.raises(RequestError, match="limit for the size"):
            hold_too(1)
        with gate.holding("b") as of_another:
            of_another(25)
            with pytest.raises(RequestError, match="limit for the size"):
                of_another(1)
    assert gate.num_bytes == 0


def test_what_one_client_does_not_read_shuts_no_other_one_out():
    gate = admission.Admission(9, 9, max_image_bytes=100)
    with gate.holding_image(1000, "a"):  # Alone, it may exceed the limit.
        with (
            pytest.raises(RequestError, match="limit for the size"),
            gate.holding_image(1, "a"),
        ):
            pass
        for _ in range(2):
            with gate.holding_image(25, "b"):
                assert gate.num_image_bytes == 1025
        with (
            pytest.raises(RequestError, match="limit for the size"),
            gate.holding_image(26, "b"),
        ):
            pass
    with gate.holding_image(26, "b"):
        pass
    assert gate.num_image_bytes == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 150)), min_size=1, max_size=9
    )
)
def test_the_bytes_of_clients_are_within_the_limits(given_sizes):
    gate = admission.Admission(9, 9, max_image_bytes=100)
    entered = []
    for client, size in given_sizes:
        held = gate.holding_image(size, client)
        try:
            held.__enter__()
            entered.append((client, size, held))
        except RequestError:
            pass
    assert entered  # The first one, whatever its size.
    for client in "abc":
        sizes = [size for other, size, _ in entered if other == client]
        assert sum(sizes) <= 75 or len([size for size in sizes if size]) == 1
    capped = sum(
        min(75, sum(size for other, size, _ in entered if other == client))
        for client in "abc"
    )
    assert capped <= 100
    for _, _, held in entered:
        held.__exit__(None, None, None)
    assert gate.num_image_bytes == 0


def test_small_images_of_one_client_leave_time_for_others():
    gate = admission.Admission(9, 9, max_seconds=20)
    with gate.computing("a", 15, large=False):
        with (
            pytest.raises(RequestError, match="Your address has images in progress"),
            gate.computing("a", 1, large=False),
        ):
            pass
        with gate.computing("b", 5, large=False):
            pass
    with gate.computing("a", 20, large=False):  # Alone.
        pass


def order_of(payloads, large=False):
    """Submits (client, weight) while a call runs; returns the clients in their order.

    The keys differ, so that they are not batched.
    """
    calls, go_on = [], threading.Event()

    def call(clients):
        calls.extend(clients)
        if clients == ["first"]:
            go_on.wait(5)
        return clients

    async def main():
        batcher = batching.Batcher(8, 10**9, 0)
        deadline = asyncio.get_running_loop().time() + 5
        submitted = []
        for client, weight in [("first", 1), *payloads]:
            work = batcher.submit(
                call,
                client,
                key=object(),
                weight=weight,
                deadline=deadline,
                large=large,
                client=client,
            )
            submitted.append(asyncio.ensure_future(work))
        await asyncio.sleep(0.05)
        go_on.set()
        await asyncio.gather(*submitted)
        await batcher.close()

    served.run(main())
    return calls[1:]


@pytest.mark.parametrize("large", [False, True])
def test_clients_take_turns(large):
    many = [("a", 10)] * 20
    order = order_of([*many, ("b", 10)], large)
    assert order.index("b") == 1  # Not behind the images that came before.
    # An image of 30 pixels takes three turns of 10: a 0, 30, 60; b 0, 10, 20, 30.
    order = order_of([*[("a", 30)] * 3, *[("b", 10)] * 4], large)
    assert "".join(order) == "abbbaba"
    assert order_of([("a", 3), ("a", 2), ("a", 1)], large) == ["a"] * 3


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 30)), min_size=1, max_size=12
    )
)
@settings(max_examples=15, deadline=None)
def test_no_payload_is_lost(payloads):
    order = order_of(payloads)
    assert sorted(order) == sorted(client for client, _ in payloads)


def test_outputs_are_held_while_their_json_is_written(monkeypatch):
    gate = admission.Admission(4, 10, max_image_bytes=1000)
    held = []

    async def compute(*_, **__):
        return {"x": np.zeros(100, np.float32), "files": np.array([b"abc"], object)}

    def write(*_, **__):
        held.append(gate.num_image_bytes)
        return b"{}"

    async def main():
        api = model_api.ModelApi(None, None)
        monkeypatch.setattr(api, "compute", compute)
        monkeypatch.setattr(tensor_outputs, "write", write)
        engine = types.SimpleNamespace(inputs={"t": {"image": (np.float32, (None,))}})
        deadline = asyncio.get_running_loop().time() + 5
        budget = admission.Budget(gate, "a", deadline)
        body = b'{"signature_name": "t", "inputs": [1]}'
        await api.predict(engine, body, budget=budget)

    served.run(main())
    assert held == [403]
    assert gate.num_image_bytes == 0


def test_the_headers_of_many_files_do_not_block_the_event_loop():
    """4,000 files of 1,000 segments each, in a body of 16 MB."""
    files = [b"\xff\xd8" + b"\xff\xe1\0\2" * 1000] * 4000
    gaps = []

    async def heartbeat():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    async def main():
        decoder = decoding.Decoder(1, 100)
        pipeline = image_pipeline.ImagePipeline(decoder, batching.Batcher(1, 1, 0), 100)
        deadline = asyncio.get_running_loop().time() + 60
        budget = admission.Budget(admission.Admission(9, 9), "a", deadline)
        engine = types.SimpleNamespace(cost=costs.Cost(), image_kind=images.RGB)
        beating = asyncio.ensure_future(heartbeat())
        try:
            with pytest.raises(RequestError) as caught:
                await pipeline.masks(engine, files, budget=budget)
            assert caught.value.status == 400
        finally:
            beating.cancel()
            decoder.close()

    served.run(main())
    assert max(gaps) < 0.4


# Files.


def test_compressed_texts_after_the_pixels_do_not_keep_decoders_busy(server):
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_900_000), 9))
    for count, status in ((16, 200), (17, 400), (900, 400)):
        file = IMAGE_FILE[:-12] + count * text + IMAGE_FILE[-12:]
        began = time.monotonic()
        assert server.request("POST", "/segment", file)[0] == status
        assert time.monotonic() - began < 1.5
