"""Pages in a folder, one neuron each: its HTML, its numbers as JSON beside it, and the line that the index takes."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from interpret.errors import ReportError
from interpret.explanation import NeuronExplanation
from interpret.report import numbers
from interpret.report.index_view import line
from interpret.report.neuron_view import page
from interpret.report.render import html
from interpret.report.view import Line


@dataclass(frozen=True)
class Folder:
    """Where the pages go, and the link from each back to the first one."""

    path: Path
    home: str

    @classmethod
    def beside(cls, first: Path) -> Folder:
        """The folder of a report whose first page is ``first``."""
        return cls(first.with_name(f"{first.stem}_files"), f"../{quote(os.fsencode(first.name))}")


def write_page(neuron: NeuronExplanation, name: str, folder: Folder) -> Line:
    """Write the page of ``neuron`` under that name.

    Raises:
        ReportError: a file cannot be written.
    """
    save(folder.path / f"{name}.json", numbers.to_json(neuron) + "\n")
    shown = html("page.html", neuron=page(neuron, name, Markup(f"{name}.json")), home=folder.home)
    save(folder.path / f"{name}.html", shown)
    return line(neuron, name, f"{quote(os.fsencode(folder.path.name))}/{name}.html")


def save(path: Path, text: str) -> None:
    """Write ``text`` whole or not at all, so that a full disk never leaves half a page."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8", "replace"))
            Path(partial).chmod(0o644)
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ReportError(f"the report cannot be written to {path}: {error.strerror or error}.") from error
