"""The server over HTTP: a separate process, with a network in plain Python."""

import base64
import gzip
import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from kerasseg import images
from tests.support.server_process import CLASSES, IMAGE_FILE, LEVELS, png, serving

BROKEN = png([[251]])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with serving(folder, max_megapixels=1e-5, max_request_mib=0.05) as running_server:
        yield running_server


pytestmark = pytest.mark.usefixtures("stays_alive")


def test_an_image_becomes_a_mask(server):
    status, headers, mask = server.request("POST", "/segment", IMAGE_FILE)
    assert (status, headers["content-type"]) == (200, "image/png")
    assert images.read_label(mask).tolist() == CLASSES
    assert images.read_image(mask)[1, 2].tolist() == [0, 0, 255]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-model-version"] == "1"
    assert headers["server-timing"].startswith("segment;dur=")


def test_accept_selects_an_overlay_or_json(server):
    status, headers, overlay = server.request(
        "POST", "/segment", IMAGE_FILE, {"Accept": "text/html, image/jpeg;q=0.5"}
    )
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert images.read_image(overlay).shape == (2, 3, 3)
    status, result = server.json(
        "POST", "/segment", IMAGE_FILE, {"Accept": "application/json"}
    )
    assert (status, result["width"], result["height"]) == (200, 3, 2)
    assert result["classes"][1] == {
        "number": 1,
        "name": "<b>middle</b>",
        "color": [255, 0, 0],
        "share": pytest.approx(2 / 6),
    }
    for name in ("mask_png", "numbers_png"):
        assert images.read_label(base64.b64decode(result[name])).tolist() == CLASSES
    status, error = server.json("POST", "/segment", IMAGE_FILE, {"Accept": "text/html"})
    assert status == 406
    assert "Accept must include one of image/png" in error["error"]


def test_the_exif_rotation_is_applied_in_segment_only(server):
    exif = Image.Exif()
    exif[0x0112] = 6  # Rotate by 90 degrees clockwise.
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(file, "JPEG", exif=exif)
    _, _, mask = server.request("POST", "/segment", file.getvalue())
    assert images.read_label(mask).shape == (3, 2)
    body = {"instances": [{"b64": base64.b64encode(file.getvalue()).decode()}]}
    _, response = server.json("POST", "/v1/models/levels:predict", body)
    (mask,) = response["predictions"]
    assert images.read_label(base64.b64decode(mask["b64"])).shape == (2, 3)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "not a JPEG or PNG file but empty"),
        (b"GIF89a" + bytes(30), 400, "but gif"),
        (b"<svg/>", 400, "text, such as HTML or SVG"),
        (IMAGE_FILE[:50], 400, "damaged"),
        (png(np.zeros((4, 4))), 413, "4 x 4 = 16 pixels, the limit is 10"),
        (bytes(60_000), 413, "more than 52,428 bytes"),
        (BROKEN, 400, "the network fails"),
    ],
)
def test_invalid_images_are_errors(server, body, status, text):
    actual, error = server.json("POST", "/segment", body)
    assert actual == status
    assert text in error["error"]


def test_gzip_is_decompressed_up_to_the_limit(server):
    packed = {"Content-Encoding": "gzip"}
    assert (
        server.request("POST", "/segment", gzip.compress(IMAGE_FILE), packed)[0] == 200
    )
    bomb = gzip.compress(bytes(10_000_000))
    assert server.json("POST", "/segment", bomb, packed)[0] == 413
    status, error = server.json("POST", "/segment", b"no gzip", packed)
    assert (status, "not valid gzip data" in error["error"]) == (400, True)
    cut = gzip.compress(IMAGE_FILE)[:-9]
    status, error = server.json("POST", "/segment", cut, packed)
    assert (status, "is truncated" in error["error"]) == (400, True)
    more = gzip.compress(IMAGE_FILE) + b"more"
    status, error = server.json("POST", "/segment", more, packed)
    assert (status, "data after its gzip data" in error["error"]) == (400, True)
    packed = {"Content-Encoding": "br"}
    assert server.json("POST", "/segment", IMAGE_FILE, packed)[0] == 415


def test_other_paths_and_methods_are_errors(server):
    assert server.json("GET", "/nothing")[0] == 404
    status, headers, _ = server.request("GET", "/segment")
    assert (status, headers["allow"]) == (405, "POST")
    assert server.request("HEAD", "/healthz")[::2] == (200, b"")


