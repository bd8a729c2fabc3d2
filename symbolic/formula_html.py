"""How a formula shows itself in a notebook: one card, no script, everything escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from symbolic.formula import Formula

_COLORS = {"EXACT": "#1a7f37", "APPROXIMATE": "#9a6700", "NONE": "#82071e"}
_MOST_ROWS = 12
_LONGEST = 400


def shown(text: str) -> str:
    """Escaped text, cut to a length that a page can hold."""
    return escape(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


def card(formula: Formula) -> str:
    """The formula, its verdict with reasons, its link, and the frontier as a table."""
    verdict = str(formula.verdict)
    claim = "" if verdict != "NONE" else " <em>(best row, not claimed)</em>"
    link = "" if formula.link is None else f"<div>g = φ(t), φ(t) = {shown(formula.link.text)}</div>"
    reasons = "".join(f"<li>{shown(reason)}</li>" for reason in (*formula.reasons, *formula.advice))
    return (
        f'<div style="font-family:sans-serif;max-width:60em">'
        f'<div style="font-size:1.3em;margin:.4em 0">t = {formula.mathml()}{claim}</div>'
        f'<div><b style="color:{_COLORS[verdict]}">{verdict}</b> '
        f"held-out misalignment {_figure(formula.misalignment)}</div>"
        f"{link}<ul>{reasons}</ul>{_table(formula)}</div>"
    )


def _table(formula: Formula) -> str:
    first = max(0, min(formula.chosen - _MOST_ROWS // 2, len(formula.rows) - _MOST_ROWS))
    lines = []
    for position, row in list(enumerate(formula.rows))[first : first + _MOST_ROWS]:
        weight = ' style="font-weight:bold"' if position == formula.chosen else ""
        cells = f"<td>{row.complexity}</td><td>{_figure(row.misalignment)}</td><td>{_figure(row.fitted)}</td>"
        lines.append(f"<tr{weight}>{cells}<td>{formula.mathml(position)}</td></tr>")
    head = "<tr><th>nodes</th><th>misalignment, held out</th><th>fitted</th><th>formula</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


def _figure(value: float) -> str:
    return "–" if value != value else f"{value:.2g}"
