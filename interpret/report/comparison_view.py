"""From a comparison of two runs to its page: a table of all shared neurons, and the most different ones in detail."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from interpret.explanation import NeuronExplanation
from interpret.report import mathml
from interpret.report.clean import close_to_one, count, number, percent
from interpret.report.figures import compared
from interpret.report.figures.symbolic import link as link_figure
from interpret.report.view import Figure, Stat

if TYPE_CHECKING:
    from interpret.comparing import Comparison, NeuronComparison

#: Neurons that are shown in detail; the table holds all.
MOST_DETAILS = 40
_CLASSES = {"same concept": "exact", "close": "approximate", "different": "different", "cannot tell": "none"}


@dataclass(frozen=True)
class Side:
    """One of the two runs' view of a neuron."""

    title: str
    verdict: str
    math: Markup
    text: str
    claim: str
    stats: tuple[Stat, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Pair:
    """A neuron on both sides; ``sort`` holds distance and behaviour as numbers, None where there is none."""

    id: str
    address: str
    same: str
    style: str
    distance: str
    behaviour: str
    sort: tuple[float | None, float | None]
    neighbors: str
    a: Side
    b: Side


@dataclass(frozen=True)
class ComparisonPage:
    """Everything the comparison's page shows."""

    title: str
    title_a: str
    title_b: str
    summary: str
    counts: tuple[tuple[str, str, int], ...]
    overview: Figure
    pairs: tuple[Pair, ...]
    details: tuple[Pair, ...]
    left_out: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def comparison_page(comparison: Comparison, title: str) -> ComparisonPage:
    """The page of ``comparison``; the furthest apart come first among the details."""
    order = sorted(range(len(comparison)), key=lambda at: _unlike(comparison.neurons[at]))
    chosen = order[:MOST_DETAILS]
    pairs = [_pair(neuron, at, at in chosen) for at, neuron in enumerate(comparison)]
    same = Counter(neuron.same for neuron in comparison)
    return ComparisonPage(
        title=title,
        title_a=comparison.title_a,
        title_b=comparison.title_b,
        summary=f"{count(len(pairs), 'neuron')} in both",
        counts=tuple((said, style, same[said]) for said, style in _CLASSES.items()),
        overview=Figure(
            "How far apart",
            "Each dot is a neuron: the angle between the two formulas' gradients, as 1 − |mean cos|. Below the lower "
            "line they are one concept, above the upper one different ones. Grey dots are the networks' own gradients.",
            compared.overview(
                [neuron.distance for neuron in comparison], [neuron.behaviour for neuron in comparison]
            ),
        ),
        pairs=tuple(pairs),
        details=tuple(pairs[at] for at in chosen),
        left_out=len(pairs) - len(chosen),
        only_a=comparison.only_a,
        only_b=comparison.only_b,
    )


def _unlike(neuron: NeuronComparison) -> tuple[bool, float]:
    known = math.isfinite(neuron.distance)
    return (not known, -neuron.distance if known else 0.0)


def _pair(neuron: NeuronComparison, at: int, detailed: bool) -> Pair:
    return Pair(
        id=f"c{at}",
        address=neuron.address or "(output)",
        same=neuron.same,
        style=_CLASSES.get(neuron.same, "none"),
        distance=number(neuron.distance),
        behaviour=number(neuron.behaviour),
        sort=(_finite(neuron.distance), _finite(neuron.behaviour)),
        neighbors=_neighbors(neuron.a, neuron.b),
        a=_side(neuron.a, detailed),
        b=_side(neuron.b, detailed),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _neighbors(a: NeuronExplanation, b: NeuronExplanation) -> str:
    """Share of nearest training examples that both sides name for the same held-out example."""
    if a.examples is None or b.examples is None:
        return ""
    theirs = {case.index: {near.index for near in case.neighbors} for case in b.examples.cases}
    shares = []
    for case in a.examples.cases:
        ours = {near.index for near in case.neighbors}
        if ours and theirs.get(case.index):
            shares.append(len(ours & theirs[case.index]) / max(len(ours), len(theirs[case.index])))
    if not shares or a.provenance.data_hash != b.provenance.data_hash:
        return ""
    return (
        f"Of the nearest training examples, {percent(sum(shares) / len(shares))} are the same on both sides, over "
        f"{count(len(shares), 'held-out example')} that both explain."
    )


def _side(neuron: NeuronExplanation, detailed: bool) -> Side:
    formula, examples = neuron.formula, neuron.examples
    stats = []
    if formula is not None:
        stats.append(Stat("alignment", close_to_one(1 - formula.misalignment), "Mean cosine, held out."))
        if formula.link is not None:
            stats.append(Stat("link R²", close_to_one(formula.link.r2), "How well φ(T) gives the values."))
    if examples is not None:
        stats.append(Stat("GP r", close_to_one(examples.pearson), "Gaussian process against network."))
        stats.append(
            Stat("cancellation", number(examples.cancellation), "Near 1, contributions pull one way.")
        )
    figures = []
    if detailed and formula is not None and formula.link is not None and len(formula.link.t):
        figures.append(Figure("Link φ", "The neuron over its formula.", link_figure(formula.link)))
    text = formula.expression if formula else ""
    return Side(
        title=neuron.model,
        verdict=neuron.verdict.value,
        math=mathml.formula(formula.mathml if formula else "", text or "no formula"),
        text=text,
        claim=neuron.claim,
        stats=tuple(stats),
        figures=tuple(figures),
    )
