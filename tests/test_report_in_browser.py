"""The page about an evaluation in a real browser: all of it works, and it fits."""

import pytest

from kerasseg import report
from tests import browser
from tests.test_report import evaluated, photographs

pytestmark = pytest.mark.slow

SCREENS = {"desktop": (1280, 900), "phone": (390, 844), "narrow": (320, 640)}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    split = photographs(size=(90, 120))
    path = tmp_path_factory.mktemp("report") / "report.html"
    measures = ["boundary_iou", "bf_score", "trimap", "calibration"]
    found = evaluated(split, measures=measures)
    report.write(path, found, split.spec, {"model": "tiny"}, split.__getitem__)
    return path.as_uri()


@pytest.fixture
def page(address):
    with browser.chromium() as opened:
        opened.get(address)
        yield opened
        assert browser.complaints(opened) == []


def rows(page):
    read = "return [...document.querySelectorAll('table.sortable tbody tr')]"
    return page.execute_script(f"{read}.map((row) => row.cells[0].innerText.trim())")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_sticks_out_and_nothing_is_missing(address, screen, dark):
    with browser.chromium(*SCREENS[screen], dark=dark) as opened:
        opened.get(address)
        width = opened.execute_script("return document.documentElement.scrollWidth")
        assert width <= SCREENS[screen][0]
        images = "[...document.querySelectorAll('img[src]')]"
        blank = f"return {images}.filter((i) => !i.naturalWidth).length"
        assert opened.execute_script(blank) == 0
        color = "return getComputedStyle(document.body).backgroundColor"
        red = int(opened.execute_script(color).partition("(")[2].partition(",")[0])
        assert (red < 80) == dark
        assert browser.complaints(opened) == []


def test_a_click_on_a_heading_sorts_the_table(page):
    before = rows(page)
    heads = page.find_elements("css selector", "table.sortable th button")
    iou = next(head for head in heads if head.text.strip().lower() == "iou")
    iou.click()
    falling = rows(page)
    iou.click()
    assert rows(page) == falling[::-1]
    assert sorted(falling) == sorted(before)


def test_a_picture_is_enlarged_and_left_by_keys(page):
    picture = page.find_element("css selector", "img[data-zoom]")
    picture.send_keys("\ue007")  # Enter.
    dialog = page.find_element("tag name", "dialog")
    assert dialog.is_displayed()
    shown = dialog.find_element("tag name", "img").get_attribute("alt")
    assert shown == picture.get_attribute("alt")
    page.switch_to.active_element.send_keys("\ue014")  # Arrow right.
    other = dialog.find_element("tag name", "img").get_attribute("alt")
    assert other != shown
    page.switch_to.active_element.send_keys("\ue00c")  # Escape.
    assert not dialog.is_displayed()
    # The focus is where one came to, not where one came from.
    assert page.switch_to.active_element.get_attribute("alt") == other
