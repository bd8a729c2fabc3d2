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
from interpret.report.example_view import Gallery, case
from interpret.report.figures import compared
from interpret.report.figures.symbolic import link as link_figure
from interpret.report.view import Case, Figure, Stat

if TYPE_CHECKING:
    from interpret.comparing import Comparison, NeuronComparison

#: Neurons that are shown in detail; the table holds all.
MOST_DETAILS = 40
#: Of those, the ones whose nearest training examples are shown: pictures are heavy.
MOST_PICTURED = 12
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
    case: Case | None


@dataclass(frozen=True)
class Pair:
    """A neuron on both sides; ``sort`` holds distance and behaviour as numbers, None where there is none."""

    id: str
    address: str
    same: str
    style: str
    known: bool
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
    overview: Figure | None
    pairs: tuple[Pair, ...]
    details: tuple[Pair, ...]
    left_out: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    notes: tuple[str, ...] = ()


def comparison_page(comparison: Comparison, title: str) -> ComparisonPage:
    """The page of ``comparison``; the furthest apart come first among the details."""
    order = sorted(range(len(comparison)), key=lambda at: _unlike(comparison.neurons[at]))
    chosen = order[:MOST_DETAILS]
    pictured = set(order[:MOST_PICTURED])
    pairs = [_pair(neuron, at, at in chosen, at in pictured) for at, neuron in enumerate(comparison)]
    same = Counter(neuron.same for neuron in comparison)
    return ComparisonPage(
        title=title,
        title_a=comparison.title_a,
        title_b=comparison.title_b,
        summary=f"{count(len(pairs), 'neuron')} in both",
        counts=tuple((said, style, same[said]) for said, style in _CLASSES.items()),
        overview=_overview(comparison),
        pairs=tuple(pairs),
        details=tuple(pairs[at] for at in chosen),
        left_out=len(pairs) - len(chosen),
        only_a=comparison.only_a,
        only_b=comparison.only_b,
        notes=comparison.notes,
    )


def rows(comparison: Comparison) -> list[Pair]:
    """Lines of a table of all shared neurons, the furthest apart first, without figures and pictures."""
    ordered = sorted(comparison, key=_unlike)
    return [_pair(neuron, at, False, False) for at, neuron in enumerate(ordered)]


def _overview(comparison: Comparison) -> Figure | None:
    distances = [neuron.distance for neuron in comparison]
    behaviours = [neuron.behaviour for neuron in comparison]
    if not any(math.isfinite(at) for at in (*distances, *behaviours)):
        return None
    return Figure(
        "How far apart",
        "Each dot is a neuron: the angle between the two formulas' gradients, as 1 − |mean cos|. Below the lower "
        "line they are one concept, above the upper one different ones. Grey dots are the networks' own gradients.",
        compared.overview(distances, behaviours),
    )


def _unlike(neuron: NeuronComparison) -> tuple[bool, float]:
    known = math.isfinite(neuron.distance)
    return (not known, -neuron.distance if known else 0.0)


def _pair(neuron: NeuronComparison, at: int, detailed: bool, pictured: bool) -> Pair:
    known = math.isfinite(neuron.distance) or math.isfinite(neuron.behaviour)
    shared = _shared_query(neuron.a, neuron.b) if pictured else None
    return Pair(
        id=f"c{at}",
        address=neuron.address or "(output)",
        same=neuron.same,
        style=_CLASSES.get(neuron.same, "none"),
        known=known,
        distance=number(neuron.distance),
        behaviour=number(neuron.behaviour),
        sort=(_finite(neuron.distance), _finite(neuron.behaviour)),
        neighbors=_neighbors(neuron.a, neuron.b),
        a=_side(neuron.a, detailed, shared),
        b=_side(neuron.b, detailed, shared),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _neighbors(a: NeuronExplanation, b: NeuronExplanation) -> str:
    """Share of nearest training examples that both sides name for the same held-out example."""
    if a.examples is None or b.examples is None:
        return ""
    theirs = {other.index: {near.index for near in other.neighbors} for other in b.examples.cases}
    shares = []
    for mine in a.examples.cases:
        ours = {near.index for near in mine.neighbors}
        if ours and theirs.get(mine.index):
            shares.append(len(ours & theirs[mine.index]) / max(len(ours), len(theirs[mine.index])))
    if not shares or a.provenance.data_hash != b.provenance.data_hash:
        return ""
    return (
        f"Of the nearest training examples, {percent(sum(shares) / len(shares))} are the same on both sides, over "
        f"{count(len(shares), 'held-out example')} that both explain."
    )


def _shared_query(a: NeuronExplanation, b: NeuronExplanation) -> int | None:
    """A held-out example that both sides explain; None where there is none, or the data differ."""
    if a.examples is None or b.examples is None or a.provenance.data_hash != b.provenance.data_hash:
        return None
    theirs = {other.index for other in b.examples.cases}
    return next((mine.index for mine in a.examples.cases if mine.index in theirs), None)


def _side(neuron: NeuronExplanation, detailed: bool, query: int | None) -> Side:
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
    shown = None
    if examples is not None and query is not None:
        gallery = Gallery(examples.thumbnails, examples.places)
        shown = next(case(at, gallery, examples.baseline) for at in examples.cases if at.index == query)
    return Side(
        title=neuron.model,
        verdict=neuron.verdict.value,
        math=mathml.formula(formula.mathml if formula else "", text or "no formula"),
        text=text,
        claim=neuron.claim,
        stats=tuple(stats),
        figures=tuple(figures),
        case=shown,
    )
