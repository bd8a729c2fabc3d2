"""A tree as a SymPy expression, a NumPy callable, or a torch module. Built node by node; no text is ever
evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interpret.errors import ExpressionError, NameMismatch
from symbolic.expression import (
    Apply,
    Leaf,
    Operators,
    Tree,
    Variable,
    constants,
    evaluate,
    fold,
    operators_in,
    value_and_gradient,
)
from symbolic.layout import exact_form
from symbolic.operators import lookup
from symbolic.printing import name_of, text

if TYPE_CHECKING:
    import sympy

    from symbolic.module import FormulaModule


@dataclass(frozen=True)
class NumpyFormula:
    """A formula as a callable on tables: ``f(X)`` with X (N, d) gives (N,) in float64. It pickles.

    `gradient` gives (N, d). Rows outside the formula's domain come out NaN or infinite. ``width`` is d where it is
    known; a table of more columns is another table, and raises NameMismatch.
    """

    tree: Tree
    operators: Operators = None
    expression: str = ""
    width: int | None = None

    def __call__(self, X: ArrayLike) -> NDArray[np.float64]:
        """Values (N,) at the rows of X (N, d)."""
        return evaluate(self.tree, self._table(X), self.operators)

    def gradient(self, X: ArrayLike) -> NDArray[np.float64]:
        """Gradients (N, d) at the rows of X (N, d)."""
        return value_and_gradient(self.tree, self._table(X), self.operators)[1]

    def _table(self, X: ArrayLike) -> ArrayLike:
        return X if self.width is None else check_width(X, self.width)

    def __str__(self) -> str:
        return self.expression


def to_numpy(tree: Tree, names: Sequence[str] | None = None, operators: Operators = None) -> NumpyFormula:
    """The formula as a callable (N, d) → (N,).

    Raises:
        ExpressionError: an operator is unknown, or a variable has no name.

    The callable refuses tables that are wider than there are names.
    """
    _check(tree, operators)
    return NumpyFormula(tree, operators, text(tree, names, operators), None if names is None else len(names))


def check_width(X: ArrayLike, width: int) -> ArrayLike:
    """X as it came, where it has at most ``width`` columns; fewer are for the formula to judge.

    Raises:
        NameMismatch: X has more columns than the formula has names.
    """
    shape = np.shape(X)
    if len(shape) == 2 and shape[1] > width:
        raise NameMismatch(f"the table has {shape[1]} columns, and the formula's inputs are {width}")
    return X


def _check(tree: Tree, operators: Operators) -> None:
    for name in operators_in(tree):
        lookup(name, operators)


def to_sympy(tree: Tree, names: Sequence[str] | None = None, operators: Operators = None) -> sympy.Expr:
    """The formula over real SymPy symbols of the variables' names; whole numbers, fractions and π become
    exact.

    Raises:
        ExpressionError: an operator of the user's own has no SymPy form.
    """
    import sympy

    known = _sympy_functions()

    def leaf(node: Leaf) -> Any:
        if isinstance(node, Variable):
            return sympy.Symbol(name_of(node.index, names), real=True)
        return _sympy_number(node.value)

    def apply(node: Apply, args: list[Any]) -> Any:
        function = known.get(node.name) or lookup(node.name, operators).sympy
        if function is None:
            raise ExpressionError(
                f"operator {node.name!r} has no SymPy form; user_operator(sympy=…) takes it"
            )
        return function(*args)

    return fold(tree, leaf, apply)


def _sympy_number(value: float) -> Any:
    import sympy

    exact = exact_form(abs(value))
    if exact is None or (exact[1] not in (1, 2, 4) and len(repr(value)) <= 5):
        # A short decimal such as 2.3 was rounded, not snapped; 23/10 would claim more.
        return sympy.Float(value)
    p, q, times_pi = exact
    number = sympy.Rational(p, q) * (sympy.pi if times_pi else 1)
    return -number if value < 0 else number


def _sympy_functions() -> Mapping[str, Callable[..., Any]]:
    import sympy

    named = ("sin", "cos", "tan", "exp", "log", "sqrt", "tanh", "sinh", "cosh", "asin", "acos", "atan", "erf")
    return {name: getattr(sympy, name) for name in named} | {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "^": lambda a, b: a**b,
        "neg": lambda a: -a,
        "abs": sympy.Abs,
        "square": lambda a: a**2,
        "cube": lambda a: a**3,
        "inv": lambda a: 1 / a,
        "sigmoid": lambda a: 1 / (1 + sympy.exp(-a)),
    }


def to_torch(tree: Tree, operators: Operators = None, trainable: bool = True) -> FormulaModule:
    """The formula as a torch module: (..., d) → (...), differentiable, scriptable and exportable.

    Raises:
        ExpressionError: an operator of the user's own has no torch form, or a constant is not finite.
    """
    from symbolic.module import FormulaModule

    _check(tree, operators)
    if not all(math.isfinite(value) for value in constants(tree)):
        raise ExpressionError("the formula holds a constant that is not finite, which a module cannot")
    return FormulaModule(tree, operators, trainable)
