"""The result of a search: a frontier of formulas, the chosen one, its link and verdict, and its exports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interpret.errors import IndexOutOfRange, UsageError
from interpret.outcome import Verdict
from symbolic import exports, printing
from symbolic.expression import Tree, complexity, evaluate, expand_terms, operators_in, variables
from symbolic.link import Link
from symbolic.operators import Operator
from symbolic.sizes import cost

if TYPE_CHECKING:
    import pandas as pd
    import sympy

    from symbolic.module import FormulaModule
    from symbolic.targets import Targets

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One formula of the frontier, constants as printed. Figures are misalignments 1 − |mean cos|, without a
    unit.

    ``fitted`` is on the fitting points; ``misalignment``, its 95 % bounds ``lower`` and ``upper``, and
    ``mse`` (Wetzel's (2/d)·(1 − mean cos)) are on held-out points.
    """

    tree: Tree
    misalignment: float
    fitted: float = float("nan")
    lower: float = float("nan")
    upper: float = float("nan")
    mse: float = float("nan")

    @property
    def complexity(self) -> int:
        """The number of nodes of the tree."""
        return complexity(self.tree)

    @property
    def cost(self) -> float:
        """What the choice pays for: nodes, with whole powers cheap and waves dear (`symbolic.sizes`)."""
        return cost(self.tree)

    @property
    def terms(self) -> int:
        """The number of terms of the outermost sum, additive constants aside."""
        return sum(bool(variables(feature)) for _, feature in expand_terms(self.tree))


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
class Control:
    """What the formula's score is compared with.

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
class Summary:
    """How many points the formula rests on, and which were left out, by reason."""

    points: int = 0
    fit: int = 0
    held_out: int = 0
    dropped: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    effective_inputs: tuple[int, ...] = ()
    manifold_dimension: int = 0

    @staticmethod
    def of(targets: Targets) -> Summary:
        """The summary of a set of targets."""
        return Summary(
            points=len(targets.points),
            fit=len(targets.fit),
            held_out=len(targets.held_out),
            dropped=tuple(targets.dropped),
            notes=tuple(targets.notes),
            effective_inputs=tuple(targets.effective_inputs),
            manifold_dimension=targets.manifold_dimension,
        )


@dataclass(frozen=True)
class Formula:
    """What a neuron computes, as far as the search could tell; see ``verdict`` before believing it.

    ``rows`` is the frontier from simple to complex and ``chosen`` the position of the row that the verdict is
    about. ``link`` maps its value to the neuron's, and is None where no values were given. ``targets`` holds
    the points and directions, and is None in a formula read from JSON; ``summary`` stays.
    """

    rows: tuple[Row, ...]
    chosen: int
    names: tuple[str, ...]
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    engine: str = "eigen"
    link: Link | None = None
    coefficients: tuple[Coefficient, ...] = ()
    controls: tuple[Control, ...] = ()
    alternative_rows: tuple[Row, ...] = ()
    summary: Summary = field(default_factory=Summary)
    operators: tuple[Operator, ...] = ()
    messages: tuple[str, ...] = ()
    interrupted: bool = False
    seconds: float = 0.0
    seed: int = 0
    targets: Targets | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.chosen < max(1, len(self.rows)):
            raise UsageError(f"chosen row {self.chosen} of a frontier of {len(self.rows)} rows")

    @property
    def tree(self) -> Tree:
        """The chosen formula's tree."""
        return self.row().tree

    @property
    def expression(self) -> str:
        """The chosen formula as text; `symbolic.parser.parse` reads it back."""
        return self.text()

    @property
    def misalignment(self) -> float:
        """Held-out 1 − |mean cos| of the chosen row."""
        return self.row().misalignment

    @property
    def misalignment_interval(self) -> tuple[float, float]:
        """95 % bounds of the held-out misalignment of the chosen row."""
        return self.row().lower, self.row().upper

    @property
    def mse(self) -> float:
        """Wetzel's mean squared error between unit gradients, (2/d)·(1 − mean cos), of the chosen row, held
        out.
        """
        return self.row().mse

    @property
    def frontier(self) -> pd.DataFrame:
        """From the cheapest row to the dearest, each better aligned on held-out points than all before: complexity,
        cost, terms, misalignment (held out), fitted, lower, upper, mse, expression, chosen.
        """
        return self._frame(self.rows, self.chosen)

    @property
    def alternatives(self) -> pd.DataFrame:
        """Other formulas as good within the noise, in the frontier's columns: what the data cannot tell
        apart.
        """
        return self._frame(self.alternative_rows, -1)

    def row(self, row: int | None = None) -> Row:
        """A row of the frontier by position; the chosen one by default.

        Raises:
            IndexOutOfRange: there is no such row.
        """
        position = self.chosen if row is None else row
        if not -len(self.rows) <= position < len(self.rows):
            raise IndexOutOfRange(f"row {position} of a frontier of {len(self.rows)} rows")
        return self.rows[position]

    def variables(self, row: int | None = None) -> tuple[str, ...]:
        """The names of the inputs that occur."""
        return tuple(self.names[index] for index in variables(self.row(row).tree))

    def operator_names(self, row: int | None = None) -> tuple[str, ...]:
        """The names of the operators that occur."""
        return operators_in(self.row(row).tree)

    def text(self, row: int | None = None) -> str:
        """The formula as text that parses back to the same tree."""
        return printing.text(self.row(row).tree, self.names, self.operators)

    def latex(self, row: int | None = None) -> str:
        """The formula in LaTeX, for math mode."""
        return printing.latex(self.row(row).tree, self.names)

    def mathml(self, row: int | None = None) -> str:
        """The formula as a ``<math>`` element."""
        return printing.mathml(self.row(row).tree, self.names)

    def sympy(self, row: int | None = None) -> sympy.Expr:
        """The formula as a SymPy expression over real symbols of the inputs' names."""
        return exports.to_sympy(self.row(row).tree, self.names, self.operators)

    def numpy(self, row: int | None = None) -> exports.NumpyFormula:
        """The formula as a callable from X (N, d) to (N,), float64."""
        return exports.to_numpy(self.row(row).tree, self.names, self.operators)

    def torch(self, row: int | None = None, trainable: bool = True) -> FormulaModule:
        """The formula as a differentiable module from (..., d) to (...).

        Args:
            row: of the frontier; the chosen one by default.
            trainable: whether its constants are parameters, else buffers.

        Raises:
            ExpressionError: an operator of the user's own has no torch form, or a constant is not finite.
        """
        return exports.to_torch(self.row(row).tree, self.operators, trainable)

    def predict(self, X: ArrayLike) -> Array:
        """φ(T(x)) (N,) for X (N, d), in the neuron's own units; NaN outside the formula's or the link's
        domain.

        Raises:
            UsageError: the formula was fitted to gradients alone, so that there is no link.
            NameMismatch: X has more columns than there are names.
        """
        if self.link is None:
            raise UsageError(
                "this formula has no link, because it was fitted without the neuron's values: "
                "pass values= to fit_gradients, or use numpy() for T(x) itself"
            )
        return self.link.predict(evaluate(self.tree, exports.check_width(X, len(self.names)), self.operators))

    def to_json(self) -> str:
        """The whole result as JSON text, points aside; `from_json` reads it back."""
        from symbolic.formula_json import dump

        return dump(self)

    @staticmethod
    def from_json(text: str, operators: Iterable[Operator] = ()) -> Formula:
        """The result of `to_json`.

        Args:
            text: what `to_json` gave.
            operators: of the user's own; they have to be passed again.

        Raises:
            BadInput: the text is not such JSON.
            ExpressionError: a formula in it uses an unknown operator.
        """
        from symbolic.formula_json import load

        return load(text, tuple(operators))

    def __str__(self) -> str:
        return f"{self.text()}   [{self.verdict}, misalignment {self.misalignment:.2g}]"

    def _repr_html_(self) -> str:
        from symbolic.formula_html import card

        return card(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        latex = f"$\\displaystyle {self.latex()}$"
        return {"text/html": self._repr_html_(), "text/latex": latex, "text/plain": str(self)}

    def _frame(self, rows: tuple[Row, ...], chosen: int) -> pd.DataFrame:
        import pandas as pd

        columns = ("complexity", "cost", "terms", "misalignment", "fitted", "lower", "upper", "mse")
        table: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in columns}
        table["expression"] = [printing.text(row.tree, self.names, self.operators) for row in rows]
        table["chosen"] = [position == chosen for position in range(len(rows))]
        return pd.DataFrame(table)
