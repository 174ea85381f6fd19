"""The server's web page in Debian's Chromium."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kerasseg import images
from tests.support.server_process import (
    CLASSES,
    LEVELS,
    Fake,
    png,
    put,
    running,
    serving,
    until,
)

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.common import exceptions  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's chromium and chromium-driver",
    ),
]
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("exported"), max_megapixels=1.0
    ) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"),
        "--window-size=1280,1300",
        *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    opened = webdriver.Chrome(options, service)
    opened.downloads = downloads
    yield opened
    opened.quit()


@pytest.fixture
def page(browser, server):
    """The page, freshly loaded; checks afterwards that there were no errors."""
    browser.get_log("browser")
    browser.get(f"http://127.0.0.1:{server.port}/")
    until(lambda: "3 classes" in text(browser, "model"))
    yield browser
    log = [line["message"] for line in browser.get_log("browser")]
    assert not [
        line for line in log if "Content Security" in line or "Uncaught" in line
    ]


def element(browser, name):
    return browser.find_element(By.ID, name)


def text(browser, name):
    return element(browser, name).get_attribute("textContent")


def choose(browser, path, data, wait="Done"):
    path.write_bytes(data)
    element(browser, "file").send_keys(str(path))
    until(lambda: wait in text(browser, "status") or wait in text(browser, "error"))


def photo(width=600, height=400):
    """Generates an image with regions of each class."""
    y, x = np.mgrid[:height, :width]
    red = 127 + 120 * np.sin(x / 60) * np.cos(y / 45)
    return np.stack([red, 60 + y / 4, 200 - x / 6], -1).astype(np.uint8)


def test_an_image_is_shown_with_its_classes(page, tmp_path):
    choose(page, tmp_path / "small.png", png(LEVELS))
    assert "3 classes found" in text(page, "status")
    rows = [row.text for row in page.find_elements(By.CSS_SELECTOR, "#legend button")]
    # Two of six pixels each: a third. Names are shown as text, not as HTML.
    assert sorted(rows) == sorted(
        f"{name}\n33.3 %" for name in ("left", "<b>middle</b>", "right")
    )
    assert not page.find_elements(By.CSS_SELECTOR, "#legend b")
    assert "s on the server" in text(page, "time")
    assert "3 \N{MULTIPLICATION SIGN} 2 pixels" in text(page, "time")


def test_the_keyboard_moves_the_marker(page, tmp_path):
    choose(page, tmp_path / "small.png", png(LEVELS))
    stage = element(page, "stage")
    names = ["left", "<b>middle</b>", "right"]
    stage.send_keys(*3 * [Keys.ARROW_UP], *5 * [Keys.ARROW_LEFT])
    for y, row in enumerate(CLASSES):
        for x, number in enumerate(row):
            expected = f"{names[number]} (class {number}) at {x}, {y}"
            assert text(page, "pointed") == expected
            stage.send_keys(Keys.ARROW_RIGHT)
        stage.send_keys(Keys.ARROW_DOWN, *3 * [Keys.ARROW_LEFT])


def test_the_class_below_the_pointer_is_named(page, tmp_path):
    choose(page, tmp_path / "photo.png", images.encode_image(photo()))
    stage = element(page, "stage")
    webdriver.ActionChains(page).move_to_element(stage).perform()
    assert "at 300, " in text(page, "pointed")
    assert "right (class 2)" in text(
        page, "pointed"
    )  # Red 127 + 120 sin 5 cos 4.4: 162.


def test_opacity_and_legend_change_the_mask(page, tmp_path):
    choose(page, tmp_path / "small.png", png(LEVELS))
    element(page, "opacity").send_keys(Keys.HOME)
    assert text(page, "percent") == "0 %"
    assert element(page, "mask").value_of_css_property("opacity") == "0"
    pixel = (
        "return [...document.getElementById('mask').getContext('2d')"
        ".getImageData(arguments[0], arguments[1], 1, 1).data]"
    )
    assert page.execute_script(pixel, 2, 1) == [0, 0, 255, 255]
    button = page.find_element(By.XPATH, "//button[contains(., 'middle')]")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.execute_script(pixel, 2, 1)[3] < 255  # The others are shaded.
    assert page.execute_script(pixel, 2, 0) == [255, 0, 0, 255]


def test_the_mask_is_downloaded(page, tmp_path):
    choose(page, tmp_path / 'a "quoted" <i>.png', png(LEVELS))
    element(page, "download").click()
    until(lambda: list(page.downloads.glob("*-mask*.png")))
    (path,) = page.downloads.glob("*-mask*.png")
    assert images.read_label(path.read_bytes()).tolist() == CLASSES


def test_a_large_image_is_resized_before_it_is_sent(page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 16 * 2**20  # More than the server accepts.
    choose(page, tmp_path / "large.png", file.getvalue())
    assert "1224 \N{MULTIPLICATION SIGN} 816 pixels" in text(
        page, "time"
    )  # 998,784, of 1,000,000.


def test_a_file_that_is_not_an_image_is_an_error(page, tmp_path):
    choose(page, tmp_path / "text.png", b"<script>alert(1)</script>", "not an image")
    assert element(page, "error").is_displayed()
    choose(page, tmp_path / "small.png", png(LEVELS))  # The next one is shown.
    assert not element(page, "error").is_displayed()


def test_errors_of_the_server_are_shown_as_text(page, tmp_path):
    choose(page, tmp_path / "broken.png", png([[251]]), "fails")
    assert text(page, "error") == "the network fails"


MARKUP = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)<script>",
    '"><svg onload=alert(1)>',
    "javascript&colon;alert(1)",
    "'-alert(1)-'",
    "{{alert(1)}}${alert(1)}",
]


@pytest.mark.parametrize("name", MARKUP)
def test_markup_in_any_name_is_shown_as_text(browser, tmp_path, name):
    """Names of the model, the classes and the file; one run of a script would alert."""
    version = tmp_path / "1"
    version.mkdir()
    names = [name, f"{name}</button></li></script>", f"{name}\u2028 --> ]]>"]
    (version / "class_names").write_text(json.dumps(names))
    (version / "saved_model.pb").write_text("x")
    with running(Fake(tmp_path, model_name=name)) as server:
        browser.get_log("browser")
        browser.get(f"http://127.0.0.1:{server.port}/")
        until(lambda: "3 classes" in text(browser, "model"))
        assert text(browser, "model") == f"{name}, version 1, 3 classes"
        tags = "return [...document.querySelectorAll('*')].map((e) => e.tagName).sort()"
        before = set(browser.execute_script(tags))
        file_name = name.replace("/", "")
        choose(browser, tmp_path / f"{file_name}.png", png(LEVELS))
        rows = browser.find_elements(By.CSS_SELECTOR, "#legend button .name")
        assert sorted(row.get_attribute("textContent") for row in rows) == sorted(names)
        stage = element(browser, "stage")
        stage.send_keys(Keys.ARROW_UP, Keys.ARROW_LEFT)
        assert text(browser, "pointed").startswith(f"{names[0]} (class 0)")
        assert name in stage.get_attribute("aria-label")
        download = element(browser, "download").get_attribute("download")
        assert download == f"{file_name}-mask.png"
        # An error repeats the name of the model.
        _, error = server.json("GET", "/v1/models/x")
        browser.execute_script("showError(arguments[0])", error["error"] + name)
        assert text(browser, "error").endswith(name)
        assert set(browser.execute_script(tags)) <= before | {"BUTTON", "CANVAS", "LI"}
        attributes = (
            "return [...document.querySelectorAll('*')].flatMap((e) => "
            "e.getAttributeNames()).filter((name) => name.startsWith('on'))"
        )
        assert browser.execute_script(attributes) == []
        with pytest.raises(exceptions.NoAlertPresentException):
            browser.switch_to.alert.accept()
        log = [line["message"] for line in browser.get_log("browser")]
        assert not [line for line in log if "Security" in line or "Uncaught" in line]


def test_the_camera_takes_an_image(page):
    element(page, "camera").click()
    until(lambda: page.execute_script("return video.videoWidth > 0"))
    assert not element(page, "camera").is_enabled()  # One camera is enough.
    element(page, "snapshot").click()
    until(lambda: "Done" in text(page, "status"))
    assert not element(page, "viewfinder").is_displayed()
    assert element(page, "camera").is_enabled()


def test_the_page_names_the_version_of_the_last_response(browser, tmp_path):
    with serving(tmp_path) as server:
        browser.get(f"http://127.0.0.1:{server.port}/")
        until(lambda: "version 1," in text(browser, "model"))
        put(tmp_path, 2)
        until(lambda: server.json("GET", "/readyz")[1]["version"] == "2")
        choose(browser, tmp_path / "small.png", png(LEVELS))
        until(lambda: "version 2," in text(browser, "model"))


def test_other_origins_can_neither_read_nor_frame_it(browser, server, tmp_path):
    frame = f'<iframe src="http://127.0.0.1:{server.port}/"></iframe>'
    (tmp_path / "other.html").write_text(frame)
    browser.get((tmp_path / "other.html").as_uri())
    code = (
        "const done = arguments[1];"
        "fetch(arguments[0], {method: 'POST', body: 'x'})"
        ".then(() => done('read'), () => done('refused'))"
    )
    address = f"http://127.0.0.1:{server.port}/v1/models/levels:predict"
    assert browser.execute_async_script(code, address) == "refused"
    browser.switch_to.frame(0)
    with pytest.raises(exceptions.NoSuchElementException):
        browser.find_element(By.ID, "drop")


def test_without_javascript_it_shows_instructions(browser, server):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"http://127.0.0.1:{server.port}/")
        assert "curl --data-binary" in browser.page_source
    finally:
        browser.execute_cdp_cmd(
            "Emulation.setScriptExecutionDisabled", {"value": False}
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", list(SIZES))
def test_it_fits_every_screen(page, tmp_path, device, scheme):
    """Nothing overflows the screen, and every control is large enough for a finger."""
    width, height = SIZES[device]
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page.refresh()
    page.save_screenshot(str(tmp_path / "before.png"))
    choose(page, tmp_path / "photo.png", images.encode_image(photo()))
    page.save_screenshot(str(tmp_path / "after.png"))
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    for each in page.find_elements(By.CSS_SELECTOR, "button, a.button, label.button"):
        assert not each.is_displayed() or each.size["height"] >= 40
    ground = page.execute_script(
        "return getComputedStyle(document.body).backgroundColor"
    )
    dark = np.mean([int(c) for c in ground[4:-1].split(",")]) < 128
    assert dark == (scheme == "dark")
