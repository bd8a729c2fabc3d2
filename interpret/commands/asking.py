"""The verb ``query``: answers at once, so nothing here loads torch, sympy or pandas."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from interpret.commands import terminal
from interpret.errors import UsageError
from interpret.runs.answers import Answer, Table, objects
from interpret.store import Run, open_run


def form(json: bool, csv: bool, markdown: bool) -> str:
    """The one form that was asked for, or "table".

    Raises:
        UsageError: several were.
    """
    asked = [name for name, on in (("json", json), ("csv", csv), ("markdown", markdown)) if on]
    if len(asked) > 1:
        raise UsageError(f"--{' and --'.join(asked)}: choose one")
    return asked[0] if asked else "table"


def direction(ascending: bool, descending: bool) -> bool | None:
    """Whether to sort from high to low; None: as the column is usually read."""
    if ascending and descending:
        raise UsageError("--ascending and --descending: choose one")
    return True if descending else False if ascending else None


def query(
    path: Path,
    pattern: str | None,
    filters: dict[str, Any],
    shape: str,
    failed: bool = False,
    quiet: bool = False,
) -> int:
    """Print the answer; 0. ``quiet`` leaves out the line below a table."""
    with closing(open_run(path)) as run:
        if failed:
            return _failures(run, shape, quiet)
        answer = run.table(pattern, **filters)
        if not len(answer) and answer.single and not answer.filtered:
            raise run.unknown(str(pattern))
        if shape == "json":
            terminal.out(terminal.json_text(objects(answer)))
        elif shape == "csv":
            terminal.out(terminal.csv_text(answer))
        elif shape == "markdown":
            terminal.out(terminal.markdown(answer, filters.get("sort")))
        else:
            _table(run, answer, filters.get("sort"), quiet)
    return 0


def _table(run: Run, answer: Answer, sort: str | None, quiet: bool) -> None:
    console = terminal.console()
    if answer.single and len(answer) == 1:
        from interpret.report.terminal import card

        one = objects(answer)[0]
        console.print(card(run.load(one["address"], model=one["model"], revision=one["revision"])))
        return
    if len(answer):
        console.print(terminal.answer_table(answer, sort))
    if not quiet:
        console.print(f"{len(answer)} of {len(run)} neurons")


def _failures(run: Run, shape: str, quiet: bool) -> int:
    found = run.failures()
    columns = ("address", "error", "message", "attempts")
    rows = [(f.address, f.error, f.message, f.attempts) for f in found]
    table = Table(columns, rows)
    if shape == "json":
        terminal.out(terminal.json_text(objects(table)))
    elif shape == "csv":
        terminal.out(terminal.csv_text(table))
    elif shape == "markdown":
        terminal.out(terminal.markdown_lines(columns, rows))
    else:
        if rows:
            terminal.console().print(terminal.grid(columns, rows, right=["attempts"]))
        hint = f"{len(rows)} neurons failed; `twinscope explain … --retry-failed` tries them again"
        if not quiet:
            terminal.out(hint if rows else "no neuron has failed")
    return 0
