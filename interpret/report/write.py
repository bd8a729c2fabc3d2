"""Writing a report: one self-contained file for a few neurons, an index with pages beside it for many."""

from __future__ import annotations

import base64
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from interpret.errors import ReportError, UsageError
from interpret.explanation import NeuronExplanation
from interpret.report import numbers
from interpret.report.comparison_view import comparison_page
from interpret.report.index_view import IndexBuilder, line
from interpret.report.neuron_view import page
from interpret.report.pages import Folder, save, write_page
from interpret.report.render import asset, html, inline_assets
from interpret.report.source import Neurons, Source

if TYPE_CHECKING:
    from interpret.comparing import Comparison

#: Up to this many neurons share one file; more get a page each.
MOST_IN_ONE_FILE = 20
TITLE = "What these neurons compute"


def write(source: Source, output: str | os.PathLike[str], title: str = TITLE, *, jobs: int = 1) -> Path:
    """Write the report of ``source`` and return the path of its first page.

    Args:
        source: a run, or neuron explanations.
        output: an ``.html`` file, or a folder that gets an ``index.html``. Above 20 neurons the pages go into
            ``<name>_files/`` beside it.
        title: the heading of the report.
        jobs: processes that write the pages of a run of more than 20 neurons; what is written is the same.

    Raises:
        ReportError: there is nothing to report, or a file cannot be written.
        UsageError: ``source`` is neither a run nor neuron explanations, or ``jobs`` is below 1.
    """
    if jobs < 1:
        raise UsageError(f"a report is written by at least one process; jobs is {jobs}")
    neurons = Neurons(source)
    if not len(neurons) and not neurons.failures:
        raise ReportError("a report needs at least one neuron, and this run holds none. Explain one first.")
    first = Path(output)
    if first.suffix.lower() not in (".html", ".htm"):
        first = first / "index.html"
    if len(neurons) <= MOST_IN_ONE_FILE:
        _write_file(neurons, first, title)
    else:
        _write_folder(neurons, first, title, jobs)
    return first


def _write_file(neurons: Neurons, path: Path, title: str) -> None:
    index = IndexBuilder(title, neurons.failures)
    pages = []
    for neuron in neurons:
        name = index.name(neuron)
        index.add(line(neuron, name, f"#{name}"), partial(_same, neuron))
        pages.append(page(neuron, name, _data_link(neuron)))
    save(path, html("single.html", index=index.finish(), neurons=pages, **inline_assets()))


def _same(neuron: NeuronExplanation) -> NeuronExplanation:
    return neuron


def _data_link(neuron: NeuronExplanation) -> Markup:
    """The numbers inside the link itself: the download works offline and without any script."""
    data = base64.b64encode(numbers.to_json(neuron).encode()).decode()
    return Markup("data:application/json;base64," + data)


def _write_folder(neurons: Neurons, path: Path, title: str, jobs: int) -> None:
    folder = Folder.beside(path)
    for name in ("report.css", "report.js"):
        save(folder.path / name, asset(name))
    index = IndexBuilder(title, neurons.failures)
    run = neurons.run
    if jobs > 1 and run is not None:
        from interpret.report.crew import write_all

        for key, made in write_all(run, folder, jobs):
            index.add(made, partial(run.explanation, key))
    else:
        for neuron in neurons:
            index.add(write_page(neuron, index.name(neuron), folder), partial(_same, neuron))
    save(path, html("index.html", index=index.finish(), folder=quote(os.fsencode(folder.path.name))))


def write_comparison(comparison: Comparison, output: str | os.PathLike[str], title: str = "") -> Path:
    """Write the page of a comparison of two runs, in one file, and return its path.

    Raises:
        ReportError: the file cannot be written.
    """
    path = Path(output)
    if path.suffix.lower() not in (".html", ".htm"):
        path = path / "index.html"
    named = title or f"{comparison.title_a} beside {comparison.title_b}"
    save(path, html("comparison.html", compared=comparison_page(comparison, named), **inline_assets()))
    return path
