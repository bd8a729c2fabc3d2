"""One neuron in a terminal: claim, formula, figures, frontier, neighbors; from the run's tables alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interpret.store import Run
from interpret.terminal import figure, grid, safe

if TYPE_CHECKING:
    from rich.console import Group

_FIGURES = (
    *("alignment", "misalignment_low", "misalignment_high", "link", "link_r2", "pearson", "r2", "coverage95"),
    *("cancellation", "kernel", "examples", "formula_gp", "points_used", "points_dropped", "seed", "seconds"),
)


def card(run: Run, row: dict[str, Any]) -> Group:
    """What the run holds of the neuron in ``row``, an object of an answer."""
    from rich.console import Group
    from rich.text import Text

    head = Text.assemble(
        (safe(row["address"]), "bold"), f"  of {safe(row['model'])}  ", (row["verdict"], "bold")
    )
    parts: list[Any] = [head, Text(safe(row["claim"]))]
    if row["formula"]:
        parts.append(Text.assemble("formula  ", (safe(row["formula"]), "cyan")))
    pairs = [f"{name} {figure(row[name])}" for name in _FIGURES if row[name] not in (None, "")]
    parts += [Text(" · ".join(pairs)), Text("")]
    key = _id(run, row)
    frontier = _frontier(run, key)
    if frontier:
        headers = ("", "terms", "complexity", "held_out", "upper", "expression")
        parts += [grid(headers, frontier, right=headers[1:5]), Text("")]
    neighbors = _neighbors(run, key)
    if neighbors:
        cases = ("case", "nearest training examples: row, similarity, contribution")
        parts.append(grid(cases, neighbors))
    return Group(*parts)


def _id(run: Run, row: dict[str, Any]) -> int:
    sql = "SELECT id FROM neuron WHERE model = ? AND address = ? AND revision = ?"
    with run.reading():
        found = run.connection.execute(sql, (row["model"], row["address"], row["revision"])).fetchone()
    return int(found[0])


def _frontier(run: Run, key: int) -> list[tuple[object, ...]]:
    sql = (
        "SELECT CASE chosen WHEN 1 THEN '→' ELSE '' END, terms, complexity, held_out, upper, expression "
        "FROM frontier WHERE neuron = ? ORDER BY place"
    )
    with run.reading():
        return [tuple(row) for row in run.connection.execute(sql, (key,))]


def _neighbors(run: Run, key: int) -> list[tuple[object, ...]]:
    sql = (
        "SELECT query, example, similarity, contribution FROM neighbor WHERE neuron = ? ORDER BY query, place"
    )
    cases: dict[int, list[str]] = {}
    with run.reading():
        for query, example, similarity, contribution in run.connection.execute(sql, (key,)):
            one = f"#{example} {figure(similarity)} {'' if contribution is None else f'{contribution:+.3g}'}"
            cases.setdefault(query, []).append(one)
    return [(query, "  ".join(items[:5])) for query, items in cases.items()]
