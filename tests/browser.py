"""A real browser without a window, driven by Selenium."""

import base64
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Browser:
    """Chromium without a window, driven by Selenium."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1200, height: int = 900, *, dark: bool = False) -> None:
        """Read a file as a person would, on a screen of this size."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.prefer(dark=dark)
        self.driver.get(page.as_uri())

    def prefer(self, *, dark: bool) -> None:
        """Ask for dark or light pages."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments):
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def picture(self, element) -> np.ndarray:
        """What is seen of an element."""
        return np.asarray(Image.open(BytesIO(element.screenshot_as_png)).convert("L"), dtype=float)

    def page_picture(self, width: int, height: int, top: int = 0) -> Image.Image:
        """What is seen of the page from some pixels below its top."""
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        return Image.open(BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def complaints(self) -> list[str]:
        """What the console says, since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that pages of files asked for, since this was last asked; the browser's own are left out."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent" and message["params"]["documentURL"].startswith("file:")
        ]

    def wait(self, script: str, seconds: float = 5) -> None:
        """Until a script returns true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)


def installed() -> bool:
    """Whether there is a browser here."""
    return all(shutil.which(name) for name in ("chromium", "chromedriver"))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser that knows nothing yet. profile: an empty folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
