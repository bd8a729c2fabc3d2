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

    ``kind`` is "image" (``png`` holds the bytes), "row" (``names`` and ``values``), "series" (``values`` in order)
    or "text" (``text``).
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
    """One row of the symbolic frontier; figures are misalignments 1 − |mean cos|, without a unit."""

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
    """A coefficient as its ratio to the first term's, or an inner constant, with its 95 % interval."""

    term: str
    value: float
    low: float
    high: float
    inner: bool = False


@dataclass(frozen=True)
class LinkFigure:
    """The monotone map φ from T to g: a table of it, its closed form if one fits, and held-out points to draw."""

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
    """What a score is compared with; ``margin`` is the formula's misalignment divided by the control's."""

    name: str
    misalignment: float
    expression: str = ""
    margin: float = float("nan")
    beaten: bool = False


@dataclass(frozen=True)
class FailingRegion:
    """Where the formula does not hold, in the inputs' own names: a rule, its share of the points, nearest examples.

    ``conditions`` are the rule as data: (column, whether it must exceed the threshold, threshold). ``nearest`` are
    training rows inside the region, those nearest to its middle first.
    """

    rule: str
    share: float
    misalignment_inside: float
    misalignment_outside: float
    nearest: tuple[int, ...] = ()
    conditions: tuple[tuple[int, bool, float], ...] = ()


@dataclass(frozen=True)
class FormulaPart:
    """What the symbolic engine says of the neuron."""

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
    """A training example beside a query: its row, similarity, signed contribution, and place for convolutions."""

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
    """One held-out example explained by its neighbors; ``kind`` says why it was chosen.

    Values are in the head's own latent units; ``low`` and ``high`` bound the 95 % interval.
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
    """Training examples that stand for a whole head, and the fidelity (R²) reached with the first k of them."""

    index: tuple[int, ...]
    weight: tuple[float, ...]
    r2: tuple[float, ...]


@dataclass(frozen=True)
class Suspect:
    """A training row whose label its neighbors contradict."""

    index: int
    label: str
    suggested: str
    score: float


@dataclass(frozen=True)
class FidelityPoint:
    """One setting of the kernel that was tried: how well the GP fits (R²) against how much contributions cancel."""

    metric: str
    noise: float
    r2: float
    cancellation: float
    chosen: bool = False


@dataclass(frozen=True)
class ExamplePart:
    """What the GP engine says of the neuron. ``held_out`` says whether the figures are on rows the GP has not seen.

    ``places`` is the grid that the neighbors' places count in, for convolutions; empty otherwise.
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
    """Do the two engines tell the same story? Cosines between gradients on held-out points, means of |cos|."""

    formula_network: float = float("nan")
    gp_network: float = float("nan")
    formula_gp: float = float("nan")
    residual_r2: float = float("nan")


@dataclass(frozen=True)
class Provenance:
    """Where an explanation comes from; enough to make it again."""

    seed: int
    data_hash: str
    model_hash: str
    created: str
    versions: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    seconds: float


@dataclass(frozen=True)
class NeuronExplanation:
    """One neuron's page: claim, evidence, fidelity, controls, verdict, provenance."""

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