def test_the_status_has_the_format_of_tensorflow_serving(server):
    expected = {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    for path in ("/v1/models/levels", "/V1/Models/levels/versions/1"):
        assert server.json("GET", path) == (200, expected)


def test_the_metadata_lists_the_signatures(server):
    status, metadata = server.json("GET", "/v1/models/levels/metadata")
    assert status == 200
    assert metadata["model_spec"] == {
        "name": "levels",
        "signature_name": "",
        "version": "1",
    }
    assert "tensor" in metadata["metadata"]["signature_def"]["signature_def"]


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
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("POST", "/v1/models", 400, "Malformed request: POST /v1/models"),
        ("GET", "/v1/models/foo/version/50:predict", 400, "Malformed request"),
        ("POST", "/v1/models/foo/version/50:regress", 400, "Malformed request"),
        ("POST", "/v1/models/foo/versions/HELLO:regress", 400, "Malformed request"),
        (
            "POST",
            f"/v1/models/foo/versions/{2**64 - 1}:regress",
            400,
            "Failed to convert version",
        ),
        ("POST", "/v1/models/foo/versions/50:predict", 404, "Specific(foo, 50)"),
        ("POST", "/v1/models/levels99:predict", 404, "Latest(levels99)"),
        ("GET", "/statuspage", 404, "Not found"),
        ("POST", "/v1/models/levels", 400, "Malformed request: POST /v1/models/levels"),
        ("POST", "/v1/models/levels:foo", 400, "Malformed request"),
        ("POST", "/v1/models/levels/versions/1/x:predict", 400, "Malformed request"),
        ("POST", "/v1/models/levels:classify", 501, "classify is not implemented"),
        ("POST", "/v1/models/x:predict", 404, "not found for request: Latest(x)"),
        ("POST", "/v1/models/levels/versions/7:predict", 404, "Specific(levels, 7)"),
        ("PUT", "/v1/models/levels:predict", 400, "Malformed request: PUT"),
    ],
)
def test_wrong_paths_have_the_errors_of_tensorflow_serving(
    server, method, path, status, error
):
    actual, response = server.json(method, path, {} if method != "GET" else None)
    assert actual == status
    assert error in response["error"]


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def test_files_are_predicted_in_rows_and_columns(server):
    two = [b64(IMAGE_FILE), b64(png([[255]]))]
    for instances in (two, [{"image_bytes": file} for file in two]):
        status, response = server.json(
            "POST", "/v1/models/levels/versions/1:predict", {"instances": instances}
        )
        assert status == 200
        masks = [base64.b64decode(mask["b64"]) for mask in response["predictions"]]
        actual = [images.read_label(mask).tolist() for mask in masks]
        assert actual == [CLASSES, [[2]]]
    for inputs in (two, {"image_bytes": two}):
        status, response = server.json(
            "POST", "/v1/models/levels:predict", {"inputs": inputs}
        )
        assert [base64.b64decode(mask["b64"]) for mask in response["outputs"]] == masks


def test_tensors_are_predicted_in_rows_and_columns(server):
    pixels = [[[int(red), 0, 0.5] for red in row] for row in LEVELS]
    body = {
        "signature_name": "tensor",
        "instances": [{"image": pixels}],
    }
    status, response = server.json("POST", "/v1/models/levels:predict", body)
    assert status == 200
    assert [row["classes"] for row in response["predictions"]] == [CLASSES]
    assert np.isnan(response["predictions"][0]["logits"]).all()
    body = {"signature_name": "tensor", "inputs": [pixels]}
    status, response = server.json("POST", "/v1/models/levels:predict", body)
    assert response["outputs"]["classes"] == [CLASSES]


ONE = {"instances": [b64(IMAGE_FILE)]}


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
        (b'{"instances": [["a"], ["b"]]}', r"shape \[2, 1\], expected \[-1\]"),
        (b'{"instances": ["a"]}', "not a JPEG or PNG file but unknown"),
        (b'{"instances": ["a", {"image_bytes": "a"}]}', "got object at item 1"),
        (b'{"instances": [{"image_bytes": "a"}, 1]}', "got list at item 1"),
        (b'{"inputs": {"x": 1}}', "Missing named input: image_bytes"),
    ],
)  # fmt: skip
def test_wrong_requests_have_the_errors_of_tensorflow_serving(server, body, text):
    status, response = server.json("POST", "/v1/models/levels:predict", body)
    assert status == 400
    assert re.search(text, response["error"]), response


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        ([[[1, 2, 3], [1, 2]]], "unexpected size: 2 at level: 3 expected size: 3"),
        ([[["1", "2", "3"]]], "1' is not of expected type: float"),
        ([[[True, False, True]]], "True is not of expected type: float"),
        ([[[1, None, 1]]], "None is not of expected type: float"),
        ([[1, 2, 3]], r"shape \[1, 1, 3\], expected \[-1, -1, -1, 3\]"),
        ([[]], r"shape \[1, 1, 0\]"),
        ([[[1, 2, 3, 4]]], r"shape \[1, 1, 1, 4\]"),
    ],
)
def test_tensors_of_the_wrong_shape_are_errors(server, pixels, text):
    body = {"signature_name": "tensor", "instances": [pixels]}
    status, response = server.json("POST", "/v1/models/levels:predict", body)
    assert status == 400
    assert re.search(text, response["error"]), response


def test_tensors_of_too_many_pixels_are_errors(server):
    body = {"signature_name": "tensor", "instances": [[[[0, 0, 0]] * 11]]}
    status, response = server.json("POST", "/v1/models/levels:predict", body)
    assert (status, "33 numbers" in response["error"]) == (413, True)


def test_the_metrics_count_requests(server):
    server.request("POST", "/segment", IMAGE_FILE)
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        status, headers, text = server.request("GET", path)
        assert (status, headers["content-type"][:10]) == (200, "text/plain")
        assert b'kerasseg_requests_total{route="segment",status="200"}' in text
        assert b"kerasseg_version 1.0" in text


def test_the_page_has_a_strict_security_policy(server):
    for path, kind in {
        "/": "text/html",
        "/page.css": "text/css",
        "/page.js": "text/javascript",
        "/page_objects.js": "text/javascript",
    }.items():
        status, headers, text = server.request("GET", path)
        assert (status, headers["content-type"].split(";")[0]) == (200, kind)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert b"http" not in text.replace(b"http://www.w3.org/2000/svg", b"")
    model = server.json("GET", "/model")[1]
    assert model["classes"][1] == {"name": "<b>middle</b>", "color": [255, 0, 0]}
    assert (model["name"], model["max_pixels"]) == ("levels", 10)


def test_a_grayscale_jpeg_is_accepted(server):
    data = cv2.imencode(".jpg", np.full((2, 2), 200, np.uint8))[1].tobytes()
    assert server.request("POST", "/segment", data)[0] == 200
