"""Formulas in plainer words where they mean the same at the points: quarter turns of waves, exp of logs as products.

`symbolic.simplify` rewrites what is equal everywhere; here the data may decide, and what is printed is scored as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from symbolic.expression import Apply, Constant, Operators, Tree, evaluate, expand_terms, fold, linear
from symbolic.simplify import join_factors, split_factors
from symbolic.simplify import tidy as simplified

Array = NDArray[np.float64]

#: A phase is a quarter turn within this: the printed digits end there.
QUARTER = 5e-7
#: Two ways to write a formula mean the same at the points within this share of its largest value.
SAME = 1e-9


def plainer(tree: Tree, points: Array, operators: Operators = None) -> Tree:
    """The tree with quarter turns taken out of its waves, and exp(a + b·log c) written as a product where that is the
    same at the points (N, d).
    """
    turned = fold(tree, lambda leaf: leaf, lambda node, args: _turned(Apply(node.name, tuple(args))))
    joined = fold(
        turned,
        lambda leaf: leaf,
        lambda node, args: _powers(Apply(node.name, tuple(args)), points, operators),
    )
    return tree if joined == tree else simplified(joined, operators)


def _turned(node: Apply) -> Tree:
    """sin(u + kπ/2) and cos(u + kπ/2) as ±sin u or ±cos u."""
    if node.name not in ("sin", "cos"):
        return node
    terms = expand_terms(node.args[0])
    offset = sum(c * b.value for c, b in terms if isinstance(b, Constant))
    quarters = round(offset / (0.5 * math.pi))
    if quarters == 0 or abs(offset - quarters * 0.5 * math.pi) > QUARTER:
        return node
    moving = [(c, b) for c, b in terms if not isinstance(b, Constant)]
    if not moving:
        return node
    # cos u is sin u a quarter turn on.
    on = (quarters + (node.name == "cos")) % 4
    wave = Apply("cos" if on % 2 else "sin", (linear([c for c, _ in moving], [b for _, b in moving]),))
    return Apply("neg", (wave,)) if on >= 2 else wave


def _powers(node: Apply, points: Array, operators: Operators) -> Tree:
    """exp(a + Σ b·log c) as exp(a)·Π c^b where the points cannot tell; the node itself elsewhere."""
    if node.name != "exp":
        return node
    rest: list[tuple[float, Tree]] = []
    product: Tree | None = None
    for c, b in expand_terms(node.args[0]):
        if isinstance(b, Apply) and b.name == "log":
            power = _power(b.args[0], c)
            product = power if product is None else Apply("*", (product, power))
        else:
            rest.append((c, b))
    if product is None:
        return node
    if rest:
        product = Apply("*", (product, Apply("exp", (linear([c for c, _ in rest], [b for _, b in rest]),))))
    with np.errstate(all="ignore"):
        before, after = (evaluate(tree, points, operators) for tree in (node, product))
    for sign in (1.0, -1.0):
        if np.isfinite(before).all() and np.abs(before - sign * after).max() <= SAME * np.abs(before).max():
            return product if sign > 0 else Apply("neg", (product,))
    return node


def _power(base: Tree, exponent: float) -> Tree:
    """base^exponent with the powers inside taken together: ((x + y)^2)^−0.5 becomes 1/(x + y), its sign left open."""
    front, factors = split_factors(base)
    together = tuple((b, p * exponent) for b, p in factors)
    scale = front**exponent if front > 0 else 1.0
    inner = join_factors(together) if front > 0 else Apply("^", (base, Constant(exponent)))
    return inner if scale == 1.0 else Apply("*", (Constant(scale), inner))
