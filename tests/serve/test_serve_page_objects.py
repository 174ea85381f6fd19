"""Detected objects on the server's web page, in Debian's Chromium."""

import contextlib
import json

import numpy as np
import pytest

from kerasseg import images
from tests.support import browser
from tests.support.server_process import Fake, put, running, until

pytestmark = pytest.mark.slow
# In an image of 60 x 40 pixels: class number, score and box, y1, x1, y2, x2. The first
# two overlap; the third lies in the upper left corner, the fourth at the right edge.
OBJECTS = [
    (1, 0.9, (10, 10, 30, 38)),
    (2, 0.625, (5, 30, 25, 55)),
    (1, 0.25, (0, 0, 8, 8)),
    (1, 0.125, (30, 50, 40, 60)),
]
MARKUP = ["<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "<b>x</b>" * 20]
HOME, RIGHT = "\ue011", "\ue014"  # selenium.webdriver.common.keys.Keys.
RED, BLUE, WHITE = [255, 0, 0], [0, 0, 255], [255, 255, 255]


@contextlib.contextmanager
def serving(folder, names=None):
    """Yields a server that detects `OBJECTS` in every image."""
    put(folder, 1)
    (folder / "1" / "objects").write_text(json.dumps(OBJECTS))
    if names:
        (folder / "1" / "class_names").write_text(json.dumps(names))
    with running(Fake(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("exported")) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def opened():
    with browser.chromium() as page:
        yield page


@pytest.fixture
def page(opened, server, tmp_path):
    """The page with the objects of an image."""
    browser.complaints(opened)
    show(opened, server, tmp_path)
    yield opened
    hints = "Canvas2D: Multiple readback"  # Of `pixel`.
    assert not [each for each in browser.complaints(opened) if hints not in each]


def show(opened, server, folder):
    opened.get(f"http://127.0.0.1:{server.port}/")
    until(lambda: "3 classes" in text(opened, "model"))
    path = folder / "street.png"
    path.write_bytes(images.encode_image(np.full((40, 60, 3), 128, np.uint8)))
    opened.find_element("id", "file").send_keys(str(path))
    until(lambda: "Done" in text(opened, "status"))


def text(page, name):
    return page.find_element("id", name).get_attribute("textContent")


def move_slider(page, value):
    script = (
        "const slider = document.getElementById('score');"
        "slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.execute_script(script, value)


def displayed(page, selector):
    """Returns the texts of the elements that are displayed."""
    found = page.find_elements("css selector", selector)
    return [each.text for each in found if each.is_displayed()]


def pixel(page, x, y):
    """Returns color and alpha of a pixel of the masks."""
    script = (
        "return [...document.getElementById('mask').getContext('2d')"
        ".getImageData(arguments[0], arguments[1], 1, 1).data]"
    )
    *color, alpha = page.execute_script(script, x, y)
    return color, alpha


def test_the_slider_changes_the_number_of_drawn_objects(page, server):
    requests = 'kerasseg_requests_total{route="segment",status="200"}'
    before = server.metric(requests)
    for value, count in ((0.5, 2), (0, 4), (0.2, 3), (0.63, 1), (1, 0), (0.62, 2)):
        move_slider(page, value)
        assert text(page, "lowest") == f"{value:.2f}"
        assert len(displayed(page, ".box")) == count
        assert len(displayed(page, ".caption")) == count
        assert len(displayed(page, "#legend button")) == count
        assert text(page, "count") == f"{count} of 4 objects are shown"
    assert server.metric(requests) == before


def test_the_slider_starts_at_the_score_of_the_mask_and_moves_in_hundredths(page):
    slider = page.find_element("id", "score")
    assert text(page, "lowest") == slider.get_attribute("value") + "0" == "0.50"
    slider.send_keys(13 * RIGHT)
    assert text(page, "lowest") == slider.get_attribute("value") == "0.63"
    assert displayed(page, ".caption") == ["<b>middle</b> 0.90"]
    assert "a score of at least 0.5." in text(page, "note")


def test_masks_have_outlines_and_the_best_object_is_on_top(page):
    # x 35, y 15 lies in the first and second object; the first is better. 60 % of 255
    # are 153.
    assert pixel(page, 35, 15) == (RED, 153)
    assert pixel(page, 45, 15) == (BLUE, 153)
    # The last column of the first one and its neighbor in the second are outlines.
    assert pixel(page, 37, 15) == (RED, 255)
    assert pixel(page, 38, 15) == (BLUE, 255)
    assert pixel(page, 36, 15) == (RED, 153)
    # Red has the luminance 0.299 * 255 = 76, so the line around it is white.
    assert pixel(page, 9, 20) == pixel(page, 55, 15) == (WHITE, 255)
    assert pixel(page, 4, 4)[1] == pixel(page, 20, 35)[1] == 0
    move_slider(page, 0)
    assert pixel(page, 4, 4) == (RED, 153)
    assert pixel(page, 0, 0) == (RED, 153)  # The edge of the image is no outline.
    assert pixel(page, 7, 4) == (RED, 255)
    move_slider(page, 0.7)
    assert pixel(page, 45, 15)[1] == 0
    assert pixel(page, 38, 15) == (WHITE, 255)  # A pixel of the hidden object.
    assert pixel(page, 35, 15) == (RED, 153)


def test_the_opacity_changes_masks_but_not_outlines(page):
    page.find_element("id", "opacity").send_keys(HOME)
    assert pixel(page, 20, 20)[1] == 1  # Of 255.
    assert pixel(page, 10, 20) == (RED, 255)
    assert page.find_element("id", "mask").value_of_css_property("opacity") == "1"


def test_boxes_lie_where_the_objects_are(page):
    stage = page.find_element("id", "stage").rect
    caption, box = (
        page.find_elements("css selector", f"#boxes {s}")[-1].rect
        for s in (".caption", ".box")
    )
    scale = stage["width"] / 60
    assert box["x"] - stage["x"] == pytest.approx(10 * scale, abs=1)
    assert box["y"] - stage["y"] == pytest.approx(10 * scale, abs=1)
    assert box["width"] == pytest.approx(28 * scale, abs=1)
    assert box["height"] == pytest.approx(20 * scale, abs=1)
    assert caption["y"] + caption["height"] == pytest.approx(box["y"], abs=1)


def test_names_and_scores_are_text(page):
    assert displayed(page, ".caption") == ["right 0.63", "<b>middle</b> 0.90"]
    rows = displayed(page, "#legend button")
    assert rows == ["<b>middle</b>\n0.90", "right\n0.63"]
    assert text(page, "kind") == "Objects" and text(page, "absent") == ""
    move_slider(page, 0.7)
    assert text(page, "absent") == "Not found: right"
    label = page.find_element("id", "stage").get_attribute("aria-label")
    assert label == "Your image and its objects: <b>middle</b> 0.90"
    assert not page.find_elements("css selector", "#result b")


def test_a_selected_object_is_shown_alone_until_the_slider_hides_it(page):
    second = page.find_elements("css selector", "#legend button")[1]
    second.click()
    assert second.get_attribute("aria-pressed") == "true"
    assert displayed(page, ".caption") == ["right 0.63"]
    # Where the first object covered it, too; all other pixels are shaded.
    assert pixel(page, 35, 15) == (BLUE, 153)
    assert pixel(page, 15, 15) == ([0, 0, 0], 90)
    move_slider(page, 0.7)
    assert second.get_attribute("aria-pressed") == "false"
    assert displayed(page, ".caption") == ["<b>middle</b> 0.90"]
    assert pixel(page, 15, 15) == (RED, 153)


def test_the_object_at_the_marker_is_named_unless_it_is_hidden(page):
    point = "pointAt(arguments[0], arguments[1])"
    page.execute_script(point, 35, 15)
    assert text(page, "pointed") == "<b>middle</b> 0.90 at 35, 15"
    page.execute_script(point, 4, 4)
    assert text(page, "pointed") == "No object at 4, 4"
    move_slider(page, 0)
    page.execute_script(point, 4, 4)
    assert text(page, "pointed") == "<b>middle</b> 0.25 at 4, 4"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_markup_is_text_and_fits_every_screen(tmp_path, width, dark):
    """Names, which would alert if they were HTML, are long, and at the right edge."""
    with (
        serving(tmp_path, MARKUP) as server,
        browser.chromium(width, 844, dark=dark) as opened,
    ):
        show(opened, server, tmp_path)
        move_slider(opened, 0)
        captions = displayed(opened, ".caption")
        assert captions[-1] == f"{MARKUP[1]} 0.90" and len(captions) == 4
        assert not opened.find_elements("css selector", "#result :is(b, svg)")
        assert len(opened.find_elements("css selector", "#result img")) == 1
        wide = opened.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        stage = opened.find_element("id", "stage").rect
        for each in opened.find_elements("css selector", ".box, .caption"):
            assert each.rect["x"] >= stage["x"] - 1
            right = each.rect["x"] + each.rect["width"]
            assert right <= stage["x"] + stage["width"] + 1
        for each in opened.find_elements("css selector", "#legend button, #score"):
            assert each.size["height"] >= 40
        assert browser.complaints(opened) == []


def test_a_model_that_segments_pixels_has_no_slider(opened, tmp_path):
    """Also after the page has shown objects, when a new version is served."""
    with serving(tmp_path) as server:
        show(opened, server, tmp_path)
        assert len(displayed(opened, ".box")) == 2
        put(tmp_path, 2)
        until(lambda: server.json("GET", "/readyz")[1]["version"] == "2")
        opened.find_element("id", "file").send_keys(str(tmp_path / "street.png"))
        until(lambda: "1 classes found" in text(opened, "status"))
        assert text(opened, "kind") == "Classes"
        assert displayed(opened, "#legend button") == ["right\n100.0 %"]
        assert not opened.find_elements("css selector", ".box")
        assert displayed(opened, ".objects") == []
