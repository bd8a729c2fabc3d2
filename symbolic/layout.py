"""How a formula is laid out on a page, whatever the language: fractions, powers, roots, signs and brackets.

A `Dialect` knows how to write the pieces (`symbolic.latex`, `symbolic.mathml`); `render` decides which
pieces.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from interpret.errors import ExpressionError
from symbolic.expression import Apply, Leaf, Tree, Variable, fold

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4

_SHORT = re.compile(r"[A-Za-z]_?\d{0,4}")
_TITLES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "sigmoid": "σ"}


@dataclass(frozen=True)
class Dialect:
    """The pieces of a formula in one language.

    Every argument and result is finished markup, but for the raw text that ``name`` (a variable, text of any
    kind) and ``call`` (a function and its arguments) escape themselves. ``infix`` takes the sign in the
    middle: "+", "-", or "·" for a product with a visible dot; ``beside`` writes a product with none.
    """

    pi: str
    name: Callable[[str], str]
    number: Callable[[str], str]
    minus: Callable[[str], str]
    infix: Callable[[str, str, str], str]
    beside: Callable[[str, str], str]
    fraction: Callable[[str, str], str]
    power: Callable[[str, str], str]
    root: Callable[[str], str]
    bars: Callable[[str], str]
    brackets: Callable[[str], str]
    call: Callable[[str, list[str]], str]
    exp: Callable[[str], str]


class _Box(NamedTuple):
    """Markup and how tightly it binds; ``positive`` is the same without its minus sign, where it begins with
    one.
    """

    markup: str
    binding: int
    positive: _Box | None = None
    digit: bool = False
    word: bool = False


def exact_form(value: float) -> tuple[int, int, bool] | None:
    """(p, q, times π) where the number is exactly p/q or p·π/q with a small q, else None."""
    if not math.isfinite(value) or value == 0:
        return None
    for unit, multiple in ((1.0, False), (math.pi, True)):
        ratio = Fraction(value / unit).limit_denominator(12)
        limit = 10**6 if ratio.denominator == 1 and not multiple else 100
        small = 0 < abs(ratio.numerator) < limit
        if small and ratio.numerator * unit / ratio.denominator == value:
            return ratio.numerator, ratio.denominator, multiple
    return None


def render(tree: Tree, dialect: Dialect, name: Callable[[int], str]) -> str:
    """The formula's markup.

    Raises:
        ExpressionError: a constant is not finite.
    """

    def leaf(node: Leaf) -> _Box:
        if isinstance(node, Variable):
            written = name(node.index)
            return _Box(dialect.name(written), ATOM, word=_SHORT.fullmatch(written) is None)
        return _number(node.value, dialect)

    return fold(tree, leaf, lambda node, parts: _apply(node, parts, dialect)).markup


def _number(value: float, dialect: Dialect) -> _Box:
    if not math.isfinite(value):
        raise ExpressionError(f"the formula holds the constant {value}, which cannot be printed")
    if value < 0:
        positive = _number(-value, dialect)
        return _Box(dialect.minus(positive.markup), SUM, positive)
    exact = exact_form(value)
    if exact is not None and (exact[1] > 1 or exact[2]) and not _is_short(value):
        return _exact(*exact, dialect)
    mantissa, _, exponent = repr(float(value)).partition("e")
    digits = dialect.number(mantissa.removesuffix(".0"))
    if not exponent:
        return _Box(digits, ATOM, digit=True)
    power = dialect.power(dialect.number("10"), _number(float(exponent), dialect).markup)
    return _Box(dialect.infix(digits, "·", power), PRODUCT, digit=True)


def _is_short(value: float) -> bool:
    """Whether the decimal is as short as a fraction would be: 0.25 and 1.5, not 0.3333333333333333."""
    return len(repr(value)) <= 5


def _exact(p: int, q: int, times_pi: bool, dialect: Dialect) -> _Box:
    above = dialect.number(str(p))
    if times_pi:
        above = dialect.pi if p == 1 else dialect.beside(above, dialect.pi)
    if q == 1:
        return _Box(above, ATOM if p == 1 else PRODUCT, digit=p != 1)
    return _Box(dialect.fraction(above, dialect.number(str(q))), PRODUCT, digit=True)


def _tight(box: _Box, least: int, dialect: Dialect) -> str:
    return box.markup if box.binding >= least else dialect.brackets(box.markup)


def _apply(node: Apply, parts: list[_Box], dialect: Dialect) -> _Box:
    first, last = parts[0], parts[-1]
    match node.name:
        case "+" | "-":
            return _sum(node.name, first, last, dialect)
        case "*":
            return _product(first, last, dialect)
        case "/":
            return _quotient(first, last, dialect)
        case "inv":
            return _Box(dialect.fraction(dialect.number("1"), first.markup), PRODUCT)
        case "neg":
            return _Box(dialect.minus(_tight(first, PRODUCT, dialect)), SUM, first)
        case "^":
            return _Box(dialect.power(_tight(first, ATOM, dialect), last.markup), POWER, word=first.word)
        case "square" | "cube":
            exponent = dialect.number("2" if node.name == "square" else "3")
            return _Box(dialect.power(_tight(first, ATOM, dialect), exponent), POWER, word=first.word)
        case "exp":
            return _Box(dialect.exp(first.markup), POWER)
        case "sqrt":
            return _Box(dialect.root(first.markup), ATOM)
        case "abs":
            return _Box(dialect.bars(first.markup), ATOM)
        case _:
            title = _TITLES.get(node.name, node.name)
            return _Box(dialect.call(title, [part.markup for part in parts]), ATOM)


def _sum(sign: str, left: _Box, right: _Box, dialect: Dialect) -> _Box:
    # a + (−b) is written a − b, and a − (−b) is written a + b.
    if right.positive is not None:
        right, sign = right.positive, "-" if sign == "+" else "+"
    least = PRODUCT if sign == "-" else SUM
    return _Box(dialect.infix(left.markup, sign, _tight(right, least, dialect)), SUM)


def _product(left: _Box, right: _Box, dialect: Dialect) -> _Box:
    if left.positive is not None:
        positive = _product(left.positive, right, dialect)
        return _Box(dialect.minus(positive.markup), SUM, positive)
    first, second = _tight(left, PRODUCT, dialect), _tight(right, PRODUCT, dialect)
    # Two numbers, or two words, side by side would read as one.
    dot = right.digit or (left.word and right.word)
    markup = dialect.infix(first, "·", second) if dot else dialect.beside(first, second)
    return _Box(markup, PRODUCT, digit=left.digit, word=left.word or right.word)


def _quotient(above: _Box, below: _Box, dialect: Dialect) -> _Box:
    if above.positive is not None:
        positive = _quotient(above.positive, below, dialect)
        return _Box(dialect.minus(positive.markup), SUM, positive)
    return _Box(dialect.fraction(above.markup, below.markup), PRODUCT)
