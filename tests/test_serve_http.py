"""The server over HTTP: a process of its own, with a network of plain Python."""

import base64
import concurrent.futures
import contextlib
import gzip
import http.client
import io
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from kerasseg import images

QUICK = {"poll_seconds": 0.05, "header_seconds": 1.0, "body_seconds": 1.5}
LEVELS = np.array([[0, 63, 64], [127, 128, 255]], np.uint8)
CLASSES = [[0, 0, 1], [1, 2, 2]]
JSON = {"Content-Type": "application/json"}


def png(red):
    red = np.array(red, np.uint8)
    return images.encode_picture(np.stack([red, 0 * red, 0 * red], -1))


PICTURE, BROKEN = png(LEVELS), png([[251]])
SLOW, SLOWER = png([[250, 10]]), png([[250, 30]])  # Tenths of a second.


class Server:
    """A server that runs; asks it and stops it."""

    def __init__(self, folder, **settings):
        self.process = subprocess.Popen(
            self.command(folder, {**QUICK, **settings}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        match = re.search(r"http://127.0.0.1:(\d+)/", line)
        assert match, line + self.process.stderr.read()
        self.port = int(match[1])

    def command(self, folder, settings):
        given = [str(folder), json.dumps(settings)]
        return [sys.executable, "-m", "tests.serve_fake", *given]

    def ask(self, method, path, body=None, headers=None):
        """Returns status, headers and body of an answer."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
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

    def wait_until_ready(self):
        deadline = time.monotonic() + 30
        while self.ask("GET", "/readyz")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.communicate()


def put(folder, number, *names):
    path = pathlib.Path(folder) / str(number)
    path.mkdir()
    for name in (*names, "saved_model.pb"):
        (path / name).write_text("x")


@contextlib.contextmanager
def serving(folder, **settings):
    put(folder, 1)
    server = Server(folder, **settings)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


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
        server = request.getfixturevalue("server")
        assert server.ask("GET", "/healthz")[0] == 200
        status, _, mask = server.ask("POST", "/segment", PICTURE)
        assert (status, images.read_label(mask).tolist()) == (200, CLASSES)


def test_a_picture_becomes_a_mask(server):
    status, headers, mask = server.ask("POST", "/segment", PICTURE)
    assert (status, headers["content-type"]) == (200, "image/png")
    assert images.read_label(mask).tolist() == CLASSES
    assert images.read_image(mask)[1, 2].tolist() == [0, 0, 255]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-model-version"] == "1"
    assert headers["server-timing"].startswith("segment;dur=")


def test_accept_chooses_an_overlay_or_facts(server):
    status, headers, overlay = server.ask(
        "POST", "/segment", PICTURE, {"Accept": "text/html, image/jpeg;q=0.5"}
    )
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert images.read_image(overlay).shape == (2, 3, 3)
    status, facts = server.json(
        "POST", "/segment", PICTURE, {"Accept": "application/json"}
    )
    assert (status, facts["width"], facts["height"]) == (200, 3, 2)
    assert facts["classes"][1] == {
        "number": 1,
        "name": "<b>middle</b>",
        "color": [255, 0, 0],
        "share": pytest.approx(2 / 6),
    }
    for name in ("mask_png", "numbers_png"):
        assert images.read_label(base64.b64decode(facts[name])).tolist() == CLASSES
    status, error = server.json("POST", "/segment", PICTURE, {"Accept": "text/html"})
    assert status == 406
    assert "Accept names none of image/png" in error["error"]


def test_a_picture_is_turned_upright_as_people_see_it(server):
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned right by a quarter.
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(file, "JPEG", exif=exif)
    _, _, mask = server.ask("POST", "/segment", file.getvalue())
    assert images.read_label(mask).shape == (3, 2)
    body = {"instances": [{"b64": base64.b64encode(file.getvalue()).decode()}]}
    _, answer = server.json("POST", "/v1/models/levels:predict", body)
    (mask,) = answer["predictions"]
    assert images.read_label(base64.b64decode(mask["b64"])).shape == (2, 3)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "no JPEG or PNG file but empty"),
        (b"GIF89a" + bytes(30), 400, "but gif"),
        (b"<svg/>", 400, "text, such as HTML or SVG"),
        (PICTURE[:50], 400, "damaged"),
        (png(np.zeros((4, 4))), 413, "4 x 4 = 16 pixels, wanted are at most 10"),
        (bytes(60_000), 413, "more than 52,428 bytes"),
        (BROKEN, 400, "the network refuses this"),
    ],
)
def test_what_is_no_good_picture_is_refused(server, body, status, text):
    found, error = server.json("POST", "/segment", body)
    assert found == status
    assert text in error["error"]


def test_gzip_is_unpacked_up_to_the_limit(server):
    packed = {"Content-Encoding": "gzip"}
    assert server.ask("POST", "/segment", gzip.compress(PICTURE), packed)[0] == 200
    bomb = gzip.compress(bytes(10_000_000))
    assert server.json("POST", "/segment", bomb, packed)[0] == 413
    status, error = server.json("POST", "/segment", b"no gzip", packed)
    assert (status, "no gzip data" in error["error"]) == (400, True)
    cut = gzip.compress(PICTURE)[:-9]
    status, error = server.json("POST", "/segment", cut, packed)
    assert (status, "is cut" in error["error"]) == (400, True)
    packed = {"Content-Encoding": "br"}
    assert server.json("POST", "/segment", PICTURE, packed)[0] == 415


def test_other_addresses_and_methods_are_told_apart(server):
    assert server.json("GET", "/nothing")[0] == 404
    status, headers, _ = server.ask("GET", "/segment")
    assert (status, headers["allow"]) == (405, "POST")
    assert server.ask("HEAD", "/healthz")[::2] == (200, b"")


def test_the_status_is_that_of_tensorflow_serving(server):
    wanted = {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    for path in ("/v1/models/levels", "/V1/Models/levels/versions/1"):
        assert server.json("GET", path) == (200, wanted)


def test_the_metadata_lists_the_signatures(server):
    status, facts = server.json("GET", "/v1/models/levels/metadata")
    assert status == 200
    assert facts["model_spec"] == {
        "name": "levels",
        "signature_name": "",
        "version": "1",
    }
    assert "tensor" in facts["metadata"]["signature_def"]["signature_def"]


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/x", 404, "Could not find any versions of model x"),
        ("GET", "/v1/models/levels/versions/7", 404, "version 7 of model levels"),
        ("GET", "/v1/models/levels/labels/new", 400, "Unrecognized servable version"),
        ("GET", "/v1/models/levels/versions/a", 400, "Malformed request: GET /v1/mode"),
        (
            "GET",
            f"/v1/models/levels/versions/{2**64}",
            400,
            "Failed to convert version",
        ),
        ("GET", "/v1/models/levels:predict", 400, "Malformed request"),
        ("GET", "/v1/models/../../etc/passwd", 400, "Malformed request"),
        (
            "GET",
            "/v1/models/%2e%2e%2f",
            404,
            "Could not find any versions of model ../",
        ),
        ("GET", "/v1/", 400, "Malformed request"),
        ("POST", "/v1/models/levels", 400, "Malformed request: POST /v1/models/levels"),
        ("POST", "/v1/models/levels:foo", 400, "Malformed request"),
        ("POST", "/v1/models/levels/versions/1/x:predict", 400, "Malformed request"),
        ("POST", "/v1/models/levels:classify", 501, "classify is not offered"),
        ("POST", "/v1/models/x:predict", 404, "not found for request: Latest(x)"),
        ("POST", "/v1/models/levels/versions/7:predict", 404, "Specific(levels, 7)"),
        ("PUT", "/v1/models/levels:predict", 400, "Malformed request: PUT"),
    ],
)
def test_wrong_addresses_have_the_answers_of_tensorflow_serving(
    server, method, path, status, error
):
    found, answer = server.json(method, path, {} if method != "GET" else None)
    assert found == status
    assert error in answer["error"]


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def test_files_are_predicted_in_rows_and_columns(server):
    two = [b64(PICTURE), b64(png([[255]]))]
    for instances in (two, [{"image_bytes": file} for file in two]):
        status, answer = server.json(
            "POST", "/v1/models/levels/versions/1:predict", {"instances": instances}
        )
        assert status == 200
        masks = [base64.b64decode(mask["b64"]) for mask in answer["predictions"]]
        found = [images.read_label(mask).tolist() for mask in masks]
        assert found == [CLASSES, [[2]]]
    for inputs in (two, {"image_bytes": two}):
        status, answer = server.json(
            "POST", "/v1/models/levels:predict", {"inputs": inputs}
        )
        assert [base64.b64decode(mask["b64"]) for mask in answer["outputs"]] == masks


def test_tensors_are_predicted_in_rows_and_columns(server):
    pixels = [[[int(red), 0, 0.5] for red in row] for row in LEVELS]
    body = {
        "signature_name": "tensor",
        "instances": [{"image": pixels}],
    }
    status, answer = server.json("POST", "/v1/models/levels:predict", body)
    assert status == 200
    assert [row["classes"] for row in answer["predictions"]] == [CLASSES]
    assert np.isnan(answer["predictions"][0]["logits"]).all()
    body = {"signature_name": "tensor", "inputs": [pixels]}
    status, answer = server.json("POST", "/v1/models/levels:predict", body)
    assert answer["outputs"]["classes"] == [CLASSES]


ONE = {"instances": [b64(PICTURE)]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: .* at offset: 1"),
        (b"\xff\xfe{", "JSON Parse error"),
        (b"[" * 20_000, "nested too deep"),
        (b'{"instances": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}", "900 levels deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON Parse error: Exceeds the limit"),
        (b"[1]", "Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": [1], "inputs": [1]}', "only one of"),
        (b'{"instances": 1}', "'instances' to be an list/array"),
        (b'{"instances": []}', "No values in 'instances' array"),
        (b'{"signature_name": 1}', "'signature_name' key must be a string value"),
        (b'{"signature_name": "x"}', 'name: "x" not found in signature def'),
        (b'{"instances": [1]}', "JSON Value: 1 is not of expected type: string"),
        (b'{"instances": [{"b64": "?"}]}', "Unable to base64 decode"),
        (b'{"instances": [{"b64": 1}]}', "keys must be equal to: image_bytes"),
        (b'{"instances": ["a", ["b"]]}', "list at unexpected level: 1 expected < 1"),
        (b'{"instances": [["a"], ["b"]]}', r"shape \[2, 1\], wanted is \[-1\]"),
        (b'{"instances": ["a"]}', "no JPEG or PNG file but unknown"),
        (b'{"instances": ["a", {"image_bytes": "a"}]}', "got object at item 1"),
        (b'{"instances": [{"image_bytes": "a"}, 1]}', "got list at item 1"),
        (b'{"inputs": {"x": 1}}', "Missing named input: image_bytes"),
    ],
)  # fmt: skip
def test_wrong_requests_have_the_errors_of_tensorflow_serving(server, body, text):
    status, answer = server.json("POST", "/v1/models/levels:predict", body)
    assert status == 400
    assert re.search(text, answer["error"]), answer


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        ([[[1, 2, 3], [1, 2]]], "unexpected size: 2 at level: 3 expected size: 3"),
        ([[["1", "2", "3"]]], "1' is not of expected type: float"),
        ([[[True, False, True]]], "True is not of expected type: float"),
        ([[[1, None, 1]]], "None is not of expected type: float"),
        ([[1, 2, 3]], r"shape \[1, 1, 3\], wanted is \[-1, -1, -1, 3\]"),
        ([[]], r"shape \[1, 1, 0\]"),
        ([[[1, 2, 3, 4]]], r"shape \[1, 1, 1, 4\]"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(server, pixels, text):
    body = {"signature_name": "tensor", "instances": [pixels]}
    status, answer = server.json("POST", "/v1/models/levels:predict", body)
    assert status == 400
    assert re.search(text, answer["error"]), answer


def test_tensors_of_too_many_pixels_are_refused(server):
    body = {"signature_name": "tensor", "instances": [[[[0, 0, 0]] * 11]]}
    status, answer = server.json("POST", "/v1/models/levels:predict", body)
    assert (status, "33 numbers" in answer["error"]) == (413, True)


def test_prometheus_reads_what_happened(server):
    server.ask("POST", "/segment", PICTURE)
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        status, headers, text = server.ask("GET", path)
        assert (status, headers["content-type"][:10]) == (200, "text/plain")
        assert b'kerasseg_requests_total{route="segment",status="200"}' in text
        assert b"kerasseg_version 1.0" in text


def rest(line):
    """Reads what comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


POST = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: "


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


def at_once(*calls):
    """Calls functions in threads; returns what they return, in order."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


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
    with serving(tmp_path, request_seconds=1.5, max_batch_size=1) as server:
        server.ask("POST", "/segment", PICTURE)  # The decoders are awake now.
        answers = at_once(
            *[lambda: server.ask("POST", "/segment", SLOWER) for _ in range(3)]
        )
        assert sorted(status for status, *_ in answers) == [429, 429, 504]
        time.sleep(2)  # What was given up in the queue is not computed any more.
        assert server.ask("POST", "/segment", PICTURE)[0] == 200


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
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            assert answer.result()[0] == 200
        assert server.process.wait(10) == 0
        with pytest.raises(ConnectionRefusedError):
            server.ask("GET", "/healthz")


def test_ctrl_c_ends_with_its_own_status(tmp_path):
    with serving(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 130


def test_before_there_is_a_version_it_is_alive_and_not_ready(tmp_path):
    server = Server(tmp_path)
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


def test_the_page_may_do_only_what_it_needs(server):
    for path, kind in {
        "/": "text/html",
        "/page.css": "text/css",
        "/page.js": "text/javascript",
    }.items():
        status, headers, text = server.ask("GET", path)
        assert (status, headers["content-type"].split(";")[0]) == (200, kind)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert b"http" not in text.replace(b"http://www.w3.org/2000/svg", b"")
    facts = server.json("GET", "/model")[1]
    assert facts["classes"][1] == {"name": "<b>middle</b>", "color": [255, 0, 0]}
    assert (facts["name"], facts["max_pixels"]) == ("levels", 10)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's chromium")
def test_a_browser_runs_the_page(server):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    page = subprocess.run(
        [*command, "--virtual-time-budget=5000", f"http://127.0.0.1:{server.port}/"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "levels, version 1, 3 classes" in page.stdout, page.stderr
    assert '<output id="percent" for="opacity">60 %</output>' in page.stdout
    assert "Content Security Policy" not in page.stderr


def test_a_grey_jpeg_is_a_picture_too(server):
    data = cv2.imencode(".jpg", np.full((2, 2), 200, np.uint8))[1].tobytes()
    assert server.ask("POST", "/segment", data)[0] == 200
