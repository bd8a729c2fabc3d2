"""What is known of one neuron: frozen data that the store keeps, the report draws and a terminal prints.

Arrays are NumPy, text is plain (whoever renders it escapes it), and nothing here refers to a model or to torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from interpret.outcome import Verdict

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Thumbnail:
    """How one example looks to a person.

    Attributes:
        index: the row in the data that it shows.
        kind: "image" (``png`` holds the bytes), "row" (``names`` and ``values``), "series" (``values`` in
            order) or "text" (``text``).
        label: its label as text; empty where it has none.
        png: a PNG file; empty for the other kinds.
        names: the columns' names, one for each of ``values``.
        values: the numbers of a row or a series.
        text: what a text example says.

    """

    index: int
    kind: str
    label: str = ""
    png: bytes = b""
    names: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class FrontierRow:
    """One row of the symbolic frontier; figures are misalignments 1 − |mean cos|, without a unit.

    Attributes:
        complexity: the number of nodes.
        terms: the number of terms of the outermost sum, additive constants aside.
        fitted: the misalignment on the points that coefficients were fitted on.
        held_out: the misalignment on the points kept from that.
        upper: the upper 95 % bound of ``held_out``.
        mse: Wetzel's mean squared error between unit gradients, (2/d)·(1 − mean cos), held out.
        expression: the formula as text, which `symbolic.parse` reads back.
        latex: the same as LaTeX.
        mathml: the same as MathML.
        chosen: whether the verdict is about this row.

    """

    complexity: int
    terms: int
    fitted: float
    held_out: float
    upper: float
    mse: float
    expression: str
    latex: str
    mathml: str
    chosen: bool = False


@dataclass(frozen=True)
class Coefficient:
    """A coefficient as its ratio to the first term's, or an inner constant, with its 95 % interval.

    Attributes:
        term: the term as text.
        value: the ratio, or the constant; without a unit.
        low: lower bound of the 95 % interval.
        high: upper bound of the 95 % interval.
        inner: True for a constant inside a term.

    """

    term: str
    value: float
    low: float
    high: float
    inner: bool = False


@dataclass(frozen=True)
class LinkFigure:
    """The monotone map φ from T to g: a table of it, its closed form if one fits, and held-out points to draw.

    Attributes:
        kind: the closed form's name, or "isotonic".
        text: the map as text, in the formula's value t.
        r2: R² of φ(T) against the neuron's values on held-out points.
        monotone: whether φ is strictly monotone.
        t: (n,) float64, values of T from the least to the largest held-out one.
        phi: (n,) float64, φ there, in the neuron's units.
        points_t: (k,) float64, T at some held-out points.
        points_g: (k,) float64, the neuron's value at the same points.

    """

    kind: str
    text: str
    r2: float
    monotone: bool
    t: Array
    phi: Array
    points_t: Array
    points_g: Array


@dataclass(frozen=True)
class Control:
    """What a score is compared with.

    Attributes:
        name: what was tried instead.
        misalignment: what it reaches on held-out points.
        expression: its formula as text, where it has one.
        margin: the formula's misalignment divided by the control's.
        beaten: whether ``margin`` is small enough for a claim.

    """

    name: str
    misalignment: float
    expression: str = ""
    margin: float = float("nan")
    beaten: bool = False


@dataclass(frozen=True)
class FailingRegion:
    """Where the formula does not hold, in the inputs' own names.

    Attributes:
        rule: the region as text.
        share: its share of the fresh rows, from 0 to 1.
        misalignment_inside: 1 − |mean cos| in it.
        misalignment_outside: 1 − |mean cos| outside of it.
        nearest: training rows inside the region, those nearest to its middle first.
        conditions: the rule as data: (column, whether it must exceed the threshold, threshold).

    """

    rule: str
    share: float
    misalignment_inside: float
    misalignment_outside: float
    nearest: tuple[int, ...] = ()
    conditions: tuple[tuple[int, bool, float], ...] = ()


@dataclass(frozen=True)
class FormulaPart:
    """What the symbolic engine says of the neuron.

    Attributes:
        verdict: this engine's own; the explanation's is lowered where fresh rows contradict it.
        reasons: what the verdict rests on, a sentence each.
        advice: what may help, a sentence each.
        engine: the search backend: "eigen" or "pysr".
        expression: the chosen formula as text, which `symbolic.parse` reads back.
        latex: the same as LaTeX.
        mathml: the same as MathML.
        variables: names of the inputs that occur in it.
        operators: names of the operators that occur in it.
        tree: the formula as JSON, which `symbolic.expression.from_json` reads back.
        misalignment: 1 − |mean cos| on held-out points.
        misalignment_low: lower bound of its 95 % interval.
        misalignment_high: upper bound of its 95 % interval.
        mse: Wetzel's mean squared error between unit gradients, (2/d)·(1 − mean cos), held out.
        frontier: the best formula of each cost, the cheapest first.
        coefficients: each with its interval.
        link: the map from T to the neuron's values; None where there is none to draw.
        controls: what the score is compared with.
        alternatives: other formulas as good within the noise, as text.
        names: the d inputs' names.
        points: (n, d) float64, fresh points to draw: in no role in the search, and at most 400 of them.
        directions: (n, d) float64, the neuron's unit gradients there.
        formula_directions: (n, d) float64, the formula's unit gradients there.
        cosines: (n,) float64, the signed cosine between the two.
        points_used: how many points the formula rests on, held-out ones included.
        points_dropped: how many were left out, for any reason.
        failing: where the formula does not hold; None where no such region was found.
        attributions_formula: (d,) float64, each input's share in gradient times input of the formula; the sum
            is 1. None where it was not computed.
        attributions_network: (d,) float64, the same of the network.
        seconds: what the search took.
        left_out: (reason, points) of each kind of point that was not looked at; the amounts sum to `points_dropped`.

    """

    verdict: Verdict
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    engine: str
    expression: str
    latex: str
    mathml: str
    variables: tuple[str, ...]
    operators: tuple[str, ...]
    tree: str
    misalignment: float
    misalignment_low: float
    misalignment_high: float
    mse: float
    frontier: tuple[FrontierRow, ...]
    coefficients: tuple[Coefficient, ...]
    link: LinkFigure | None
    controls: tuple[Control, ...]
    alternatives: tuple[str, ...]
    names: tuple[str, ...]
    points: Array
    directions: Array
    formula_directions: Array
    cosines: Array
    points_used: int
    points_dropped: int
    failing: FailingRegion | None = None
    attributions_formula: Array | None = None
    attributions_network: Array | None = None
    seconds: float = 0.0
    left_out: tuple[tuple[str, int], ...] = ()

    @property
    def near_boundary(self) -> bool:
        """Whether the unit was read as a classifier's logit, and only points near its sign change were looked at."""
        return any(why.endswith("from the decision boundary") for why, _ in self.left_out)


