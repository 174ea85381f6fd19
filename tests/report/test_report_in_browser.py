"""The page of an evaluation in a real browser: it works and fits the window."""

import pytest

from kerasseg import report
from tests.report.test_report import evaluated, noise_split
from tests.support import browser

pytestmark = pytest.mark.slow

SCREENS = {"desktop": (1280, 900), "phone": (390, 844), "narrow": (320, 640)}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    split = noise_split(size=(90, 120))
    path = tmp_path_factory.mktemp("report") / "report.html"
    measures = ["boundary_iou", "bf_score", "trimap", "calibration"]
    result = evaluated(split, measures=measures)
    report.write(path, result, split.spec, {"model": "tiny"}, split.__getitem__)
    return path.as_uri()


@pytest.fixture
def page(url):
    with browser.chromium() as opened:
        opened.get(url)
        yield opened
        assert browser.complaints(opened) == []


def rows(page):
    read = "return [...document.querySelectorAll('table.sortable tbody tr')]"
    return page.execute_script(f"{read}.map((row) => row.cells[0].innerText.trim())")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_overflows_and_nothing_is_missing(url, screen, dark):
    with browser.chromium(*SCREENS[screen], dark=dark) as opened:
        opened.get(url)
        width = opened.execute_script("return document.documentElement.scrollWidth")
        assert width <= SCREENS[screen][0]
        images = "[...document.querySelectorAll('img[src]')]"
        blank = f"return {images}.filter((i) => !i.naturalWidth).length"
        assert opened.execute_script(blank) == 0
        color = "return getComputedStyle(document.body).backgroundColor"
        red = int(opened.execute_script(color).partition("(")[2].partition(",")[0])
        assert (red < 80) == dark
        assert browser.complaints(opened) == []


def test_a_click_on_a_header_sorts_the_table(page):
    before = rows(page)
    heads = page.find_elements("css selector", "table.sortable th button")
    iou = next(head for head in heads if head.text.strip().lower() == "iou")
    iou.click()
    descending = rows(page)
    iou.click()
    assert rows(page) == descending[::-1]
    assert sorted(descending) == sorted(before)


def test_an_image_is_enlarged_and_closed_by_keys(page):
    image = page.find_element("css selector", "img[data-zoom]")
    image.send_keys("\ue007")  # Enter.
    dialog = page.find_element("tag name", "dialog")
    assert dialog.is_displayed()
    first = dialog.find_element("tag name", "img").get_attribute("alt")
    assert first == image.get_attribute("alt")
    page.switch_to.active_element.send_keys("\ue014")  # Arrow right.
    other = dialog.find_element("tag name", "img").get_attribute("alt")
    assert other != first
    page.switch_to.active_element.send_keys("\ue00c")  # Escape.
    assert not dialog.is_displayed()
    # The focus is on the image shown last, not on the first one.
    assert page.switch_to.active_element.get_attribute("alt") == other
