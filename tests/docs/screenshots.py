"""Write the screenshots of the report that README and docs show.

    python tests/docs/screenshots.py --config configs/demo.yaml [--out docs/images]

RECSYS_HOME names a home in which `recsys run` has finished. The pictures always have the same size in pixels, and are
below 200 KB each.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from recsys.config import home, load_config
from recsys.report.page import write_report

# Name of the file -> width and height in pixels, and whether it is the dark theme.
PICTURES = {
    "report-1280.png": (1280, 900, False),
    "report-390.png": (390, 844, False),
    "report-1280-dark.png": (1280, 900, True),
}
LARGEST = 200_000


def main() -> None:
    """Make the page of the config's last run and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--out", default=Path("docs/images"), type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # Without the time at which the page is made: the same home gives the same picture.
        page = write_report(load_config(options.config), home(), out=Path(scratch) / "report.html")
        take_pictures(page, options.out)


def take_pictures(page: Path, out: Path) -> list[Path]:
    """Take the first screen of a page in each size and theme, and return the files.

    Raises:
        ValueError: a picture is larger than 200 KB.
    """
    out.mkdir(parents=True, exist_ok=True)
    browser = _start_browser()
    try:
        files = []
        for name, (width, height, dark) in PICTURES.items():
            content = _take_picture(browser, page, width, height, dark=dark)
            if len(content) > LARGEST:
                raise ValueError(f"{name} has {len(content):,} bytes, at most {LARGEST:,} are allowed")
            (out / name).write_bytes(content)
            files.append(out / name)
        return files
    finally:
        browser.quit()


def _start_browser() -> Chrome:
    options = ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    return Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))


def _take_picture(browser: Chrome, page: Path, width: int, height: int, *, dark: bool) -> bytes:
    wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(lambda it: it.execute_script("return document.documentElement.dataset.drawn"))
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])


if __name__ == "__main__":
    main()
