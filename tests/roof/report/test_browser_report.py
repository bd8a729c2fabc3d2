"""The report in a real browser: offline, from a file, with scripts and without."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from interpret.report import write

pytestmark = pytest.mark.browser

PAGES = ["single", "index", "page", "comparison"]
WITHOUT_SCRIPTS = {"java_script_enabled": False}


@pytest.mark.parametrize("what", PAGES)
def test_opens_from_a_file_without_a_console_message(reports: dict[str, Path], page: Any, what: str) -> None:
    page.goto(reports[what].as_uri())
    assert page.messages == []
    assert page.locator("h1:visible").count() == 1


def test_sizes(reports: dict[str, Path]) -> None:
    assert reports["single"].stat().st_size < 5_000_000
    assert reports["index"].stat().st_size < 1_000_000
    assert all(path.stat().st_size < 300_000 for path in reports["page"].parent.glob("*.html"))


@pytest.mark.parametrize("page", [{}, WITHOUT_SCRIPTS], indirect=True, ids=["scripts", "no-scripts"])
@pytest.mark.parametrize("what", ["single", "page"])
def test_every_formula_and_picture_has_a_size(reports: dict[str, Path], page: Any, what: str) -> None:
    page.goto(reports[what].as_uri())
    sizes = """([selector]) => [...document.querySelectorAll(selector)].map(e => e.getBoundingClientRect())
        .map(box => [box.width, box.height])"""
    for selector, least in (
        ("math", 5),
        ("img", 10),
        ("svg.figure", 60),
        ("svg.spark", 20),
        ("blockquote", 10),
    ):
        boxes = page.evaluate(sizes, [selector])
        assert boxes or what == "page", selector
        assert all(width > 3 and height > least for width, height in boxes), selector
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("what", PAGES)
def test_nothing_is_wider_than_the_screen(
    reports: dict[str, Path], page: Any, width: int, screenshots: Path, what: str
) -> None:
    for scheme in ("light", "dark"):
        page.set_viewport_size({"width": width, "height": 844 if width < 400 else 800})
        page.emulate_media(color_scheme=scheme)
        page.goto(reports[what].as_uri())
        page.screenshot(path=screenshots / f"{what}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("what", ["single", "page"])
def test_prints(reports: dict[str, Path], page: Any, screenshots: Path, what: str) -> None:
    page.goto(reports[what].as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 794, "height": 1123})
    page.screenshot(path=screenshots / f"{what}-print.png", full_page=what == "page")
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4", path=screenshots / f"{what}.pdf").startswith(b"%PDF")


def test_sorting_and_filtering_change_the_table(reports: dict[str, Path], page: Any) -> None:
    page.goto(reports["single"].as_uri())
    rows = page.locator("table.neurons tbody tr:visible")
    page.get_by_role("button", name="alignment").click()
    assert "Ellipse" in rows.nth(0).inner_text()
    page.get_by_role("button", name="alignment").click()
    assert "Breast" in rows.nth(0).inner_text()
    assert "–" in rows.last.inner_text(), "a missing value goes last either way"
    page.get_by_label("Verdict").select_option("EXACT")
    assert rows.count() == 1
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Find").fill("worst_texture")
    assert rows.count() == 1, "the filter reads formulas"
    page.get_by_label("Find").fill("nothing is called so")
    assert rows.count() == 0
    assert page.locator("[data-shown]").inner_text() == "0 shown"


def test_numbers_sort_as_numbers(reports: dict[str, Path], page: Any) -> None:
    page.goto(reports["index"].as_uri())
    for name in ("alignment", "link R²", "GP r", "cancellation"):
        page.get_by_role("button", name=name).click()
        column = page.locator("table.neurons thead th[aria-sort]").evaluate("head => head.cellIndex")
        keys = page.locator("table.neurons tbody tr").evaluate_all(
            f"rows => rows.map(r => r.cells[{column}].dataset.key)"
        )
        numbers = [float(key) for key in keys if key]
        assert numbers == sorted(numbers, reverse=True), name
        assert keys[len(numbers) :] == [""] * (len(keys) - len(numbers)), name
    page.get_by_role("button", name="neuron").click()
    addresses = page.locator("table.neurons tbody th").evaluate_all("heads => heads.map(h => h.dataset.key)")
    assert addresses.index("fc[2]") < addresses.index("fc[10]"), "addresses sort in counting order"


def test_index_links_lead_to_pages_and_back(reports: dict[str, Path], page: Any) -> None:
    page.goto(reports["index"].as_uri())
    page.locator("table.neurons tbody a").nth(3).click()
    assert page.locator("article.neuron h1").is_visible()
    page.get_by_role("link", name="all neurons").click()
    assert page.url == reports["index"].as_uri()
    assert page.messages == []


def test_a_click_on_the_frontier_shows_that_row(reports: dict[str, Path], page: Any) -> None:
    page.goto(reports["single"].as_uri())
    section = page.locator("[data-formula]").nth(0)
    shown, note = section.locator("[data-display]"), section.locator("[data-chosen-note]")
    chosen, latex = shown.inner_html(), section.locator("[data-latex-shown]").inner_text()
    section.locator("g[data-row='0']").click()
    assert shown.inner_html() != chosen
    assert section.locator("[data-latex-shown]").inner_text() != latex
    assert note.is_visible()
    assert shown.locator("math").count() >= 1
    section.locator("tr[data-row='2']").click()
    assert note.is_hidden()
    assert shown.inner_html() == chosen
    section.locator("g[data-row='4']").hover()
    assert "hover" in (section.locator("tr[data-row='4']").get_attribute("class") or "")
    assert "sin" in (section.locator("g[data-row='4'] title").text_content() or "")


def test_the_download_is_the_numbers(reports: dict[str, Path], page: Any, tmp_path: Path) -> None:
    page.goto(reports["single"].as_uri())
    with page.expect_download() as started:
        page.get_by_role("link", name="numbers of this page").first.click()
    started.value.save_as(tmp_path / "numbers.json")
    assert json.loads((tmp_path / "numbers.json").read_text("utf-8"))["verdict"] == "EXACT"
    assert started.value.suggested_filename.endswith(".json")
    page.goto(reports["page"].as_uri())
    beside = page.get_by_role("link", name="numbers of this page").get_attribute("href")
    assert json.loads((reports["page"].parent / beside).read_text("utf-8"))["address"] == "fc[1]"


@pytest.mark.parametrize("what", PAGES)
def test_without_scripts_all_content_is_there(
    reports: dict[str, Path], browser: Any, page: Any, what: str
) -> None:
    page.goto(reports[what].as_uri())
    with_scripts = set(page.locator("main").inner_text().lower().split())
    controls = set(" ".join(page.locator(".js-only").all_inner_texts()).lower().split())
    context = browser.new_context(java_script_enabled=False, offline=True)
    plain = context.new_page()
    plain.goto(reports[what].as_uri())
    without = set(plain.locator("main").inner_text().lower().split())
    context.close()
    assert with_scripts - without <= controls


def test_hostile_text_runs_nothing(hostile_report: Path, page: Any) -> None:
    for path in (hostile_report, *sorted(hostile_report.parent.glob("*_files/*.html"))):
        page.goto(path.as_uri())
        assert page.evaluate("window.pwned") is None
        assert page.locator("script:not([src])").count() == 0
        assert page.locator("[onmouseover], [onerror], [onload], iframe, object").count() == 0
        assert page.messages == []
    page.goto(hostile_report.as_uri())
    for head in page.locator("thead button").all():
        head.click()
    page.get_by_label("Find").fill("<script>")
    assert page.evaluate("window.pwned") is None


def test_long_names_stay_inside_their_boxes(samples: ModuleType, page: Any, tmp_path: Path) -> None:
    """On a phone nothing is wider than the page, and no formula reaches into the figures beside it."""
    names = ("a name of forty letters that has no end.", "<img src=x onerror=boom()>" * 3)
    first, second = (f"<mtext>{escape(name)}</mtext>" for name in names)
    maths = (
        f"<math><mrow>{first}<mo>\u2062</mo>{second}<mo>+</mo><mn>2</mn><mo>\u2062</mo>{second}</mrow></math>"
    )
    plain = samples.small()
    rows = tuple(replace(row, mathml=maths) for row in plain.formula.frontier)
    formula = replace(plain.formula, mathml=maths, frontier=rows, names=names, variables=names)
    rename = partial(replace, names=names)
    examples = replace(
        plain.examples,
        cases=tuple(replace(at, thumbnail=rename(at.thumbnail)) for at in plain.examples.cases),
        thumbnails=tuple(map(rename, plain.examples.thumbnails)),
    )
    neuron = replace(plain, formula=formula, examples=examples)
    path = write([neuron], tmp_path / "long.html")
    card = tmp_path / "card.html"
    card.write_text(
        f'<meta name="viewport" content="width=device-width"><body>{neuron._repr_html_()}', "utf-8"
    )
    overlapping = """() => [...document.querySelectorAll("tbody tr")].flatMap(row => {
        const cells = [...row.cells].map(cell => cell.getBoundingClientRect());
        return [...row.cells].filter((cell, at) => at + 1 < cells.length && [...cell.children].some(
            inner => inner.getBoundingClientRect().right > cells[at + 1].left + 1)).map(cell => cell.textContent)})"""
    for shown in (path, card):
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            page.goto(shown.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (shown.name, width)
            assert page.evaluate(overlapping) == [], (shown.name, width)
