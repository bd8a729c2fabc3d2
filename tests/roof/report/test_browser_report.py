"""The report in a real browser: offline, from a file, with scripts and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from interpret.report import write

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(samples: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    neurons = [samples.physics(), samples.digits(), samples.table()]
    return write(neurons, tmp_path_factory.mktemp("report") / "report.html", "Three neurons")


def test_opens_from_a_file_without_a_console_message(report: Path, page: Any) -> None:
    page.goto(report.as_uri())
    assert page.messages == []
    assert report.stat().st_size < 5_000_000


@pytest.mark.parametrize(
    "page", [{"java_script_enabled": True}, {"java_script_enabled": False}], indirect=True
)
def test_every_formula_and_picture_has_a_size(report: Path, page: Any) -> None:
    page.goto(report.as_uri())
    for selector, least in (("math", 5), ("img", 10), ("svg.figure", 60)):
        boxes = [handle.bounding_box() for handle in page.locator(selector).all()]
        assert len(boxes) >= 5, selector
        assert all(box and box["width"] > 3 and box["height"] > least for box in boxes), selector


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(
    report: Path, page: Any, width: int, scheme: str, screenshots: Path
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(report.as_uri())
    page.screenshot(path=screenshots / f"report-{width}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_prints(report: Path, page: Any, screenshots: Path) -> None:
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})
    page.screenshot(path=screenshots / "report-print.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    pdf = page.pdf(format="A4", path=screenshots / "report.pdf")
    assert pdf.startswith(b"%PDF")


def test_sorting_and_filtering_change_the_table(report: Path, page: Any) -> None:
    page.goto(report.as_uri())
    rows = page.locator("table.neurons tbody tr:visible")
    page.get_by_role("button", name="alignment").click()
    assert "Ellipse" in rows.nth(0).inner_text()
    page.get_by_role("button", name="alignment").click()
    assert "Breast" in rows.nth(0).inner_text()
    assert "Digits" in rows.nth(2).inner_text(), "a missing value goes last either way"
    page.get_by_label("Verdict").select_option("EXACT")
    assert rows.count() == 1
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Find").fill("out[3]")
    assert rows.count() == 1
    assert "1 shown" in page.locator("[data-shown]").inner_text()


def test_a_click_on_the_frontier_shows_that_row(report: Path, page: Any) -> None:
    page.goto(report.as_uri())
    section = page.locator("[data-formula]").nth(0)
    shown = section.locator("[data-display]")
    chosen = shown.inner_html()
    section.locator("g[data-row='0']").click()
    assert shown.inner_html() != chosen
    assert section.locator("[data-chosen-note]").is_visible()
    section.locator("tr[data-row='2'] button").press("Enter")
    assert section.locator("[data-chosen-note]").is_hidden()
    section.locator("g[data-row='4']").hover()
    assert "hover" in (section.locator("tr[data-row='4']").get_attribute("class") or "")


def test_without_scripts_all_content_is_there(report: Path, browser: Any, page: Any) -> None:
    page.goto(report.as_uri())
    with_scripts = set(page.locator("main").inner_text().lower().split())
    context = browser.new_context(java_script_enabled=False, offline=True)
    plain = context.new_page()
    plain.goto(report.as_uri())
    without = set(plain.locator("main").inner_text().lower().split())
    context.close()
    controls = {"find", "verdict", "any", "shown", "3"}
    assert with_scripts - without <= controls


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, offline=True, **getattr(request, "param", {})
    )
    opened = context.new_page()
    opened.messages = []
    opened.on("console", lambda message: opened.messages.append(message.text))
    opened.on("pageerror", lambda error: opened.messages.append(str(error)))
    yield opened
    context.close()
