"""The same checks on a report that somebody made: the demo's, or the one that TWINSCOPE_REPORT names.

pytest tests/roof/report/test_browser_given.py
TWINSCOPE_REPORT=runs/x/report.html pytest tests/roof/report/test_browser_given.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

SIZES = """() => Object.fromEntries(["math", "img", "svg"].map(tag => [tag, [...document.querySelectorAll(tag)]
    .map(e => e.getBoundingClientRect()).filter(box => !(box.width > 3 && box.height > 4)).length]))"""


@pytest.fixture(scope="module")
def given(request: pytest.FixtureRequest) -> Path:
    """The first page of the report."""
    named = os.environ.get("TWINSCOPE_REPORT")
    path = Path(named) if named else request.getfixturevalue("demo_run") / "report.html"
    assert path.is_file(), path
    return path.resolve()


@pytest.fixture(scope="module")
def pages(given: Path) -> list[Path]:
    """The first page and those beside it."""
    return [given, *sorted(given.with_name(f"{given.stem}_files").glob("*.html"))]


def test_pages_are_small(pages: list[Path]) -> None:
    sizes = [path.stat().st_size for path in pages]
    assert sizes[0] < (1_000_000 if len(pages) > 1 else 5_000_000)
    assert max(sizes[1:], default=0) < 300_000


@pytest.mark.parametrize("page", [{}, {"java_script_enabled": False}], indirect=True, ids=["scripts", "none"])
def test_every_page_opens_silently_and_everything_has_a_size(pages: list[Path], page: Any) -> None:
    for path in pages:
        page.goto(path.as_uri())
        assert page.messages == [], path.name
        assert page.evaluate(SIZES) == {"math": 0, "img": 0, "svg": 0}, path.name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name


def test_screens_for_people(given: Path, page: Any, screenshots: Path) -> None:
    page.goto(given.as_uri())
    for width in (390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 844 if width < 400 else 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=screenshots / f"given-{width}-{scheme}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 794, "height": 1123})
    page.emulate_media(media="print", color_scheme="light")
    page.screenshot(path=screenshots / "given-print.png")


def test_sorting_filtering_and_the_frontier_work(given: Path, page: Any) -> None:
    page.goto(given.as_uri())
    rows = page.locator("table.neurons tbody tr:visible")
    before = rows.count()
    page.get_by_role("button", name="GP r").click()
    keys = page.locator("table.neurons th[aria-sort]").evaluate("""head => [...head.closest("table").tBodies[0].rows]
        .map(row => row.cells[head.cellIndex].dataset.key).filter(key => key !== "").map(Number)""")
    assert keys == sorted(keys, reverse=True)
    page.get_by_label("Find").fill("out[0]")
    assert 0 <= rows.count() < before
    page.get_by_label("Find").fill("")
    if page.locator("[data-formula]").count() == 0:
        page.locator("table.neurons tbody a").first.click()
    section = page.locator("[data-formula]").first
    if section.count() and section.locator("tr[data-row]:not(.chosen)").count():
        section.locator("tr[data-row]:not(.chosen) button").first.click()
        assert section.locator("[data-chosen-note]").is_visible()
    assert page.messages == []
