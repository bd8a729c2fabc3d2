"""The formula half of an explanation: the symbolic engine's result as frozen data that a page can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interpret.explanation import Array, Coefficient, Control, FormulaPart, FrontierRow, LinkFigure

if TYPE_CHECKING:
    from symbolic import Formula

#: Points kept for the pictures; the figures are computed on all of them before.
DRAWN_POINTS = 400
#: Points at which the link is tabulated.
LINK_POINTS = 120


def formula_part(formula: Formula, points: Array, network: Array, ours: Array, signed: Array) -> FormulaPart:
    """The formula with its evidence on fresh rows.

    ``points`` (N, d); ``network`` and ``ours`` (N, d) gradients of the neuron and of the formula; ``signed`` (N,)
    their cosines under the sign that the data favour.
    """
    from symbolic.expression import to_json

    low, high = formula.misalignment_interval
    draw = np.linspace(0, max(len(points) - 1, 0), min(len(points), DRAWN_POINTS)).astype(int)
    dropped = sum(count for _, count in formula.summary.dropped)
    return FormulaPart(
        verdict=formula.verdict,
        reasons=tuple(formula.reasons),
        advice=tuple(formula.advice),
        engine=formula.engine,
        expression=formula.expression,
        latex=formula.latex(),
        mathml=formula.mathml(),
        variables=formula.variables(),
        operators=formula.operator_names(),
        tree=to_json(formula.tree),
        misalignment=formula.misalignment,
        misalignment_low=low,
        misalignment_high=high,
        mse=formula.mse,
        frontier=_frontier(formula),
        coefficients=tuple(
            Coefficient(c.term, c.value, c.low, c.high, c.inner) for c in formula.coefficients
        ),
        link=_link(formula),
        controls=tuple(
            Control(c.name, c.misalignment, c.expression, c.margin, c.beaten) for c in formula.controls
        ),
        alternatives=tuple(str(text) for text in formula.alternatives["expression"]),
        names=tuple(formula.names),
        points=points[draw],
        directions=_units(network[draw]),
        formula_directions=_units(ours[draw]),
        cosines=signed[draw],
        points_used=formula.summary.points,
        points_dropped=dropped,
        left_out=tuple(formula.summary.dropped),
        seconds=formula.seconds,
    )


def _units(gradients: Array) -> Array:
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    return np.asarray(gradients / np.where(norms > 0, norms, 1.0))


def _frontier(formula: Formula) -> tuple[FrontierRow, ...]:
    return tuple(
        FrontierRow(
            complexity=row.complexity,
            terms=row.terms,
            fitted=row.fitted,
            held_out=row.misalignment,
            upper=row.upper,
            mse=row.mse,
            expression=formula.text(place),
            latex=formula.latex(place),
            mathml=formula.mathml(place),
            chosen=place == formula.chosen,
        )
        for place, row in enumerate(formula.rows)
    )


def _link(formula: Formula) -> LinkFigure | None:
    """A table of φ over the range of T, and the points it was judged on: not only those whose gradient is used."""
    link, targets = formula.link, formula.targets
    if link is None or targets is None or targets.everywhere is None:
        return None
    points, values = targets.everywhere
    judged = slice(len(points) // 2, None)  # φ was fitted on the first half
    with np.errstate(all="ignore"):
        t = np.asarray(formula.numpy()(points[judged]), dtype=np.float64)
    g = values[judged]
    finite = np.isfinite(t)
    t, g = t[finite], g[finite]
    if not len(t):
        return None
    grid = np.linspace(t.min(), t.max(), LINK_POINTS)
    draw = np.linspace(0, len(t) - 1, min(len(t), DRAWN_POINTS)).astype(int)
    return LinkFigure(
        kind=link.kind,
        text=link.text,
        r2=link.r2,
        monotone=link.monotone,
        t=grid,
        phi=np.asarray(link.predict(grid)),
        points_t=t[draw],
        points_g=g[draw],
    )
