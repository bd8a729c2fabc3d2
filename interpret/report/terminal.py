"""One explanation in a terminal, by rich: claim, formula, figures, frontier, neighbors, reasons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from interpret.commands.terminal import grid
from interpret.explanation import ExamplePart, FormulaPart, NeuronExplanation, QueryCase
from interpret.outcome import Verdict
from interpret.report.clean import close_to_one, number, percent, signed, visible
from interpret.report.scope import rivals, scope

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from interpret.comparing import Comparison

_COLORS = {Verdict.EXACT: "bold green", Verdict.APPROXIMATE: "bold yellow", Verdict.NONE: "bold red"}
_NEIGHBORS = 5


def card(neuron: NeuronExplanation) -> Group:
    """``neuron`` as lines and tables; every text is shown as it is, none is read as markup."""
    from rich.console import Group
    from rich.text import Text

    head = Text.assemble(
        (visible(neuron.address or "(output)"), "bold"),
        f"  of {visible(neuron.model)}  " if neuron.model else "  ",
        (neuron.verdict.value, _COLORS[neuron.verdict]),
    )
    said = _reach(neuron)
    parts: list[Any] = [
        head,
        *([Text(said, style="dim")] if said else []),
        Text(visible(neuron.claim, 600)),
        Text(""),
    ]
    if neuron.formula is not None:
        parts += _formula(neuron.formula, neuron.verdict)
    if neuron.examples is not None:
        parts += _examples(neuron.examples)
    parts += [Text(f"· {visible(reason, 400)}") for reason in neuron.reasons]
    parts += [Text(f"→ {visible(advice, 400)}", style="italic") for advice in neuron.advice]
    parts += [Text(f"! {engine}: {visible(why, 400)}", style="red") for engine, why in neuron.failures]
    return Group(*parts)


def _reach(neuron: NeuronExplanation) -> str:
    """What the verdict covers, and what rivals it; "" where nothing is claimed."""
    if neuron.verdict is Verdict.NONE:
        return ""
    other = rivals(neuron.formula)
    return scope(neuron.formula) + (
        f" · {other}; the one shown is the one whose length pays" if other else ""
    )


def comparison(compared: Comparison) -> Table:
    """Two runs, a line per neuron they share."""
    rows = [
        (
            visible(pair.address or "(output)"),
            pair.same,
            *(visible(side.formula.expression, 60) if side.formula else "–" for side in (pair.a, pair.b)),
            number(pair.distance),
        )
        for pair in compared
    ]
    return grid(("neuron", "result", "formula in A", "formula in B", "distance"), rows, right=("distance",))


def table(neurons: Iterable[NeuronExplanation]) -> Table:
    """Many neurons, a line each."""
    rows = [
        (
            visible(neuron.address or "(output)"),
            neuron.verdict.value,
            visible(neuron.formula.expression, 60) if neuron.formula else "–",
            close_to_one(1 - neuron.formula.misalignment) if neuron.formula else "–",
            close_to_one(neuron.examples.pearson) if neuron.examples else "–",
        )
        for neuron in neurons
    ]
    return grid(("neuron", "verdict", "formula", "alignment", "GP r"), rows, right=("alignment", "GP r"))


def _formula(part: FormulaPart, verdict: Verdict) -> list[Any]:
    from rich.text import Text

    said = "T = " if verdict is not Verdict.NONE else "best row, not claimed: T = "
    figures = [f"alignment {close_to_one(1 - part.misalignment)}"]
    if part.link is not None:
        figures.append(f"link R² {close_to_one(part.link.r2)}")
    figures += [f"{control.name} {number(control.misalignment)}" for control in part.controls]
    rows = [
        ("→" if row.chosen else "", row.complexity, number(row.held_out), visible(row.expression, 90))
        for row in part.frontier
    ]
    lines: list[Any] = [
        Text.assemble(said, (visible(part.expression, 400), "bold cyan")),
        Text(visible(" · ".join(figures), 400)),
    ]
    if rows:
        lines.append(grid(("", "size", "misalignment", "formula"), rows, right=("size", "misalignment")))
    return [*lines, Text("")]


def _examples(part: ExamplePart) -> list[Any]:
    from rich.text import Text

    figures = (
        f"GP r {close_to_one(part.pearson)} · R² {close_to_one(part.r2)} · coverage {percent(part.coverage95)} · "
        f"agreement {percent(part.agreement)} · cancellation {number(part.cancellation)}"
    )
    labels = {thumbnail.index: thumbnail.label for thumbnail in part.thumbnails}
    rows = [(case.kind, number(case.network), number(case.mean), _near(case, labels)) for case in part.cases]
    lines: list[Any] = [Text(figures)]
    if rows:
        heads = ("case", "network", "GP", f"{_NEIGHBORS} nearest: row, label, contribution")
        lines.append(grid(heads, rows, right=("network", "GP")))
    return [*lines, Text("")]


def _near(case: QueryCase, labels: dict[int, str]) -> str:
    shown: list[str] = []
    for neighbor in case.neighbors[:_NEIGHBORS]:
        label = visible(labels.get(neighbor.index, ""), 20)
        shown.append(f"#{neighbor.index}{f' ({label})' if label else ''} {signed(neighbor.contribution, 2)}")
    return "  ".join(shown)
