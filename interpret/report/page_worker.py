"""A process that writes pages of a run: ``python -m interpret.report.page_worker`` answers lines of JSON.

The first line names the run and the folder, each further one the neurons to write; for each it answers with their
lines of the index, or with the error. It ends when nobody asks any more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from interpret.errors import InterpretError, error_to_plain
from interpret.report.neuron_view import identity
from interpret.report.pages import Folder, write_page
from interpret.report.view import IndexRow, Line

if TYPE_CHECKING:
    from interpret.report.source import Keyed


def main() -> None:
    """Serve until the input ends."""
    from interpret.store import open_run

    order = json.loads(sys.stdin.readline())
    folder, run = Folder(Path(order["folder"]), order["home"]), None
    for asked in sys.stdin:
        try:
            run = run or open_run(order["run"])
            answer: Any = [asdict(line) for line in write_pages(run, json.loads(asked), folder)]
        except InterpretError as error:
            answer = error_to_plain(error)
        print(json.dumps(answer), flush=True)


def write_pages(run: Keyed, keys: list[int], folder: Folder) -> list[Line]:
    """Write the pages of these neurons of a run, where each stands once and its hash alone names it."""
    return [write_page(neuron, identity(neuron), folder) for neuron in map(run.explanation, keys)]


def line_from_plain(plain: Mapping[str, Any]) -> Line:
    """The line that was written as JSON; its formula is markup that was made here."""
    row = dict(plain["row"])
    row |= {"math": Markup(row["math"]), "cells": tuple(row["cells"]), "sort": tuple(row["sort"])}
    ranks = (None if rank is None else tuple(rank) for rank in (plain["by_formula"], plain["by_example"]))
    return Line(IndexRow(**row), *ranks)


if __name__ == "__main__":
    main()
