"""Prepared explanations for the tests of the report."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from interpret.report import write, write_comparison
from interpret.report.neuron_view import identity
from interpret.report.write import MOST_IN_ONE_FILE


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """The factory of prepared explanations."""
    spec = importlib.util.spec_from_file_location("report_samples", Path(__file__).with_name("samples.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures for people go; kept by CI, ignored by git."""
    folder = Path(__file__).parents[3] / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page of an offline browser that collects what reaches the console; a parameter is passed to its context."""
    options = getattr(request, "param", {})
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True, **options)
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    opened.messages = []
    opened.on("console", lambda message: opened.messages.append(message.text))
    opened.on("pageerror", lambda error: opened.messages.append(str(error)))
    yield opened
    context.close()


@pytest.fixture(scope="session")
def reports(samples: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of every kind: a single file, an index with its pages, and a comparison."""
    folder = tmp_path_factory.mktemp("reports")
    kinds = [samples.physics(), samples.digits(), samples.table(), samples.series(), samples.texts()]
    many = [replace((samples.small(), *kinds[:2])[at % 3], address=f"fc[{at}]") for at in range(24)]
    index = write(many, folder / "many" / "report.html", "Two dozen neurons")
    return {
        "single": write(kinds, folder / "report.html", "Five neurons of five networks"),
        "kinds": write([samples.small(), samples.texts(), samples.series()], folder / "kinds.html"),
        "index": index,
        "page": folder / "many" / "report_files" / f"{identity(many[1])}.html",
        "comparison": write_comparison(
            samples.comparison(), folder / "comparison.html", "Two stages of one training"
        ),
    }


@pytest.fixture(scope="session")
def hostile_report(samples: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder report in which every hostile text has a page, under a hostile title."""
    texts = [*samples.HOSTILE.values()] * 2
    neurons = [samples.poisoned(samples.small(), text) for text in texts[: MOST_IN_ONE_FILE + 1]]
    return write(neurons, tmp_path_factory.mktemp("hostile") / "a b#1%.html", samples.HOSTILE["closing"])
