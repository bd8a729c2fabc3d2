"""What explanations show of themselves in a notebook: a card each, in a style of its own and no script."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from markupsafe import Markup

from interpret.explanation import NeuronExplanation
from interpret.report.clean import count
from interpret.report.index_view import index_row
from interpret.report.neuron_view import page
from interpret.report.render import asset, html

if TYPE_CHECKING:
    from interpret.comparing import Comparison

#: Neurons that get a card; the table holds all of them up to ``MOST_ROWS``.
MOST_CARDS = 3
MOST_ROWS = 200


def notebook(neurons: NeuronExplanation | Iterable[NeuronExplanation]) -> str:
    """HTML of one neuron or of many for ``_repr_html_``: everything escaped, pictures and figures inline."""
    held = [neurons] if isinstance(neurons, NeuronExplanation) else list(neurons)
    return html(
        "notebook.html",
        cards=[page(neuron) for neuron in islice(held, MOST_CARDS)],
        rows=[index_row(neuron, "", "") for neuron in held[:MOST_ROWS]] if len(held) > 1 else [],
        left_out=max(len(held) - MOST_ROWS, 0),
        heading="",
        style=Markup(asset("notebook.css")),
    )


def run_table(name: str, neurons: list[NeuronExplanation], total: int) -> str:
    """HTML of a stored run: where it lies, how many neurons it holds, and the first of them."""
    return html(
        "notebook.html",
        cards=[],
        rows=[index_row(neuron, "", "") for neuron in neurons],
        left_out=total - len(neurons),
        heading=f"{name}: {count(total, 'neuron')}",
        style=Markup(asset("notebook.css")),
    )


def comparison(compared: Comparison) -> str:
    """HTML of two runs side by side for ``_repr_html_``: a row per neuron they share, the most different first."""
    from interpret.report.comparison_view import rows

    shown = rows(compared)
    return html(
        "notebook_comparison.html",
        title=f"{compared.title_a} beside {compared.title_b}",
        notes=compared.notes,
        rows=shown[:MOST_ROWS],
        left_out=max(len(shown) - MOST_ROWS, 0),
        only=(len(compared.only_a), len(compared.only_b)),
        style=Markup(asset("notebook.css")),
    )
