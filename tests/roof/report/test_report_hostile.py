"""Text from data, models and people is shown and never obeyed, wherever a report puts it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

from interpret.explanation import NeuronExplanation
from interpret.report import notebook, write
from interpret.report.terminal import card


@pytest.fixture(params=range(14))
def text(request: pytest.FixtureRequest, samples: ModuleType) -> str:
    return list(samples.HOSTILE.values())[request.param]


@pytest.fixture
def neuron(samples: ModuleType, text: str) -> NeuronExplanation:
    return samples.poisoned(samples.small(), text)


class Elements(HTMLParser):
    """Collects every element with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(page)
    return parser.found


def check(page: str, plain: str) -> None:
    """The page has the elements of the same page with harmless text, and no attribute that runs."""
    found, expected = elements(page), elements(plain)
    assert [
        tag for tag, _ in found if tag not in {"math", "code", "span", "mi", "mo", "mn", "mrow", "msub"}
    ] == [tag for tag, _ in expected if tag not in {"math", "code", "span", "mi", "mo", "mn", "mrow", "msub"}]
    for tag, attributes in found:
        assert not [name for name in attributes if name.startswith("on")], tag
        link = attributes.get("href") or attributes.get("src") or ""
        assert link.startswith(("#", "data:", "n", "../", "report")) or link.endswith(".html") or not link
    assert not set(page) & set("\x00\u202e\u2066\u200f\x1b\ufeff\u2028")
    page.encode("utf-8")


def test_a_single_file(neuron: NeuronExplanation, samples: ModuleType, text: str, tmp_path: Path) -> None:
    page = write([neuron], tmp_path / "a.html", text).read_text("utf-8")
    harmless = samples.poisoned(samples.small(), "plain")
    check(page, write([harmless], tmp_path / "b.html", "plain").read_text("utf-8"))
    assert len(page) < 1_000_000, "a long text is cut"


def test_a_folder(hostile_report: Path) -> None:
    written = [path for path in hostile_report.parent.rglob("*") if path.is_file()]
    assert len(written) == 1 + 2 + 2 * 21
    assert all(path.name.isascii() and len(path.name) < 40 for path in written)
    for page in (hostile_report, *hostile_report.parent.glob("*/*.html")):
        for _, attributes in elements(page.read_text("utf-8")):
            link = unquote(attributes.get("href") or attributes.get("src") or "")
            assert not link or link.startswith(("data:", "#")) or (page.parent / link).is_file()


def test_the_numbers_are_json_and_keep_the_text(hostile_report: Path, samples: ModuleType) -> None:
    claims = {json.loads(file.read_text("ascii"))["claim"] for file in hostile_report.parent.glob("*/*.json")}
    expected = {
        text.encode("utf-8", "replace").decode() for text in samples.HOSTILE.values() if len(text) < 1000
    }
    assert expected <= claims


def test_a_notebook_and_a_terminal(neuron: NeuronExplanation, samples: ModuleType) -> None:
    check(notebook(neuron), notebook(samples.poisoned(samples.small(), "plain")))
    from rich.console import Console

    console = Console(record=True, width=100, file=io.StringIO())
    console.print(card(neuron))
    printed = console.export_text(styles=False)
    assert not set(printed) & set("\x00\x1b\u202e\x07")


def test_a_png_that_is_none_is_not_shown(samples: ModuleType, tmp_path: Path) -> None:
    from interpret.explanation import Thumbnail
    from interpret.report.pictures import picture

    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'/>"
    assert picture(svg) is None
    assert picture(b"\x89PNG\r\n\x1a\n" + svg) is None
    assert picture(b"") is None
    neuron = samples.small()
    case = replace(neuron.examples.cases[0], thumbnail=Thumbnail(1, "image", png=svg))
    page = write([replace(neuron, examples=replace(neuron.examples, cases=(case,)))], tmp_path / "a.html")
    assert "<img" not in page.read_text("utf-8")
