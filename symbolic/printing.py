"""Tree to text that parses back to the same tree, and to LaTeX and MathML; constants rounded as they are
printed.

A formula is scored as printed: `rounded` gives the tree whose constants are the printed ones, and everything
shown of a formula is made from that tree. LaTeX and Presentation MathML share one layout (`symbolic.layout`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from interpret.errors import ExpressionError
from symbolic.expression import Apply, Constant, Leaf, Operators, Tree, Variable, fold, map_leaves, variables
from symbolic.latex import LATEX
from symbolic.layout import exact_form, render
from symbolic.mathml import MATHML, document
from symbolic.parser import quote

#: Significant digits of a constant nobody gave an interval for.
DIGITS = 4

_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "^": 4}
_ATOM = 5


def round_constant(
    value: float, digits: int = DIGITS, low: float | None = None, high: float | None = None
) -> float:
    """A constant as it is printed: to ``digits`` significant digits, or with the fewest that stay in [low,
    high].

    Whole numbers below a million, and small fractions or multiples of π that were snapped to, stay as they
    are.
    """
    if not math.isfinite(value) or value == 0 or exact_form(value) is not None:
        return value
    if low is None or high is None:
        return _significant(value, digits)
    for count in range(1, 17):
        short = _significant(value, count)
        if low <= short <= high:
            return short
    return value


def _significant(value: float, digits: int) -> float:
    return float(f"{value:.{max(1, digits) - 1}e}")


def rounded(tree: Tree, digits: int = DIGITS) -> Tree:
    """The tree with every constant rounded to ``digits`` significant digits: what is printed and what is
    scored.
    """
    return map_leaves(
        tree,
        lambda leaf: Constant(round_constant(leaf.value, digits)) if isinstance(leaf, Constant) else leaf,
    )


def name_of(index: int, names: Sequence[str] | None) -> str:
    """The name of a variable; ``x0, x1, …`` where no names are given.

    Raises:
        ExpressionError: there is no name for that index.
    """
    if names is None:
        return f"x{index}"
    if index >= len(names):
        raise ExpressionError(f"the formula uses variable {index} and {len(names)} names were given")
    return names[index]


def text(tree: Tree, names: Sequence[str] | None = None, operators: Operators = None) -> str:
    """The formula as text. ``parse(text(tree, names), names)`` is the tree, constants to the last bit.

    Raises:
        ExpressionError: a constant is not finite, or a variable has no name.
    """
    taken = {name_of(index, names) for index in variables(tree)}

    def leaf(node: Leaf) -> tuple[str, int]:
        if isinstance(node, Variable):
            return quote(name_of(node.index, names), operators), _ATOM
        if node.value == math.pi and "pi" not in (names or taken):
            return "pi", _ATOM
        # A negative number binds as a sign does: (-2) ^ x needs its parentheses.
        return number(node.value), _ATOM if math.copysign(1, node.value) > 0 else _BINDING["neg"]

    return fold(tree, leaf, _join)[0]


def _join(node: Apply, parts: list[tuple[str, int]]) -> tuple[str, int]:
    binding = _BINDING.get(node.name)
    if binding is None:
        return f"{node.name}({', '.join(part for part, _ in parts)})", _ATOM
    if node.name == "neg":
        inner, inner_binding = parts[0]
        # -(2) is the operator on 2, while -2 is a number.
        bare = inner_binding >= binding and not inner[0].isdigit()
        return f"-{inner}" if bare else f"-({inner})", binding
    (left, left_binding), (right, right_binding) = parts
    to_the_right = node.name == "^"
    if left_binding < binding or (to_the_right and left_binding == binding):
        left = f"({left})"
    if right_binding < binding or (not to_the_right and right_binding == binding):
        # An exponent may begin with a sign, nothing else that binds less tightly.
        right = right if to_the_right and right_binding == _BINDING["neg"] else f"({right})"
    return f"{left}{node.name}{right}" if to_the_right else f"{left} {node.name} {right}", binding


def number(value: float) -> str:
    """The shortest decimal that reads back as the same float64, without a trailing ``.0``.

    Raises:
        ExpressionError: the value is not finite.
    """
    if not math.isfinite(value):
        raise ExpressionError(f"the formula holds the constant {value}, which cannot be printed")
    shortest = repr(float(value))
    return shortest[:-2] if shortest.endswith(".0") else shortest


def latex(tree: Tree, names: Sequence[str] | None = None) -> str:
    """The formula in LaTeX for math mode; variables' names are escaped."""
    return render(tree, LATEX, lambda index: name_of(index, names))


def mathml(tree: Tree, names: Sequence[str] | None = None) -> str:
    """The formula as a ``<math>`` element of Presentation MathML Core; variables' names are escaped."""
    return document(render(tree, MATHML, lambda index: name_of(index, names)))
