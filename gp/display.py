"""A distillation at a glance: one line, a small table for notebooks, the same for terminals."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

    from gp.distillation import Distillation

_STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px;text-align:left;vertical-align:top"


def facts(d: Distillation) -> list[tuple[str, str]]:
    """What it is and how far to trust it, as (name, value) rows; nothing is run for it."""
    rows = [
        ("kernel", d.kernel),
        ("place", _address(d)),
        ("heads", _heads(d)),
        ("training examples", _examples(d)),
        ("features", f"{d.posterior.basis.rotation.shape[1]}, metric {d.metric}"),
        ("noise", _number(d.noise)),
        ("fidelity", fidelity(d)),
        ("cancellation", cancellation(d)),
    ]
    return [(name, value) for name, value in rows if value]


def fidelity(d: Distillation) -> str:
    """What choosing the noise or training the maps found; "" where neither took place."""
    chosen = next((point for point in d.frontier if point.chosen), None)
    if chosen is not None:
        return f"1 − R² {1 - chosen.r2:.2g} left out, the worst head"
    trained = getattr(d.map, "pearson", None)
    if trained is not None and np.isfinite(trained).any():
        return f"correlation {np.nanmin(trained):.4f} on held-out mixtures, the worst head"
    return ""


def cancellation(d: Distillation) -> str:
    """Σ|c| over max(|Σc|, s) at the chosen noise; "" where it was given."""
    chosen = next((point for point in d.frontier if point.chosen), None)
    if chosen is None or not np.isfinite(chosen.cancellation):
        return ""
    warning = "" if chosen.cancellation <= 100 else ": too much for contributions to explain anything"
    return f"{chosen.cancellation:.3g}{warning}"


def line(d: Distillation) -> str:
    """For ``repr``."""
    return f"Distillation({', '.join(f'{name}: {value}' for name, value in facts(d))})"


def html(d: Distillation) -> str:
    """A table and the notes; every value is escaped."""
    body = "".join(
        f'<tr><th scope="row" style="{_CELL}">{escape(name)}</th><td style="{_CELL}">{escape(value)}</td></tr>'
        for name, value in facts(d)
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in d.notes)
    below = f"<ul>{notes}</ul>" if notes else ""
    return f'<div><strong>Distillation</strong><table style="{_STYLE}">{body}</table>{below}</div>'


def table(d: Distillation) -> Table:
    """For ``rich``; markup in names and notes is shown as it is."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title="Distillation", show_header=False, title_justify="left")
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in facts(d):
        made.add_row(Text(name), Text(value))
    for note in d.notes:
        made.add_row(Text("note"), Text(note))
    return made


def _address(d: Distillation) -> str:
    probe = getattr(getattr(d.map, "runner", d.map), "probe", None)
    address = getattr(probe, "address", "")
    return address if len(address) <= 200 else f"{address[:199]}…"


def _heads(d: Distillation) -> str:
    shape = " × ".join(map(str, d.heads.shape))
    tail = "" if d.linear else ", in front of a nonlinear tail"
    return f"{len(d.heads)}{f' ({shape})' if len(d.heads.shape) > 1 else ''}{tail}"


def _examples(d: Distillation) -> str:
    places = f" at {' × '.join(map(str, d.places))} places" if d.places else ""
    return f"{d.examples:,}{places}"


def _number(noise: object) -> str:
    values = np.atleast_1d(np.asarray(noise, dtype=np.float64))
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}, by head"