@dataclass(frozen=True)
class Neighbor:
    """A training example beside a query.

    Attributes:
        index: its row in the data.
        similarity: the kernel's cosine between it and the query, from -1 to 1.
        contribution: what it adds to the prediction, signed, in the neuron's units.
        place: its place, for convolutions; None otherwise.

    """

    index: int
    similarity: float
    contribution: float
    place: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        place = "" if self.place is None else f", place={tuple(map(int, self.place))}"
        return (
            f"Neighbor(index={self.index}, similarity={self.similarity:.4g}, "
            f"contribution={self.contribution:+.4g}{place})"
        )


@dataclass(frozen=True)
class QueryCase:
    """One held-out example explained by its neighbors.

    Attributes:
        kind: why it was chosen: "typical", "misclassified", "most uncertain" or "worst predicted".
        index: its row in the data.
        network: the neuron's value.
        mean: the Gaussian process's prediction of it.
        low: lower bound of the 95 % interval.
        high: upper bound of the 95 % interval.
        cancellation: Σ|c|/max(|Σc|, s) of its contributions, s the head's standard deviation.
        novelty: the share of held-out rows that are no more unlike the training data than it, from 0 to 1.
        neighbors: the most similar training rows, the nearest first.
        contributors: the training rows of the largest contributions; their similarity is NaN.
        thumbnail: how it looks.
        explains: whether the contributions cancel little enough to be shown as an explanation.

    """

    kind: str
    index: int
    network: float
    mean: float
    low: float
    high: float
    cancellation: float
    novelty: float
    neighbors: tuple[Neighbor, ...]
    contributors: tuple[Neighbor, ...] = ()
    thumbnail: Thumbnail | None = None
    explains: bool = True


@dataclass(frozen=True)
class Prototypes:
    """Training examples that stand for a whole head.

    Attributes:
        index: their rows in the data, in the order they were picked.
        weight: the weight of each.
        r2: the fidelity R² reached with the first k of them, k = 1, 2, …

    """

    index: tuple[int, ...]
    weight: tuple[float, ...]
    r2: tuple[float, ...]


@dataclass(frozen=True)
class Suspect:
    """A training row whose label its neighbors contradict.

    Attributes:
        index: its row in the data.
        label: the label it has.
        suggested: the one that its neighbors have.
        score: minus the log of the probability that they give its label: the larger the worse.

    """

    index: int
    label: str
    suggested: str
    score: float


@dataclass(frozen=True)
class FidelityPoint:
    """One setting of the kernel that was tried: how well the GP fits against how much contributions cancel.

    Attributes:
        metric: the metric of the features.
        noise: σ², as a ratio to the amplitude.
        r2: R² of the least faithful head, by generalised cross-validation.
        cancellation: median of Σ|c|/max(|Σc|, s) over rows and heads.
        chosen: whether it is the one used.

    """

    metric: str
    noise: float
    r2: float
    cancellation: float
    chosen: bool = False


