"""The command under attack: stalled, wrong, huge, broken and random requests."""

import base64
import concurrent.futures
import contextlib
import gzip
import io
import itertools
import json
import re
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasseg import images
from tests.support import served
from tests.support.server_process import (
    IMAGE_FILE,
    POST,
    Server,
    at_once,
    rest,
    running,
    until,
)

MIB = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    served.export(folder, model=served.build_busy_model())
    with running(Server(folder)) as running_server:
        running_server.request("POST", "/segment", IMAGE_FILE)
        yield running_server


@pytest.fixture(autouse=True)
def stays_alive(server):
    yield
    server.check_alive()


def chunk(kind, data):
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png_of(width, height, rows=b""):
    """Returns a PNG file with any size in its header."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def saved(kind, array, **options):
    file = io.BytesIO()
    Image.fromarray(np.asarray(array)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.slow
def test_stalled_connections_are_closed_and_block_no_others(server):
    base = server.num_open()
    stalled = [b"GET /healthz HTTP/1.1\r\nHo", POST + b"100\r\n\r\nabc"]
    lines = [server.connect() for _ in range(100)]
    for line, sent in zip(lines, itertools.cycle(stalled), strict=False):
        line.sendall(sent)
    for _ in range(3):
        server.check_alive()
    for line in lines:
        assert rest(line).startswith(b"HTTP/1.1 408")
        line.close()
    until(lambda: server.num_open() <= base)


def test_a_client_that_sends_its_body_slowly_is_disconnected(server):
    with server.connect() as line:
        line.sendall(POST + b"1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                line.sendall(b"a")
                time.sleep(0.1)
        assert rest(line).startswith(b"HTTP/1.1 408")


CHUNKED = (
    b"POST /segment HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (POST + b"17000000\r\nConnection: close\r\n\r\n", (b"413",)),
        (POST + b"%d\r\n\r\n" % 10**30, (b"400", b"413")),
        (POST + b"1000000\r\n\r\n" + bytes(10), (b"408",)),
        (POST + b"5\r\nContent-Length: 6\r\n\r\n123456", (b"400",)),
        (CHUNKED + 20 * (b"100000\r\n" + bytes(MIB) + b"\r\n"), (b"413",)),
        (CHUNKED + b"FFFFFFFFFFFFFFFFFFFF\r\n" + bytes(MIB), (b"400", b"408")),
        (CHUNKED + b"zz\r\nab\r\n", (b"400",)),
        (CHUNKED + 1_000_000 * b"1\r\na\r\n" + b"0\r\n\r\n", (b"400", b"408")),
    ],
    ids=["large", "huge", "short", "double", "endless", "wide", "bad", "many"],
)
def test_wrong_and_endless_bodies_need_no_memory(server, sent, statuses):
    before = server.memory()
    response = server.send(sent)
    assert response.split()[1] in statuses, response[:500]
    assert re.search(rb'\r\n\r\n{"error": "[^"]+"}', response)
    assert server.memory() - before < 20e6


def test_decompression_bombs_need_no_memory(server):
    server.request("POST", "/segment", gzip.compress(bytes(MIB)))  # Loads its code.
    before = server.memory()
    packed = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(bytes(200 * MIB), 9)
    status, error = server.json("POST", "/segment", bomb, packed)
    assert (status, "more than 16,777,216 bytes" in error["error"]) == (413, True)
    for bomb in (png_of(20_000, 20_000), png_of(2**31 - 1, 2**31 - 1)):
        status, error = server.json("POST", "/segment", bomb)
        assert (status, "the limit is 16,000,000" in error["error"]) == (
            413,
            True,
        )
    assert server.memory() - before < 20e6


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (IMAGE_FILE[:40], 400, "damaged"),
        (IMAGE_FILE[:60] + b"?" + IMAGE_FILE[61:], 400, "damaged or truncated"),
        (saved("GIF", np.zeros((2, 2), np.uint8)), 400, "but gif"),
        (saved("WEBP", np.zeros((2, 2, 3), np.uint8)), 400, "but webp"),
        (b"\xff\x0a" + bytes(30), 400, "not a JPEG or PNG file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30), 400, "not a JPEG or PNG file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "HTML or SVG"),
        (png_of(0, 0), 400, ""),
        (png_of(0, 5), 400, ""),
        (png_of(5, 5), 400, "damaged or truncated"),
        (b"\xff\xd8\xff" + bytes(3), 400, ""),
    ],
)
def test_invalid_images_are_errors(server, body, status, text):
    actual, error = server.json("POST", "/segment", body)
    assert actual == status
    assert text in error["error"], error
    given = {"instances": [{"b64": base64.b64encode(body).decode()}]}
    actual, error = server.json("POST", "/v1/models/levels:predict", given)
    assert actual == status
    assert text in error["error"], error


@pytest.mark.parametrize(
    ("array", "kind", "classes"),
    [
        (np.full((1, 3000), 100, np.uint8), "PNG", 1),
        (np.full((3000, 1), 255, np.uint8), "JPEG", 2),
        (np.full((2, 3), 100 * 257, np.uint16), "PNG", 1),
        (np.full((2, 3, 4), 100, np.uint8), "PNG", 1),
    ],
)
def test_unusual_images_are_predicted(server, array, kind, classes):
    status, _, mask = server.request("POST", "/segment", saved(kind, array))
    assert status == 200
    assert np.array_equal(images.read_label(mask), np.full(array.shape[:2], classes))


def test_json_that_is_nested_too_deep_is_an_error(server):
    for body in (b"[" * 250_000, b'{"instances":' + b"[" * 250_000 + b"]" * 250_000):
        status, error = server.json("POST", "/v1/models/levels:predict", body)
        assert (status, "nested too deep" in error["error"]) == (400, True)


def noise(seed):
    """Returns an image of 4 x 4 pixels, and the mask by the network of `served`."""
    red = np.random.default_rng(seed).integers(0, 256, (4, 4), np.uint8)
    return saved("PNG", np.stack([red, 0 * red, 0 * red], -1)), np.minimum(red // 64, 2)


def test_no_response_holds_pixels_of_another_request(server):
    """Valid images of one size share batches; broken ones arrive in between."""
    inputs = [noise(seed) for seed in range(40)]
    broken = inputs[0][0][:-30]

    def send(i):
        if i % 3 == 1:
            return server.request("POST", "/segment", broken)[0] == 400
        file, classes = inputs[i % 40]
        status, _, mask = server.request("POST", "/segment", file)
        return status == 200 and np.array_equal(images.read_label(mask), classes)

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert all(pool.map(send, range(240)))
    assert (
        server.metric("kerasseg_batch_pictures_count") < 160
    )  # Some images shared a batch.


def test_the_files_of_one_request_stay_in_order(server):
    inputs = [noise(seed) for seed in range(9)]
    files = [{"b64": base64.b64encode(file).decode()} for file, _ in inputs]
    body = {"instances": files}
    _, response = server.json("POST", "/v1/models/levels:predict", body)
    for result, (_, classes) in zip(response["predictions"], inputs, strict=True):
        mask = images.read_label(base64.b64decode(result["b64"]))
        assert np.array_equal(mask, classes)


PATHS = st.sampled_from(
    ["/segment", "/v1/models/levels:predict", "/v1/models/levels", "/", "/metrics"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["b64", "image", "image_bytes"]), inner)
    ),
    max_leaves=8,
)
BOUNDED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def statuses(response):
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", response)]


@BOUNDED
@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"\0"]),
    path=PATHS.map(str.encode) | st.binary(max_size=30).map(lambda tail: b"/" + tail),
    headers=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9))),
    body=st.binary(max_size=99),
)
def test_random_requests_have_no_response_of_5xx(server, method, path, headers, body):
    lines = [b": ".join(each) for each in headers]
    length = b"Content-Length: %d" % len(body)
    head = [
        method + b" " + path + b" HTTP/1.1",
        b"Host: localhost",
        b"Connection: close",
    ]
    data = b"\r\n".join([*head, *lines, length, b"", body])
    assert not any(status >= 500 for status in statuses(server.send(data)))


@BOUNDED
@given(
    key=st.sampled_from(["instances", "inputs"]),
    value=VALUES,
    signature=st.sampled_from(["serving_default", "tensor", ""]) | VALUES,
)
def test_random_json_has_no_response_of_5xx(server, key, value, signature):
    body = json.dumps({key: value, "signature_name": signature}).encode()
    status, _ = server.json("POST", "/v1/models/levels:predict", body)
    assert status in (200, 400, 413)


@BOUNDED
@given(
    kind=st.sampled_from(["PNG", "JPEG"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    length=st.floats(0, 1),
    accept=st.sampled_from(["image/png", "image/jpeg", "application/json"]),
)
def test_random_images_have_no_response_of_5xx(server, kind, places, length, accept):
    data = bytearray(saved(kind, np.arange(192, dtype=np.uint8).reshape(8, 8, 3)))
    for place, value in places:
        data[int(place * (len(data) - 1))] = value
    data = bytes(data[: int(length * len(data)) + 1 if length < 0.5 else None])
    status, _, _ = server.request("POST", "/segment", data, {"Accept": accept})
    assert status in (200, 400, 413)


def test_no_unexpected_errors_are_logged(server):
    """Runs last: all errors above are expected."""
    server.check_alive()
    assert at_once(*[lambda: server.request("GET", "/healthz")[0]] * 4) == [200] * 4
    assert "Traceback" not in server.errors.read_text()
