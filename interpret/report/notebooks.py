"""What explanations show of themselves in a notebook: a card each, in a style of its own and no script."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from markupsafe import Markup

from interpret.explanation import NeuronExplanation
from interpret.report.index_view import index_row
from interpret.report.neuron_view import page
from interpret.report.render import asset, html

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
        style=Markup(asset("notebook.css")),
    )
