"""A headless Chromium, for tests of web pages."""

import contextlib
import shutil

import pytest


@contextlib.contextmanager
def chromium(width=1280, height=900, *, dark=False):
    """Opens Debian's chromium; skips the test if it or selenium is missing."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("Needs chromium: apt-get install chromium chromium-driver.")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    opened = webdriver.Chrome(options=options, service=service)
    try:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1}
        command = opened.execute_cdp_cmd
        command("Emulation.setDeviceMetricsOverride", {**screen, "mobile": width < 600})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield opened
    finally:
        opened.quit()


def complaints(opened) -> list[str]:
    """Returns the new messages of the browser's console."""
    return [entry["message"] for entry in opened.get_log("browser")]
