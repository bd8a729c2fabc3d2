"""Text from data, models and people is shown and never obeyed, wherever a report puts it."""

from __future__ import annotations

import io
import json
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest

from interpret.explanation import NeuronExplanation
from interpret.report import notebook, write
from interpret.report.terminal import card

HOSTILE = {
    "script": "<script>window.pwned = 1</script>",
    "attribute": '" onmouseover="window.pwned=1" x=\'',
    "closing": "</style></script></title></textarea>--><img src=x onerror=window.pwned=1>",
    "template": "{{ 7 * 7 }}{% for x in y %}${window.pwned=1}",
    "url": "javascript:window.pwned=1",
    "bidi": "abc\u202egnp.exe\u2066\u200f",
    "control": "a\x00b\x1b[31mred\x07\x7f\u2028\ufeff",
    "long": "y" * 10_000,
    "emoji": "👩‍🔬 漢字 שלום",
    "latex": r"$\input{/etc/passwd}$ \href{javascript:window.pwned=1}{x} \unicode{<img>}",
    "path": "../../../../etc/passwd\\..\\con",
    "entity": "&lt;script&gt;&#60;b&#62;&amp;",
    "surrogate": "lone \ud800 half",
    "markup": "[bold red]x[/] [link=javascript:1]y[/link]",
}
# Hashes and verdicts are the suite's own; a tree is JSON that no page shows.
_OWN = {"verdict", "kind", "tree", "png"}


def poisoned(value: Any, text: str) -> Any:
    """``value`` with every text in it replaced by ``text``."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value,
            **{
                at.name: poisoned(getattr(value, at.name), text)
                for at in fields(value)
                if at.name not in _OWN
            },
        )
    if isinstance(value, tuple):
        return tuple(poisoned(item, text) for item in value)
    return text if isinstance(value, str) else value


@pytest.fixture(params=sorted(HOSTILE))
def text(request: pytest.FixtureRequest) -> str:
    return HOSTILE[request.param]


@pytest.fixture
def neuron(samples: ModuleType, text: str) -> NeuronExplanation:
    return poisoned(samples.small(), text)


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
    harmless = poisoned(samples.small(), "plain")
    check(page, write([harmless], tmp_path / "b.html", "plain").read_text("utf-8"))
    assert len(page) < 1_000_000, "a long text is cut"


@pytest.fixture(scope="module")
def folder(samples: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder report in which every hostile text has a page, under a hostile title."""
    neurons = [poisoned(samples.small(), text) for text in (*HOSTILE.values(), *HOSTILE.values())]
    return write(neurons, tmp_path_factory.mktemp("hostile") / "a b.html", HOSTILE["closing"])


def test_a_folder(folder: Path) -> None:
    written = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert len(written) == 1 + 2 + 2 * 2 * len(HOSTILE)
    assert all(path.name.isascii() and len(path.name) < 40 for path in written)
    for page in (folder, *folder.parent.glob("*/*.html")):
        for _, attributes in elements(page.read_text("utf-8")):
            link = unquote(attributes.get("href") or attributes.get("src") or "")
            assert not link or link.startswith(("data:", "#")) or (page.parent / link).is_file()


def test_the_numbers_are_json_and_keep_the_text(folder: Path) -> None:
    claims = {json.loads(file.read_text("ascii"))["claim"] for file in folder.parent.glob("*/*.json")}
    expected = {text.encode("utf-8", "replace").decode() for text in HOSTILE.values() if len(text) < 1000}
    assert expected <= claims


def test_a_notebook_and_a_terminal(neuron: NeuronExplanation, samples: ModuleType) -> None:
    check(notebook(neuron), notebook(poisoned(samples.small(), "plain")))
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