@dataclass(frozen=True)
class ExamplePart:
    """What the GP engine says of the neuron.

    Attributes:
        kernel: the kernel's name.
        noise: σ², as a ratio to the amplitude; the largest of the layer's heads.
        examples: the number of training examples.
        pearson: correlation of the process with the network.
        r2: R² of the process against the network.
        mae: mean absolute error, in the neuron's units.
        coverage95: the share of rows inside their 95 % interval.
        loglik: mean log likelihood of a row.
        cancellation: median over rows of Σ|c|/max(|Σc|, s).
        agreement: share of rows with the same largest head, or on the same side of the mean for one head.
        held_out: whether the figures are on rows the process has not seen.
        network: (n,) float64, the neuron at some of these rows, to draw.
        mean: (n,) float64, the process's prediction there.
        low: (n,) float64, lower bound of the 95 % interval there.
        high: (n,) float64, upper bound of the 95 % interval there.
        levels: (k,) float64, levels of central intervals, from 0 to 1.
        coverage: (k,) float64, the share of rows inside each.
        cases: held-out examples explained by their neighbors.
        thumbnails: how the training rows named anywhere look.
        prototypes: training examples that stand for the head.
        suspects: training rows whose labels look wrong, for a network's output.
        notes: what to know before using the figures, a sentence each.
        seconds: what this part took.
        baseline: the constant prior mean, in the neuron's units.
        frontier: the kernel's settings that were tried.
        places: the grid that the neighbors' places count in, for convolutions; empty otherwise.

    """

    kernel: str
    noise: float
    examples: int
    pearson: float
    r2: float
    mae: float
    coverage95: float
    loglik: float
    cancellation: float
    agreement: float
    held_out: bool
    network: Array
    mean: Array
    low: Array
    high: Array
    levels: Array
    coverage: Array
    cases: tuple[QueryCase, ...]
    thumbnails: tuple[Thumbnail, ...] = ()
    prototypes: Prototypes | None = None
    suspects: tuple[Suspect, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    baseline: float = float("nan")
    frontier: tuple[FidelityPoint, ...] = ()
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class CrossCheck:
    """Do the two engines tell the same story? |mean cos| between gradients on fresh rows; NaN where one is missing.

    Attributes:
        formula_network: of the formula's gradients and the network's.
        gp_network: of the process's mean's and the network's.
        formula_gp: of the formula's and the process's mean's.
        residual_r2: share of what the formula leaves over that the network's own features account for, on
            rows not fitted to.

    """

    formula_network: float = float("nan")
    gp_network: float = float("nan")
    formula_gp: float = float("nan")
    residual_r2: float = float("nan")


@dataclass(frozen=True)
class Provenance:
    """Where an explanation comes from; enough to make it again.

    Attributes:
        seed: of everything random.
        data_hash: the first 16 hex digits of the data's SHA-256.
        model_hash: the same of the module's structure and weights.
        created: when, in ISO 8601.
        versions: (package, version) pairs.
        settings: (name, value) pairs of what was asked for, as text.
        seconds: what the explanation took.

    """

    seed: int
    data_hash: str
    model_hash: str
    created: str
    versions: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    seconds: float


@dataclass(frozen=True)
class NeuronExplanation:
    """One neuron's page: claim, evidence, fidelity, controls, verdict, provenance.

    Attributes:
        address: the unit.
        title: what the report calls it.
        model: what the report calls its network.
        verdict: EXACT, APPROXIMATE or NONE.
        claim: what the verdict allows to be said, in a sentence.
        reasons: what the verdict rests on, a sentence each.
        advice: what may help, a sentence each.
        formula: the symbolic engine's evidence; None where it was not asked or stopped.
        examples: the Gaussian process's evidence; None where it was not asked or stopped.
        crosscheck: how the two compare; None where neither could be compared.
        provenance: where it comes from.
        failures: (engine, error) of the engines that stopped.
        units: (input, unit of measurement) pairs, where they are known.

    """

    address: str
    title: str
    model: str
    verdict: Verdict
    claim: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    formula: FormulaPart | None
    examples: ExamplePart | None
    crosscheck: CrossCheck | None
    provenance: Provenance
    failures: tuple[tuple[str, str], ...] = field(default=())
    units: tuple[tuple[str, str], ...] = field(default=())

    @property
    def answered(self) -> bool:
        """Whether any engine said something; else ``failures`` say why none did."""
        return self.formula is not None or self.examples is not None

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from interpret.report import notebook

        return notebook(self)

    def __rich__(self) -> object:
        """What a terminal shows through rich."""
        from interpret.report.terminal import card

        return card(self)
