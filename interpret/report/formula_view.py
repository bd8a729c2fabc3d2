"""From what the symbolic engine says to what a page shows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from interpret.explanation import Control, ExamplePart, FormulaPart, FrontierRow
from interpret.outcome import Verdict
from interpret.report import mathml
from interpret.report.clean import amount, close_to_one, count, number, percent, visible
from interpret.report.example_view import Gallery
from interpret.report.figures import symbolic
from interpret.report.view import NO_EXAMPLES, Bar, Figure, Formula, Row, Stat

#: Formulas no worse than the chosen one that are listed beside those of the frontier.
MOST_ALTERNATIVES = 5


def formula(
    part: FormulaPart, examples: ExamplePart | None, units: Mapping[str, str], verdict: Verdict
) -> Formula:
    """The page's formula section; ``examples`` lends its thumbnails to the failing region.

    ``verdict`` is the neuron's: fresh rows may have lowered what the search itself said.
    """
    claimed = verdict is not Verdict.NONE
    gallery = Gallery(examples.thumbnails if examples else ())
    shown = {row.expression for row in part.frontier}
    return Formula(
        claimed=claimed,
        verdict=verdict.value,
        engine=part.engine,
        math=mathml.formula(part.mathml, part.expression, display=True),
        text=part.expression,
        latex=part.latex,
        stats=_stats(part),
        rows=tuple(_row(at, row, part) for at, row in enumerate(part.frontier)),
        figures=_figures(part, units),
        coefficients=tuple(_coefficient(at.term, at.value, at.low, at.high) for at in part.coefficients),
        link=_link(part.link.text) if part.link else "",
        alternatives=tuple(other for other in part.alternatives if other not in shown)[:MOST_ALTERNATIVES],
        controls=_controls(part.misalignment, part.controls),
        reasons=part.reasons,
        advice=part.advice,
        attributions=_attributions(part, units),
        failing=_failing(part),
        nearest=gallery.listed(part.failing.nearest[:8]) if part.failing else NO_EXAMPLES,
        points=_points(part),
    )


def _stats(part: FormulaPart) -> tuple[Stat, ...]:
    interval = f"{number(part.misalignment_low)} to {number(part.misalignment_high)}"
    stats = [
        Stat(
            "alignment",
            close_to_one(1 - part.misalignment),
            "Mean cosine between the gradients of formula and network, on points the search has not seen.",
        ),
        Stat(
            "misalignment", number(part.misalignment), f"One minus the alignment; 95 % interval {interval}."
        ),
    ]
    if part.link is not None:
        monotone = "strictly monotone" if part.link.monotone else "not monotone"
        stats.append(
            Stat(
                "link R²",
                close_to_one(part.link.r2),
                f"How well φ(T) gives the neuron's values; the link is {monotone}.",
            )
        )
    stats.append(
        Stat("search", f"{number(part.seconds, 2)} s", f"Seconds spent by the {part.engine} search.")
    )
    return tuple(stats)


_CLOSER = "Closer to the network by more than noise; it is longer, or has waves, and does not pay for that"
_ALIKE = "As good within the noise: the data cannot tell it from the chosen one"


def _row(at: int, row: FrontierRow, part: FormulaPart) -> Row:
    alike = row.expression in part.alternatives and not row.chosen
    closer = alike and row.upper < part.misalignment_low
    return Row(
        number=at,
        complexity=row.complexity,
        terms=row.terms,
        fitted=number(row.fitted),
        held_out=number(row.held_out),
        upper=number(row.upper),
        math=mathml.formula(row.mathml, row.expression),
        text=row.expression,
        latex=row.latex,
        chosen=row.chosen,
        alike=(_CLOSER if closer else _ALIKE) if alike else "",
        closer=closer,
    )


def _link(text: str) -> str:
    written = text.replace("-", "−").replace("*", "·")
    return written if "φ" in written or not written else f"φ(t) = {written}"


def _coefficient(term: str, value: float, low: float, high: float) -> tuple[str, str, str]:
    return term, number(value, 4), f"{number(low, 4)} to {number(high, 4)}"


def _figures(part: FormulaPart, units: Mapping[str, str]) -> tuple[Figure, ...]:
    figures = []
    if part.frontier:
        figures.append(
            Figure(
                "Frontier",
                "Each dot is a formula; lower is closer to the network's gradient. The ringed one is chosen: a longer "
                "one must be enough closer to pay for its length. Size counts nodes; a sine costs more than its nodes.",
                symbolic.frontier(part.frontier),
            )
        )
    if part.link is not None and len(part.link.t):
        figures.append(
            Figure(
                "Link φ",
                "Each dot is a held-out point. If they lie on one rising or falling curve, the neuron is a "
                "function of T alone; the line is that function, φ.",
                symbolic.link(part.link),
            )
        )
    pair = symbolic.main_pair(part)
    if pair is not None:
        flat = part.points.shape[1] == 2
        plane = "" if flat else f" Of {part.points.shape[1]} inputs, the two that the gradient leans on most."
        figures.append(
            Figure(
                "Gradient field" if flat else "Gradient field, a slice",
                "Grey strokes point where the network's output rises, blue ones where the formula's does; "
                f"orange where they differ by more than 15°.{plane}",
                symbolic.field(part, pair, units),
            )
        )
    if len(part.cosines):
        figures.append(
            Figure(
                "Angles",
                "How many held-out points have the formula's gradient within that angle of the network's; "
                "a curve that rises at once is a formula that holds everywhere.",
                symbolic.angles(part.cosines),
            )
        )
    return tuple(figures)


def _controls(own: float, controls: tuple[Control, ...]) -> tuple[Bar, ...]:
    if not controls:
        return ()
    # On a log scale from 1e-5 to 1, so that 6e-4 beside 0.4 is still a bar one can see.
    bars = [Bar("this formula", number(own), _log_width(own), "")]
    for control in controls:
        times = control.misalignment / own if own > 0 else math.inf
        note = f"{number(times, 2)} times worse" if times >= 1 else "better than the formula"
        bars.append(
            Bar(
                control.name,
                number(control.misalignment),
                _log_width(control.misalignment),
                note,
                good=control.beaten,
            )
        )
    return tuple(bars)


def _log_width(value: float) -> float:
    if not math.isfinite(value) or value <= 0:
        return 1.0
    return round(100 * min(max((math.log10(value) + 5) / 5, 0.01), 1.0), 1)


def _attributions(part: FormulaPart, units: Mapping[str, str]) -> tuple[Bar, ...]:
    if part.attributions_formula is None or part.attributions_network is None:
        return ()
    own, network = (_per_input(at) for at in (part.attributions_formula, part.attributions_network))
    if len(own) != len(part.names) or len(network) != len(part.names):
        return ()
    longest = max(own.max(initial=0), network.max(initial=0)) or 1.0
    order = np.argsort(-(own + network), kind="stable")[:8]
    own, network = own[order], network[order]
    widths, others = ((100 * at / longest).round(1).tolist() for at in (own, network))
    return tuple(
        Bar(named(part.names[at], units), percent(ours), width, percent(theirs), other)
        for at, ours, width, theirs, other in zip(
            order.tolist(), own.tolist(), widths, network.tolist(), others, strict=True
        )
    )


def _per_input(attributions: np.ndarray) -> np.ndarray:
    """Share of each input in the absolute attributions, whether given per point or already averaged."""
    size = np.abs(np.nan_to_num(attributions))
    size = size.mean(axis=0) if size.ndim > 1 else size
    return np.asarray(size / (size.sum() or 1.0))


def named(name: str, units: Mapping[str, str]) -> str:
    """A name with its unit in parentheses where one is known."""
    unit = units.get(name, "")
    return visible(f"{name} ({unit})" if unit else name, 60)


def _failing(part: FormulaPart) -> str:
    region = part.failing
    if region is None:
        return ""
    return (
        f"Where {region.rule}: {percent(region.share)} of the points, with a misalignment of "
        f"{number(region.misalignment_inside)} inside and {number(region.misalignment_outside)} elsewhere."
    )


def _points(part: FormulaPart) -> str:
    used = f"{count(part.points_used, 'point')} used"
    if not part.points_dropped:
        return f"{used}."
    left = count(part.points_dropped, "point")
    why = "; ".join(f"{amount(many)} ({visible(reason)})" for reason, many in part.left_out)
    return f"{used}, {left} left out{f': {why}' if why else ''}."
