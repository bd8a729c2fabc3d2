"""Cheap algebra on trees: numbers folded, like terms and like factors merged, everything in one canonical
order.

Every rewriting is an identity wherever the original is finite, so values and gradients stay; the domain may
grow, as in ``x/x`` becoming 1. SymPy would do more, in seconds instead of microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from symbolic.expression import (
    Apply,
    Constant,
    Operators,
    Tree,
    Variable,
    complexity,
    expand_terms,
    fold,
    linear,
    map_leaves,
)
from symbolic.operators import lookup

#: More monomials than this are left in brackets.
MOST_TERMS = 64

_POWERS = {"square": 2.0, "cube": 3.0, "inv": -1.0}
Factors = tuple[tuple[Tree, float], ...]


def tidy(tree: Tree, operators: Operators = None) -> Tree:
    """The tree simplified: ``(x0*x0) + ((x1+x1)*x1 - 3 + 3)`` becomes ``x0^2 + 2*x1*x1`` and then ``x0^2 +
    2*x1^2``.
    """
    return fold(tree, lambda leaf: leaf, lambda node, args: _tidy(node.name, tuple(args), operators))


def _tidy(name: str, args: tuple[Tree, ...], operators: Operators) -> Tree:
    folded = _fold_numbers(name, args, operators)
    if folded is not None:
        return folded
    if name in ("+", "-", "neg"):
        return _sum(Apply(name, args))
    if name in ("*", "/", "^", *_POWERS):
        return _product(name, args)
    if name == "abs" and isinstance(args[0], Apply) and args[0].name in ("abs", "neg"):
        return Apply("abs", args[0].args)
    if name == "log" and isinstance(args[0], Apply) and args[0].name == "exp":
        return args[0].args[0]
    return Apply(name, args)


def _fold_numbers(name: str, args: tuple[Tree, ...], operators: Operators) -> Tree | None:
    values = [arg.value for arg in args if isinstance(arg, Constant)]
    if len(values) < len(args):
        return None
    with np.errstate(all="ignore"):
        result = float(lookup(name, operators).function(*(np.float64(v) for v in values)))
    # A number that is no number stays visible in the formula.
    return Constant(result) if math.isfinite(result) else Apply(name, args)


def _sum(node: Tree) -> Tree:
    terms = sorted(expand_terms(node), key=lambda term: isinstance(term[1], Constant))
    return linear([c for c, _ in terms], [feature for _, feature in terms])


def _product(name: str, args: tuple[Tree, ...]) -> Tree:
    coefficient, factors = split_factors(Apply(name, args))
    if coefficient == 0:
        return Constant(0.0)
    if not math.isfinite(coefficient):
        return Apply(name, args)
    return linear([coefficient], [join_factors(factors)])


def split_factors(tree: Tree) -> tuple[float, Factors]:
    """The number in front, and each base with its exponent, in canonical order: ``3*x1/x0`` is 3, ((x0, −1),
    (x1, 1)).
    """
    coefficient = 1.0
    powers: dict[Tree, float] = {}
    pending: list[tuple[Tree, float]] = [(tree, 1.0)]
    while pending:
        node, power = pending.pop()
        parts = _factor_parts(node, power)
        if parts is not None:
            pending.extend(reversed(parts))
        elif isinstance(node, Constant) and (node.value > 0 or float(power).is_integer()):
            coefficient *= _power(node.value, power)
        else:
            powers[node] = powers.get(node, 0.0) + power
    kept = ((base, power) for base, power in powers.items() if power != 0)
    return coefficient, tuple(sorted(kept, key=lambda factor: order(factor[0])))


def _power(value: float, power: float) -> float:
    try:
        return float(value**power)
    except (OverflowError, ZeroDivisionError):
        return math.inf


def _factor_parts(node: Tree, power: float) -> list[tuple[Tree, float]] | None:
    if not isinstance(node, Apply):
        return None
    whole = float(power).is_integer()
    first, last = node.args[0], node.args[-1]
    match node.name:
        case "*" if whole:
            return [(first, power), (last, power)]
        case "/" if whole:
            return [(first, power), (last, -power)]
        case "neg" if whole:
            return [(Constant(-1.0), power), (first, power)]
        case "square" | "cube" | "inv" if whole:
            return [(first, power * _POWERS[node.name])]
        # (a^0.5)^2 is a, but (a^2)^0.5 is |a|: only whole outer powers may be taken in.
        case "^" if whole and isinstance(last, Constant):
            return [(first, power * last.value)]
        case _:
            return None


def join_factors(factors: Factors) -> Tree:
    """The product of bases with exponents: positive powers above, negative ones below a fraction bar."""
    above = [_raised(base, power) for base, power in factors if power > 0]
    below = [_raised(base, -power) for base, power in factors if power < 0]
    if not below:
        return _times(above)
    return Apply("/", (_times(above), _times(below)))


def _raised(base: Tree, power: float) -> Tree:
    return base if power == 1 else Apply("^", (base, Constant(power)))


def _times(parts: Sequence[Tree]) -> Tree:
    if not parts:
        return Constant(1.0)
    total = parts[0]
    for part in parts[1:]:
        total = Apply("*", (total, part))
    return total


def order(tree: Tree) -> tuple[int, str]:
    """A key that sorts trees from simple to complex, variables by index."""
    return complexity(tree), repr(tree)


def multiply_out(tree: Tree, most: int = MOST_TERMS) -> list[tuple[float, Tree]]:
    """The terms after all products of sums and whole powers of sums are multiplied out, as (coefficient,
    feature).

    Like terms are merged. Sums inside other functions stay as they are, as does any product of more than
    ``most`` monomials.
    """
    polynomial = _polynomial(tidy(tree), most)
    return [(c, join_factors(factors)) for factors, c in polynomial.items() if c != 0]


def _polynomial(tree: Tree, most: int) -> dict[Factors, float]:
    total: dict[Factors, float] = {}
    for coefficient, term in expand_terms(tree):
        front, factors = split_factors(term)
        product: dict[Factors, float] = {(): coefficient * front}
        for base, power in factors:
            product = _multiply(product, _expanded(base, power, most), most, (base, power))
        for key, value in product.items():
            total[key] = total.get(key, 0.0) + value
    return total


def _expanded(base: Tree, power: float, most: int) -> dict[Factors, float]:
    alone: dict[Factors, float] = {((base, power),): 1.0}
    is_sum = isinstance(base, Apply) and base.name in ("+", "-", "neg")
    if not is_sum or not power.is_integer() or not 1 <= power <= 8:
        return alone
    inner = _polynomial(base, most)
    result: dict[Factors, float] = {(): 1.0}
    for _ in range(int(power)):
        if len(result) * len(inner) > most * 4:
            return alone
        result = _multiply(result, inner, most * 4, None)
    return result


def _multiply(
    a: dict[Factors, float], b: dict[Factors, float], most: int, instead: tuple[Tree, float] | None
) -> dict[Factors, float]:
    if instead is not None and len(a) * len(b) > most * 4:
        b = {(instead,): 1.0}
    result: dict[Factors, float] = {}
    for left, c in a.items():
        for right, k in b.items():
            powers = dict(left)
            for base, power in right:
                powers[base] = powers.get(base, 0.0) + power
            kept = [(base, power) for base, power in powers.items() if power != 0]
            key = tuple(sorted(kept, key=lambda factor: order(factor[0])))
            result[key] = result.get(key, 0.0) + c * k
    return result


def rename(tree: Tree, mapping: dict[int, int]) -> Tree:
    """The same tree with variables renumbered; variables that are not mapped stay."""
    return map_leaves(
        tree,
        lambda leaf: Variable(mapping.get(leaf.index, leaf.index)) if isinstance(leaf, Variable) else leaf,
    )
