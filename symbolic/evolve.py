"""Nested forms by grafting: put something new inside a function of a formula found before.

For f(arg) in the formula, f(arg + ε·v) changes ∇T in proportion to ε at first; that change is known exactly
(`symbolic.sensitivity`), so every graft v at every place is scored by how much of the present
misfit it explains, before any is tried. The best few are then refined for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from symbolic import gram
from symbolic.arrays import total
from symbolic.expression import (
    Apply,
    Constant,
    Tree,
    Variable,
    constants,
    linear,
    substitute,
    variables,
    with_constants,
)
from symbolic.polish import Candidate, Field, candidate

Array = NDArray[np.float64]

#: The grafted part starts with this coefficient.
EPSILON = 1e-6
#: A mark that no other constant has, to find ε among a tree's constants.
_MARK = 1.23456789e-6


def grafted(tree: Tree, part: Tree) -> list[Tree]:
    """The feature with ε·part added inside each of its functions, factors and powers."""
    if not isinstance(tree, Apply):
        return []
    plus = _plus(part)
    if len(tree.args) == 1:
        (inner,) = tree.args
        if tree.name == "neg":
            return [Apply("neg", (changed,)) for changed in grafted(inner, part)]
        return [Apply(tree.name, (plus(inner),)), *(Apply(tree.name, (c,)) for c in grafted(inner, part))]
    first, last = tree.args
    if tree.name == "^":
        inside = [plus(first), *grafted(first, part)] if isinstance(last, Constant) else []
        return [Apply("^", (changed, last)) for changed in inside]
    if tree.name not in ("*", "/", "+", "-"):
        return []
    found: list[Tree] = []
    for k, side in enumerate((first, last)):
        if not variables(side):
            continue
        inside = grafted(side, part)
        if tree.name in ("*", "/"):
            inside = [plus(side), *inside]
        found += [Apply(tree.name, (c, last) if k == 0 else (first, c)) for c in inside]
    return found


def _plus(part: Tree) -> Callable[[Tree], Tree]:
    return lambda tree: Apply("+", (tree, Apply("*", (Constant(_MARK), part))))


def parts(atoms: Sequence[Tree], names: frozenset[str]) -> list[Tree]:
    """What may be grafted: atoms, their squares and products."""
    found: list[Tree] = list(atoms)
    if "^" in names or "*" in names:
        found += [Apply("^", (a, Constant(2.0))) for a in atoms]
    if "*" in names:
        found += [Apply("*", (a, b)) for i, a in enumerate(atoms) for b in atoms[i + 1 :]]
    return found


class Pieces:
    """Parts to graft, and what they are at the points of a field."""

    def __init__(self, trees: Sequence[Tree], field_: Field) -> None:
        self.trees = tuple(trees)
        self.given = field_.plain(trees)
        #: A variable that stands for any of them.
        self.mark = field_.targets.width

    def slopes(self, feature: Tree, field_: Field) -> list[list[tuple[Tree, Array]]]:
        """For every part and every place in a feature the grafted feature and its ∂∇b/∂ε (n, d), turned."""
        if not self.trees:
            return []
        found: list[list[tuple[Tree, Array]]] = [[] for _ in self.trees]
        for changed in grafted(feature, Variable(self.mark)):
            at = constants(changed).index(_MARK)
            for own, slope in zip(found, field_.by_constant(changed, at, self.mark, self.given), strict=True):
                own.append((changed, slope))
        return found


def best_grafts(found: Candidate, pieces: Pieces, field_: Field, count: int) -> list[Tree]:
    """The ``count`` grafts that explain most of the misfit to first order, as trees to refine."""
    values = field_.value(found)
    length = np.sqrt(total(values**2))[:, None]
    if not np.isfinite(length).all() or not (length > 0).all():
        return []
    t = values / length
    sign = 1.0 if gram.mean_cosine(values) >= 0 else -1.0
    misfit = t[:, 1:] * sign
    own = field_.by_parameters(found) / length
    own = (own - _along(own, t) * t)[..., 1:].reshape(len(own), -1)
    basis = _basis(own)
    residual = misfit.reshape(-1) - basis.T @ (basis @ misfit.reshape(-1))
    ranked: list[tuple[float, int, int, Tree, Tree, float]] = []
    for k, feature in enumerate(found.features):
        for part, places in zip(pieces.trees, pieces.slopes(feature, field_), strict=True):
            for changed, slope in places:
                if not np.isfinite(slope).all():
                    continue
                slope = slope / length
                slope = (slope - _along(slope, t) * t)[:, 1:].reshape(-1)
                slope = slope - basis.T @ (basis @ slope)
                size = float(slope @ slope)
                if size < 1e-12:
                    continue
                gain = float(slope @ residual) ** 2 / size
                step = -float(slope @ residual) / size / max(abs(found.coefficients[k]), 1e-12)
                ranked.append((gain, len(ranked), k, changed, part, step))
    best = sorted(ranked, key=lambda item: (-item[0], item[1]))[:count]
    return [
        _formula(found, k, substitute(changed, {pieces.mark: part}), step)
        for _, _, k, changed, part, step in best
    ]


def ranked(trees: Sequence[Tree], field_: Field, count: int, least: float = 0.1) -> list[Tree]:
    """The ``count`` trees whose constants, moved a little, explain most of their misfit to first order.

    Trees that promise less than the share ``least`` of it are left out.
    """
    promise = []
    for at, tree in enumerate(trees):
        found = candidate(tree, field_.user)
        if found is None:
            continue
        share = _promise(found, field_)
        if share > least:
            promise.append((-share, at))
    return [trees[at] for _, at in sorted(promise)[:count]]


def _promise(found: Candidate, field_: Field) -> float:
    """The share of the squared misfit that all parameters together explain to first order."""
    with np.errstate(all="ignore"):
        values = field_.value(found)
        slopes = field_.by_parameters(found)
    length = np.sqrt(total(values**2))[:, None]
    if not (np.isfinite(length).all() and (length > 0).all() and np.isfinite(slopes).all()):
        return 0.0
    t = values / length
    misfit = t[:, 1:].reshape(-1)
    slopes = slopes / length
    slopes = (slopes - _along(slopes, t) * t)[..., 1:].reshape(len(slopes), -1)
    # Columns are scaled so that a constant with little effect still counts, down to rounding.
    size = np.linalg.norm(slopes, axis=1)
    kept = slopes[size > 1e-12 * size.max()] / size[size > 1e-12 * size.max(), None]
    basis = _basis(kept)
    whole = float(misfit @ misfit)
    return float(((basis @ misfit) ** 2).sum()) / whole if whole > 0 else 0.0


def _along(slopes: Array, t: Array) -> Array:
    """The part of vectors (..., n, d) along the unit vectors (n, d), as (..., n, 1)."""
    return np.asarray(total(slopes * t))[..., None]


def _basis(rows: Array) -> Array:
    """Orthonormal rows that span the given ones."""
    _, singular, right = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(right[singular > 1e-8 * max(singular[0], 1e-300)])


def _formula(found: Candidate, k: int, changed: Tree, step: float) -> Tree:
    """The candidate with feature k grafted, ε taking a small part of the linear step."""
    values = [(np.clip(0.3 * step, -0.3, 0.3) or EPSILON) if v == _MARK else v for v in constants(changed)]
    features = (*found.features[:k], with_constants(changed, values), *found.features[k + 1 :])
    return linear(found.coefficients, features)
