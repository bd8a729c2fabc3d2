"""Write docs/report.png: the top of the demonstration's report, as a browser shows it. `make picture`.

python docs/_build/picture.py [runs/demo/report.html]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "report.png"
#: The window in CSS pixels: wide enough for both cards beside each other. The height is that of what is shown.
WIDTH, HEIGHT = 1160, 815


def draw(report: Path, picture: Path) -> None:
    """Photograph the report's head and its two leading cards, in light colours.

    Raises SystemExit where there is no report or no Chromium.
    """
    from playwright.sync_api import sync_playwright

    if not report.exists():
        sys.exit(f"{report} is missing; run: make demo")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(report.resolve().as_uri(), wait_until="load")
        leads = page.locator(".leads").bounding_box()
        height = HEIGHT if leads is None else round(leads["y"] + leads["height"]) + 8
        page.screenshot(path=picture, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "demo" / "report.html", PICTURE)
