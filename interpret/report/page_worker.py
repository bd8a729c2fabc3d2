"""A process that writes pages of a run: it reads lines of JSON, and answers them on a descriptor that it is given.

The first line names the run and the folder, each further one the neurons to write; for each it answers with their
lines of the index, or with the error. It ends when nobody asks any more. What else is printed here is not among the
answers.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from interpret.errors import InterpretError, error_from_plain, error_to_plain, said
from interpret.report.neuron_view import identity
from interpret.report.pages import Folder, write_page
from interpret.report.view import IndexRow, Line

if TYPE_CHECKING:
    from interpret.report.source import Keyed


def main(descriptor: int) -> None:
    """Serve until the input ends, or until nobody reads the answers: who asked was killed, and needs no more."""
    from interpret.store import open_run

    order = json.loads(sys.stdin.readline() or "null")
    if order is None:
        return
    folder, run, answers = Folder(Path(order["folder"]), order["home"]), None, Connection(descriptor)
    for asked in sys.stdin:
        try:
            run = run or open_run(order["run"])
            answer: Any = [asdict(line) for line in write_pages(run, json.loads(asked), folder)]
        except Exception as error:
            answer = _plain(error)
        try:
            answers.send_bytes(json.dumps(answer).encode("ascii"))
        except OSError:
            os._exit(0)


def _plain(error: Exception) -> dict[str, str]:
    if isinstance(error, InterpretError):
        return error_to_plain(error)
    return {"error": type(error).__name__, "message": said(error), "trace": traceback.format_exc()}


def error_told(plain: Mapping[str, str]) -> Exception:
    """The error that a page worker met: ours, or one that should not happen, by its name and with its traceback."""
    if "trace" not in plain:
        return error_from_plain(plain)
    error: Exception = type(plain["error"], (Exception,), {})(plain["message"])
    error.add_note(plain["trace"])
    return error


def write_pages(run: Keyed, keys: list[int], folder: Folder) -> list[Line]:
    """Write the pages of these neurons of a run, where each stands once and its hash alone names it."""
    return [write_page(neuron, identity(neuron), folder) for neuron in map(run.explanation, keys)]


def line_from_plain(plain: Mapping[str, Any]) -> Line:
    """The line that was written as JSON; its formula is markup that was made here."""
    row = dict(plain["row"])
    row |= {"math": Markup(row["math"]), "cells": tuple(row["cells"]), "sort": tuple(row["sort"])}
    ranks = (None if rank is None else tuple(rank) for rank in (plain["by_formula"], plain["by_example"]))
    return Line(IndexRow(**row), *ranks)
