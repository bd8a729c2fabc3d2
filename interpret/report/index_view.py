"""The first screen: counts, two neurons worth looking at, and a table of all. Fed one neuron at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from interpret.explanation import NeuronExplanation
from interpret.outcome import Verdict
from interpret.report import mathml
from interpret.report.clean import close_to_one, count, number, visible
from interpret.report.neuron_view import identity, page
from interpret.report.scope import rivals, scope
from interpret.report.view import Failed, Index, IndexRow, Line, Neuron

if TYPE_CHECKING:
    from interpret.runs.claims import Failure

#: Columns of numbers: heading and what it means.
COLUMNS = (
    ("alignment", "Mean cosine between the formula's gradient and the network's, held out"),
    ("link R²", "How well φ(T) gives the neuron's values, held out"),
    ("GP r", "Correlation of the Gaussian process with the network"),
    ("cancellation", "Near 1 contributions pull one way; at 100 they explain nothing"),
    ("inputs", "Number of inputs in the formula"),
)
#: The control that every formula has but a linear one.
LINEAR = "best linear formula"
_RANK = {Verdict.EXACT: 2, Verdict.APPROXIMATE: 1, Verdict.NONE: 0}
# A formula longer than this in MathML is text in the table; its page typesets it.
_LONGEST_MATH = 2_500
#: A neuron that may be wanted for the first screen: how to get it, and its name.
Held = tuple[tuple[float, ...], Callable[[], NeuronExplanation], str]
#: Failed neurons that the page lists; `query --failed` lists all.
MOST_FAILED = 500


class IndexBuilder:
    """Collects index rows while neurons stream past; holds on to two neurons only."""

    def __init__(self, title: str, failures: Sequence[Failure] = ()):
        self._title = title
        self._failures = failures
        self._rows: list[IndexRow] = []
        self._counts: Counter[str] = Counter()
        self._names: Counter[str] = Counter()
        self._models: dict[str, None] = {}
        self._by_formula: Held | None = None
        self._by_example: Held | None = None

    def name(self, neuron: NeuronExplanation) -> str:
        """An id for the next neuron: its hash, numbered where the same neuron comes twice."""
        plain = identity(neuron)
        self._names[plain] += 1
        return plain if self._names[plain] == 1 else f"{plain}-{self._names[plain]}"

    def add(self, line: Line, neuron: Callable[[], NeuronExplanation]) -> None:
        """Take a neuron into the table and, if it is a better one, onto the first screen; ``neuron`` gets it."""
        row = line.row
        self._rows.append(row)
        self._counts[row.verdict] += 1
        self._models[row.network] = None
        if line.by_formula and (self._by_formula is None or line.by_formula > self._by_formula[0]):
            self._by_formula = (line.by_formula, neuron, row.id)
        if line.by_example and (self._by_example is None or line.by_example > self._by_example[0]):
            self._by_example = (line.by_example, neuron, row.id)

    def finish(self) -> Index:
        """The finished first screen."""
        models = list(self._models) or list(dict.fromkeys(at.model for at in self._failures))
        of = f" of {visible(models[0], 60)}" if len(models) == 1 else f" of {count(len(models), 'model')}"
        failed = f", {len(self._failures)} failed" if self._failures else ""
        return Index(
            title=self._title,
            summary=f"{count(len(self._rows), 'neuron')}{of if models and models[0] else ''}{failed}",
            counts=tuple((verdict.value, self._counts[verdict.value]) for verdict in Verdict),
            columns=COLUMNS,
            rows=tuple(self._rows),
            by_formula=_lead(self._by_formula),
            by_example=_lead(self._by_example),
            failed=tuple(
                Failed(at.address or "(output)", at.model, at.error, at.message)
                for at in self._failures[:MOST_FAILED]
            ),
            failed_count=len(self._failures),
        )


def _lead(held: Held | None) -> Neuron | None:
    if held is None:
        return None
    _, neuron, name = held
    return page(neuron(), name)


def line(neuron: NeuronExplanation, name: str, link: str) -> Line:
    """What the index takes of a neuron."""
    return Line(index_row(neuron, name, link), _formula_rank(neuron), _example_rank(neuron))


def _formula_rank(neuron: NeuronExplanation) -> tuple[float, ...] | None:
    part = neuron.formula
    if part is None or not part.frontier:
        return None
    # A linear formula has no better linear one to beat; in a first layer it is no discovery.
    curved = any(control.name == LINEAR for control in part.controls)
    return (
        curved and neuron.verdict is not Verdict.NONE,
        _RANK[neuron.verdict],
        curved,
        part.link is not None,
        -part.misalignment if math.isfinite(part.misalignment) else -9.0,
    )


def _example_rank(neuron: NeuronExplanation) -> tuple[float, ...] | None:
    part = neuron.examples
    if part is None or not part.cases:
        return None
    thumbnail = part.cases[0].thumbnail
    kind = thumbnail.kind if thumbnail else ""
    sound = part.cancellation <= 100
    return (
        sound,
        {"image": 3, "series": 2, "text": 2, "row": 1}.get(kind, 0),
        part.r2 if math.isfinite(part.r2) else -9.0,
    )


def index_row(neuron: NeuronExplanation, name: str, link: str) -> IndexRow:
    """One line of the table; raw numbers beside the written ones, for sorting."""
    formula, examples = neuron.formula, neuron.examples
    alignment = 1 - formula.misalignment if formula else math.nan
    r2 = formula.link.r2 if formula and formula.link else math.nan
    pearson = examples.pearson if examples else math.nan
    cancellation = examples.cancellation if examples else math.nan
    inputs = float(len(formula.variables)) if formula else math.nan
    text = formula.expression if formula else ""
    short = formula is not None and len(formula.mathml) <= _LONGEST_MATH
    return IndexRow(
        id=name,
        link=link,
        address=neuron.address or "(output)",
        network=neuron.model,
        verdict=neuron.verdict.value,
        scope=scope(formula) if neuron.verdict is not Verdict.NONE else "",
        rivals=rivals(formula) if neuron.verdict is not Verdict.NONE else "",
        math=mathml.formula(formula.mathml if formula and short else "", text)
        if text
        else mathml.formula("", "–"),
        text=text,
        claimed=formula is None or neuron.verdict is not Verdict.NONE,
        cells=(
            close_to_one(alignment),
            close_to_one(r2),
            close_to_one(pearson),
            number(cancellation),
            "–" if math.isnan(inputs) else f"{inputs:.0f}",
        ),
        sort=tuple(
            value if math.isfinite(value) else None
            for value in (alignment, r2, pearson, cancellation, inputs)
        ),
    )
