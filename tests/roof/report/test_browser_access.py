"""Nobody is shut out: axe-core finds nothing serious, and the keyboard reaches everything."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

AXE = "axe-core@4.10.3"


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core, fetched once by npm into the project's cache."""
    cache = Path(__file__).parents[3] / ".cache" / "axe"
    script = cache / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm on this machine: the accessibility check needs it to fetch axe-core")
        cache.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(cache), "--no-audit", "--no-fund", "--ignore-scripts", AXE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.skip(f"npm could not fetch axe-core: {done.stderr.strip().splitlines()[-1:]}")
    return script.read_text("utf-8")


@pytest.mark.parametrize(
    ("what", "scheme"),
    [("kinds", "light"), ("kinds", "dark"), ("index", "light"), ("page", "dark"), ("comparison", "light")],
)
def test_axe_finds_nothing_serious(
    reports: dict[str, Path], page: Any, axe: str, what: str, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(reports[what].as_uri())
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [
        {"id": at["id"], "impact": at["impact"], "nodes": [node["html"][:160] for node in at["nodes"][:3]]}
        for at in found
        if at["impact"] in {"serious", "critical", "moderate"}
    ]
    assert not serious, json.dumps(serious, indent=1)


def test_the_keyboard_alone_sorts_filters_and_chooses(reports: dict[str, Path], page: Any) -> None:
    page.goto(reports["single"].as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    head = page.get_by_role("button", name="verdict").first
    head.focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort='ascending']").count() == 1
    page.get_by_label("Find").focus()
    page.keyboard.type("ellipse")
    assert page.locator("table.neurons tbody tr:visible").count() == 1
    page.locator("tr[data-row] button").first.focus()
    page.keyboard.press("Space")
    assert page.locator("[data-chosen-note]").first.is_visible()


def test_headings_nest_and_pictures_speak(reports: dict[str, Path], page: Any) -> None:
    for what in ("single", "index", "page", "comparison"):
        page.goto(reports[what].as_uri())
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4,h5')].map(h => Number(h.tagName[1]))"
        )
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), what
        assert page.evaluate("[...document.images].every(i => i.alt.trim().length > 3)")
        assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))")
        assert page.evaluate("[...document.querySelectorAll('thead th')].every(h => h.scope === 'col')")
