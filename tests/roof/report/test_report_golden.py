"""Golden files: the view data and the page of one neuron whose numbers are plain.

After a wanted change, write them again with ``TWINSCOPE_GOLDEN=write`` and read the difference.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from interpret.report import write
from interpret.report.index_view import IndexBuilder, line
from interpret.report.neuron_view import page

GOLDEN = Path(__file__).with_name("golden")


def compared(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("TWINSCOPE_GOLDEN") == "write":
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


def plain(value: Any) -> Any:
    """View data as JSON; drawings are tested by their own tests, other versions of matplotlib draw other bytes."""
    if is_dataclass(value) and not isinstance(value, type):
        return {at.name: plain(getattr(value, at.name)) for at in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return scrubbed(value) if isinstance(value, str) else value


def scrubbed(text: str) -> str:
    """Without drawings, data in links, style and script."""
    text = re.sub(r"<svg.*?</svg>", "<svg/>", text, flags=re.DOTALL)
    text = re.sub(r"(data:[a-z/]+;base64,)[^\"]+", r"\1…", text)
    return re.sub(r"<(style|script)>.*?</\1>", r"<\1/>", text, flags=re.DOTALL)


def test_view_of_a_neuron(samples: ModuleType) -> None:
    view = plain(page(samples.small()))
    compared("neuron.json", json.dumps(view, indent=1, ensure_ascii=False) + "\n")


def test_view_of_the_index(samples: ModuleType) -> None:
    index = IndexBuilder("Golden")
    neuron = samples.small()
    index.add(line(neuron, index.name(neuron), "#one"), lambda: neuron)
    view = plain(index.finish())
    assert view.pop("by_formula") == view.pop("by_example") == plain(page(neuron))
    compared("index.json", json.dumps(view, indent=1, ensure_ascii=False) + "\n")


def test_page_of_a_neuron(samples: ModuleType, tmp_path: Path) -> None:
    compared(
        "report.html", scrubbed(write([samples.small()], tmp_path / "r.html", "Golden").read_text("utf-8"))
    )
