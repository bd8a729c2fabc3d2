"""Which formulas say the same: equal up to a monotone map, for then the gradients are parallel everywhere.

T and S encode the same concept when every cross term ∂_iT·∂_jS − ∂_jT·∂_iS vanishes and the gradients point
the same way throughout, or opposite ways throughout (Wetzel 2024, section on equivalence classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symbolic.expression import (
    Apply,
    Constant,
    Operators,
    Tree,
    evaluate,
    expand_terms,
    linear,
    value_and_gradient,
    variables,
)
from symbolic.operators import lookup
from symbolic.simplify import join_factors, split_factors, tidy

Array = NDArray[np.float64]

#: Largest sine of the angle between two gradients that still count as parallel.
PARALLEL = 1e-6


def cross_terms(a: ArrayLike, b: ArrayLike) -> Array:
    """The sine of the angle between gradients (N, d) and (N, d), row by row, by the cross terms; NaN without
    a direction.

    ``Σ_{i<j} (a_i b_j − a_j b_i)² = |a|²|b|² sin²`` (Lagrange's identity). Computed from unit vectors as the
    part of one across the other, which keeps small angles exact.
    """
    u, v = _unit(np.asarray(a, dtype=np.float64)), _unit(np.asarray(b, dtype=np.float64))
    along = np.sum(u * v, axis=1, keepdims=True)
    return np.asarray(np.linalg.norm(u - along * v, axis=1))


def _unit(gradients: Array) -> Array:
    with np.errstate(all="ignore"):
        # Scaled first: squares of large components overflow.
        largest = np.max(np.abs(gradients), axis=1, keepdims=True)
        scaled = gradients / largest
        unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.where(np.isfinite(unit).all(1, keepdims=True), unit, np.nan)


def same_direction(a: ArrayLike, b: ArrayLike, tolerance: float = PARALLEL) -> bool:
    """Whether two gradient fields (N, d) are parallel at every row, and all the same way or all the opposite
    way.

    Rows where both have no direction are skipped; a row where only one has makes them differ, as does having
    none left.
    """
    first, second = _unit(np.asarray(a, dtype=np.float64)), _unit(np.asarray(b, dtype=np.float64))
    has_first, has_second = np.isfinite(first[:, 0]), np.isfinite(second[:, 0])
    if not np.array_equal(has_first, has_second) or not has_first.any():
        return False
    first, second = first[has_first], second[has_first]
    cosines = np.sum(first * second, axis=1)
    one_way = bool((cosines > 0).all() or (cosines < 0).all())
    return one_way and bool(cross_terms(first, second).max() <= tolerance)


def same_concept(
    a: Tree, b: Tree, X: ArrayLike, operators: Operators = None, tolerance: float = PARALLEL
) -> bool:
    """Whether two formulas are monotone functions of one another at the points X (N, d)."""
    first, second = value_and_gradient(a, X, operators)[1], value_and_gradient(b, X, operators)[1]
    return same_direction(first, second, tolerance)


def group(
    trees: Sequence[Tree], X: ArrayLike, operators: Operators = None, tolerance: float = PARALLEL
) -> list[list[int]]:
    """Positions of formulas that encode the same concept at X (N, d), in order of first appearance."""
    fields = [value_and_gradient(tree, X, operators)[1] for tree in trees]
    groups: list[list[int]] = []
    for position, gradients in enumerate(fields):
        for members in groups:
            if same_direction(fields[members[0]], gradients, tolerance):
                members.append(position)
                break
        else:
            groups.append([position])
    return groups


class Stripped(NamedTuple):
    """What is left of a formula, and the outer functions taken off it, outermost first."""

    tree: Tree
    removed: tuple[str, ...]


def strip_outer(tree: Tree, X: ArrayLike | None = None, operators: Operators = None) -> Stripped:
    """Take off outer functions that are strictly monotone, and constants that only shift or scale: they
    belong to φ.

    Functions that are monotone on one side of zero only, such as squares and reciprocals, come off where
    points X (N, d) are given and what is inside keeps one sign on them.
    """
    removed: list[str] = []
    current = drop_shift(tree)
    while isinstance(current, Apply):
        inner = _inside(current, X, operators)
        if inner is None:
            break
        removed.append(current.name)
        current = drop_shift(inner)
    return Stripped(current, tuple(removed))


def drop_shift(tree: Tree) -> Tree:
    """The formula without additive constants, its first coefficient scaled to 1: the same concept, shorter.

    A formula without variables stays as it is.
    """
    terms = [(c, feature) for c, feature in expand_terms(tree) if variables(feature)]
    if not terms:
        return tree
    first = terms[0][0]
    return linear([c / first for c, _ in terms], [feature for _, feature in terms])


def _inside(node: Apply, X: ArrayLike | None, operators: Operators) -> Tree | None:
    """The argument of an outer monotone function, or None where the node is none."""
    if len(node.args) == 1:
        kind = lookup(node.name, operators).monotone
        inner = node.args[0]
        return inner if kind == "all" or (kind == "sign" and _one_sign(inner, X, operators)) else None
    if node.name in ("*", "/"):
        return _common_root(node, X, operators)
    first, last = node.args
    if node.name == "^" and isinstance(last, Constant) and last.value != 0:
        odd = last.value > 0 and last.value % 2 == 1
        return first if odd or _one_sign(first, X, operators) else None
    if node.name == "^" and isinstance(first, Constant) and first.value > 0 and first.value != 1:
        return last
    return None


def _common_root(node: Apply, X: ArrayLike | None, operators: Operators) -> Tree | None:
    """The product whose power the node is: x0²·x1⁴ is (x0·x1²)², and 3/x0 is a power of x0."""
    _, factors = split_factors(node)
    if not factors:
        return None
    power = min((p for _, p in factors), key=abs)
    if power == 1 or any(p % power for _, p in factors):
        return None
    inner = join_factors(tuple((base, p / power) for base, p in factors))
    odd = power > 0 and power % 2 == 1
    return inner if odd or _one_sign(inner, X, operators) else None


def _one_sign(tree: Tree, X: ArrayLike | None, operators: Operators) -> bool:
    if X is None:
        return False
    values = evaluate(tree, X, operators)
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool((finite > 0).all() or (finite < 0).all())


def canonical(tree: Tree, X: ArrayLike | None = None, operators: Operators = None) -> Tree:
    """The shortest way to write the same concept: tidied, outer monotone functions and shifts off, first
    coefficient 1.
    """
    return strip_outer(tidy(tree, operators), X, operators).tree
