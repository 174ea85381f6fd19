"""A multi-label network over HTTP."""

import base64
import json

import numpy as np
import pytest

from kerasseg import images
from kerasseg.images.class_rules import ClassRule
from tests.support import served, server_process, tiny

# With x = red / 64, the logits of `levels` are 0, 20 (x - 1) + 0.1 and
# 20 (2 x - 3) + 0.2: class 0 is above 0.4 everywhere, class 1 above 0.5 from red 64,
# class 2 from red 96. The bits of the classes are 2, 4 and 8; bit 1 is void.
RULE = ClassRule(multi_label=True, thresholds=(0.4, 0.5, 0.5))
BITS = [[2, 2, 6], [14, 14, 14]]
FLAT = np.full((16, 16, 3), (128, 0, 0), np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    served.export(folder, rule=RULE)
    with server_process.running(server_process.Server(folder)) as running:
        yield running


def test_masks_have_the_bits_of_the_classes(server):
    status, headers, mask = server.request("POST", "/segment", served.FILE)
    assert (status, headers["content-type"]) == (200, "image/png")
    assert images.read_label(mask, multi_label=True).tolist() == BITS
    file = {"b64": base64.b64encode(served.FILE).decode()}
    body = json.dumps({"instances": [file]})
    _, response = server.json("POST", "/v1/models/levels:predict", body)
    mask = base64.b64decode(response["predictions"][0]["b64"])
    assert images.read_label(mask, multi_label=True).tolist() == BITS


def test_statistics_count_each_class(server):
    assert server.json("GET", "/model")[1]["multi_label"] is True
    accept = {"Accept": "application/json"}
    status, result = server.json("POST", "/segment", served.FILE, accept)
    assert (status, result["multi_label"]) == (200, True)
    shares = [each["share"] for each in result["classes"]]
    np.testing.assert_allclose(shares, [6 / 6, 4 / 6, 3 / 6])
    for name in ("mask_png", "numbers_png"):
        mask = images.read_label(base64.b64decode(result[name]), multi_label=True)
        assert mask.tolist() == BITS
    pixels = images.read_image(base64.b64decode(result["bits_png"]))
    assert pixels[..., 0].tolist() == BITS  # The lower bits, for the page.
    assert not pixels[..., 1:].any()


def test_the_overlay_has_the_mean_color_of_the_classes(server):
    accept = {"Accept": "image/jpeg"}
    status, _, overlay = server.request("POST", "/segment", tiny.png(FLAT), accept)
    assert status == 200
    mean = np.mean(tiny.SPEC.palette[:3], axis=0)
    found = images.read_image(overlay).mean((0, 1))
    expected = np.mean([FLAT[0, 0], mean], axis=0)
    np.testing.assert_allclose(found, expected, atol=4)
