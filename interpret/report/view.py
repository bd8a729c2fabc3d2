"""What a page shows, as frozen data: text still unescaped, numbers already written, figures drawn.

The templates only place these; everything that decides what to show is in the modules that build them.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

NOTHING = Markup("")
#: Rows of the frontier in a summary.
_BRIEF = 4


@dataclass(frozen=True)
class Figure:
    """A drawing and the one sentence that says how to read it."""

    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class Stat:
    """A number with its name, and what it means for a reader who sees it for the first time."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Bar:
    """A line of a bar table: ``width`` and ``other`` are percentages of the longest bar."""

    name: str
    value: str
    width: float
    note: str = ""
    other: float = 0.0
    good: bool = True


@dataclass(frozen=True)
class Row:
    """A row of the frontier; ``number`` ties the table to the dots of the figure.

    ``alike`` says what that means where the row is no worse than the chosen one; ``closer`` that it is better by more
    than noise, and not chosen for its length.
    """

    number: int
    complexity: int
    terms: int
    fitted: str
    held_out: str
    upper: str
    math: Markup
    text: str
    latex: str
    chosen: bool
    alike: str
    closer: bool


@dataclass(frozen=True)
class Formula:
    """The symbolic engine's part of a page."""

    claimed: bool
    verdict: str
    engine: str
    math: Markup
    text: str
    latex: str
    stats: tuple[Stat, ...]
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...]
    coefficients: tuple[tuple[str, str, str], ...]
    link: str
    alternatives: tuple[str, ...]
    controls: tuple[Bar, ...]
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    attributions: tuple[Bar, ...]
    failing: str
    nearest: Listing
    points: str

    @property
    def brief(self) -> tuple[Row, ...]:
        """Four rows of the frontier for a summary: those around the chosen one, the first where none is."""
        chosen = next((at for at, row in enumerate(self.rows) if row.chosen), 0)
        first = max(0, min(chosen - 2, len(self.rows) - _BRIEF))
        return self.rows[first : first + _BRIEF]


@dataclass(frozen=True)
class Example:
    """One example as a person sees it; ``bar`` is a signed percentage of the case's longest contribution.

    ``spot`` is the place in a picture: left, top, width and height in percent.
    """

    number: str
    kind: str
    label: str = ""
    source: Markup = NOTHING
    pixelated: bool = False
    spark: Markup = NOTHING
    text: str = ""
    cells: tuple[str, ...] = ()
    shades: tuple[float, ...] = ()
    similarity: str = ""
    contribution: str = ""
    bar: float = 0.0
    place: str = ""
    spot: tuple[float, float, float, float] | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Listing:
    """Training examples one below or beside another; ``columns`` are the inputs shown of table rows."""

    examples: tuple[Example, ...]
    columns: tuple[str, ...] = ()


NO_EXAMPLES = Listing(())


@dataclass(frozen=True)
class Case:
    """A held-out example with its neighbors; ``columns`` are the inputs shown of table rows."""

    kind: str
    why: str
    query: Example
    figures: tuple[Stat, ...]
    neighbors: tuple[Example, ...]
    contributors: tuple[Example, ...]
    columns: tuple[str, ...]
    summary: str
    warning: str


@dataclass(frozen=True)
class Examples:
    """The GP engine's part of a page."""

    kernel: str
    stats: tuple[Stat, ...]
    figures: tuple[Figure, ...]
    cases: tuple[Case, ...]
    prototypes: Listing
    prototype_note: str
    suspects: Listing
    suggested: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Neuron:
    """One neuron's page."""

    id: str
    address: str
    network: str
    verdict: str
    scope: str
    rivals: str
    meaning: str
    claim: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    formula: Formula | None
    examples: Examples | None
    agreement: tuple[Bar, ...]
    residual: str
    absent: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    download: Markup
    file: str


@dataclass(frozen=True)
class IndexRow:
    """A neuron in the index; ``sort`` holds the raw numbers, None where there is none."""

    id: str
    link: str
    address: str
    network: str
    verdict: str
    scope: str
    rivals: str
    math: Markup
    text: str
    claimed: bool
    cells: tuple[str, ...]
    sort: tuple[float | None, ...]


@dataclass(frozen=True)
class Line:
    """A neuron's row, and how much it is worth a place on the first screen; None: it has nothing to show there."""

    row: IndexRow
    by_formula: tuple[float, ...] | None
    by_example: tuple[float, ...] | None


@dataclass(frozen=True)
class Failed:
    """A neuron that could not be explained, and the error that says why."""

    address: str
    network: str
    error: str
    message: str


@dataclass(frozen=True)
class Index:
    """The first screen: a title, counts, two neurons worth looking at, the table of all, and of those that failed."""

    title: str
    summary: str
    counts: tuple[tuple[str, int], ...]
    columns: tuple[tuple[str, str], ...]
    rows: tuple[IndexRow, ...]
    by_formula: Neuron | None
    by_example: Neuron | None
    failed: tuple[Failed, ...] = ()
    failed_count: int = 0
