"""Coefficients and inner constants polished on 1 − |mean cos| itself, and their intervals.

The residual t_n − û_n, t = ∇T/‖∇T‖, has squared length 2(1 − cos), so Levenberg–Marquardt on it minimises the loss
exactly, not a surrogate: the eigenproblem's weights are right for choosing supports but biased where the misfit
varies from point to point. Intervals resample points and repeat the polish by one Newton step from the optimum, with
every point's own score and curvature (Davison & Hinkley, Bootstrap Methods, ch. 7), so they hold whatever the noise
is where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from symbolic import gram
from symbolic.arrays import middle, total
from symbolic.expression import (
    Apply,
    Constant,
    Tree,
    constants,
    expand_terms,
    linear,
    nodes,
    value_and_gradient,
    variables,
    with_constants,
)
from symbolic.operators import Operator
from symbolic.sensitivity import gradient_by_constants, gradients_by_constant
from symbolic.targets import Targets

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Candidate:
    """A formula Σ c_k b_k: features, their coefficients, and which of each feature's constants are free."""

    features: tuple[Tree, ...]
    coefficients: tuple[float, ...]
    free: tuple[tuple[int, ...], ...]
    user: tuple[Operator, ...] = field(default=())

    @property
    def tree(self) -> Tree:
        """The formula as one tree."""
        return linear(self.coefficients, self.features)

    @property
    def inner(self) -> int:
        """The number of free inner constants."""
        return sum(map(len, self.free))


def candidate(tree: Tree, user: tuple[Operator, ...] = ()) -> Candidate | None:
    """The candidate of a tree: its outermost sum without constant terms; None where nothing varies."""
    terms = [(c, b) for c, b in expand_terms(tree) if variables(b) and np.isfinite(c)]
    if not terms:
        return None
    features = tuple(b for _, b in terms)
    return Candidate(features, tuple(c for c, _ in terms), tuple(free_constants(b) for b in features), user)


def free_constants(tree: Tree) -> tuple[int, ...]:
    """Positions of the constants that may move: all but whole exponents and the plain 1 of 1/x, 1 + x²."""
    whole = {
        id(node.args[1])
        for node in nodes(tree)
        if isinstance(node, Apply)
        and node.name == "^"
        and isinstance(node.args[1], Constant)
        and float(node.args[1].value).is_integer()
    }
    listed = [node for node in nodes(tree) if isinstance(node, Constant)]
    return tuple(k for k, node in enumerate(listed) if id(node) not in whole and node.value != 1.0)


@dataclass
class Field:
    """The gradient field of a candidate at chosen rows, turned, with its derivative in every parameter."""

    targets: Targets
    rows: Indices
    user: tuple[Operator, ...] = ()

    def __post_init__(self) -> None:
        self._points = self.targets.points[self.rows]
        self._frames = gram.Frames(self.targets.directions[self.rows])
        self._cache: dict[Tree, Array] = {}

    def feature(self, tree: Tree) -> Array:
        """Turned gradients (n, d) of one feature."""
        if tree not in self._cache:
            gradient = value_and_gradient(tree, self._points, self.user or None)[1]
            self._cache[tree] = self._turn(gradient[None])[0]
        return self._cache[tree]

    def _turn(self, gradients: Array) -> Array:
        return np.asarray(self._frames.turn(self.targets.project(gradients, self.rows)))

    def by_constant(self, tree: Tree, at: int, part: int, given: tuple[Array, Array]) -> Array:
        """∂∇b/∂(constant number ``at``) of one feature, turned (P, n, d), for P parts in the place of a variable."""
        moved = gradients_by_constant(tree, self._points, at, part, given, self.user or None)
        return self._turn(moved)

    def plain(self, trees: Sequence[Tree]) -> tuple[Array, Array]:
        """Values (P, n) and gradients (P, n, d) of trees, as they are."""
        pairs = [value_and_gradient(tree, self._points, self.user or None) for tree in trees]
        return np.array([value for value, _ in pairs]), np.array([slope for _, slope in pairs])

    def value(self, found: Candidate) -> Array:
        """Turned ∇T (n, d)."""
        total = np.zeros_like(self._points)
        for c, tree in zip(found.coefficients, found.features, strict=True):
            total = total + c * self.feature(tree)
        return total

    def by_parameters(self, found: Candidate) -> Array:
        """∂∇T/∂(coefficients, inner constants) as (p, n, d), coefficients first."""
        parts = [self.feature(tree) for tree in found.features]
        for c, tree, free in zip(found.coefficients, found.features, found.free, strict=True):
            if free:
                moved = gradient_by_constants(tree, self._points, self.user or None, free)
                parts += list(c * self._turn(np.moveaxis(moved, 2, 0)))
        return np.array(parts)


def move(found: Candidate, step: Array) -> Candidate:
    """The candidate with its parameters (coefficients, then inner constants) moved by ``step`` (p,)."""
    m = len(found.coefficients)
    coefficients = tuple(float(v) for v in np.asarray(found.coefficients) + step[:m])
    features, at = [], m
    for tree, free in zip(found.features, found.free, strict=True):
        if free:
            values = np.array(constants(tree))
            values[list(free)] += step[at : at + len(free)]
            at += len(free)
            tree = with_constants(tree, values)
        features.append(tree)
    return replace(found, features=tuple(features), coefficients=coefficients)


def parameters(found: Candidate) -> Array:
    """Coefficients, then free inner constants, (p,)."""
    inner = [constants(tree)[k] for tree, free in zip(found.features, found.free, strict=True) for k in free]
    return np.array([*found.coefficients, *inner])


def anchor(found: Candidate, field_: Field) -> int:
    """The coefficient to hold: that of the term with the largest part in ∇T."""
    sizes = [
        abs(c) * np.sqrt(middle(total(field_.feature(tree) ** 2)) + 1e-300)
        for c, tree in zip(found.coefficients, found.features, strict=True)
    ]
    return int(np.argmax(sizes))


def polish(
    found: Candidate,
    field_: Field,
    rounds: int = 25,
    patience: float = np.inf,
    fixed: frozenset[int] = frozenset(),
) -> tuple[Candidate, float]:
    """Levenberg–Marquardt on the residual t − û; returns the candidate, signed so mean cos > 0, and its loss.

    With ``patience`` a start that has not fallen below that loss nor by a third after four rounds is given up.
    Parameters at the positions ``fixed`` stay, and the first coefficient with them.
    """
    values = field_.value(found)
    if not np.isfinite(values).all():
        return found, np.inf
    at = gram.measured(values)
    loss = float(at.loss)
    if at.sign < 0:
        found = replace(found, coefficients=tuple(-c for c in found.coefficients))
        values = -values
    moving = np.ones(len(parameters(found)), dtype=bool)
    moving[[0, *fixed] if fixed else anchor(found, field_)] = False
    if not moving.any():
        return found, loss
    damping, began = 1e-4, loss
    for step_number in range(rounds):
        if step_number == 4 and loss > max(patience, 0.0) and loss > 0.67 * began:
            break
        residual, jacobian = _linearised(found, field_, values, moving)
        normal, slope = jacobian @ jacobian.T, jacobian @ residual
        scale = np.sqrt(np.maximum(normal.diagonal(), 1e-300))
        level, plain, slope = normal / (scale[:, None] * scale), np.eye(len(scale)), slope / scale
        better = False
        for _ in range(6):
            step = np.zeros(len(moving))
            step[moving] = -np.linalg.lstsq(level + damping * plain, slope, rcond=1e-14)[0] / scale
            trial = move(found, step)
            fresh = field_.value(trial)
            new = float(gram.misalignment(fresh)) if np.isfinite(fresh).all() else np.inf
            if new < loss:
                better = True
                break
            damping = max(damping, 1e-8) * 8
        if not better:
            break
        gain, found, values, loss = loss - new, trial, fresh, new
        damping = max(damping / 8, 1e-12)
        if gain < 1e-7 * loss or loss < 1e-15:
            break
    return found, loss


def _linearised(
    found: Candidate, field_: Field, values: Array, moving: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Residual t − û (n·d,) and its derivative (p, n·d) in the moving parameters."""
    length = np.sqrt(total(values**2))
    length = np.maximum(length, 1e-3 * middle(length) + 1e-300)[:, None]
    t = values / length
    residual = t.copy()
    residual[:, 0] -= 1.0
    slopes = field_.by_parameters(found)[moving] / length
    slopes = slopes - total(slopes * t)[..., None] * t
    return residual.reshape(-1), slopes.reshape(len(slopes), -1)


def prune(found: Candidate, field_: Field, loss: float, allowed: float = 1.05) -> tuple[Candidate, float]:
    """Drop terms that buy nothing: the loss without them stays within ``allowed`` times what it was."""
    limit = max(allowed * loss, 1e-13)
    again = True
    while again and len(found.features) > 1:
        again = False
        sizes = [
            abs(c) * np.sqrt(total(field_.feature(tree) ** 2).mean())
            for c, tree in zip(found.coefficients, found.features, strict=True)
        ]
        for k in np.argsort(sizes)[:3]:
            if sizes[k] > 0.3 * max(sizes):
                break
            less, new = polish(without(found, int(k)), field_, rounds=6)
            if new <= limit:
                found, loss, again = less, new, True
                break
    return found, loss


def without(found: Candidate, k: int) -> Candidate:
    """The candidate without term k."""
    return replace(
        found,
        features=found.features[:k] + found.features[k + 1 :],
        coefficients=found.coefficients[:k] + found.coefficients[k + 1 :],
        free=found.free[:k] + found.free[k + 1 :],
    )


@dataclass(frozen=True)
class Spread:
    """Resampled parameters (B, p) around the optimum, in the order of `parameters`; the held one is constant."""

    centre: Array
    draws: Array

    def interval(self, values: Array, draws: Array, level: float = 0.95) -> tuple[Array, Array]:
        """Bounds around ``values`` from draws (B, …), symmetric in their spread."""
        spread = np.std(draws, axis=0, ddof=1)
        reach = NormalDist().inv_cdf(0.5 + level / 2) * spread
        return values - reach, values + reach


def resample(found: Candidate, field_: Field, seed: int = 0, draws: int = 400) -> Spread:
    """Repeat the polish on resampled points: one Newton step each, from the points' own scores and curvatures."""
    centre = parameters(found)
    held = anchor(found, field_)
    moving = np.flatnonzero(np.arange(len(centre)) != held)
    result = np.tile(centre, (draws, 1))
    if len(moving) == 0:
        return Spread(centre, result)
    scores = _scores(found, field_)[:, moving]
    curvature = _curvatures(found, field_, moving)
    n, p = scores.shape
    # Jackknife-like inflation: the fit has followed p of the n points' noise.
    scores = scores * np.sqrt(n / max(n - 2 * p, 1))
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws).astype(np.float64)
    slope = counts @ scores
    bend = (counts @ curvature.reshape(n, -1)).reshape(draws, p, p)
    scale = np.sqrt(np.maximum(np.abs(np.diagonal(curvature.sum(0))), 1e-300))
    bend = bend / np.outer(scale, scale) + 1e-12 * np.eye(p)
    step = np.linalg.solve(bend, (slope / scale)[:, :, None])[:, :, 0] / scale
    result[:, moving] -= step
    return Spread(centre, result)


def _scores(found: Candidate, field_: Field) -> Array:
    """The gradient (n, p) of every point's 1 − cos in the parameters."""
    values = field_.value(found)
    length = np.sqrt(total(values**2))
    length = np.maximum(length, 1e-3 * middle(length) + 1e-300)[:, None]
    t = values / length
    slopes = field_.by_parameters(found) / length
    cosine = t[:, :1]
    return np.asarray((cosine * total(slopes * t).T) - slopes[..., 0].T)


def _curvatures(found: Candidate, field_: Field, moving: Indices) -> Array:
    """Every point's Hessian (n, p, p) in the moving parameters, by central differences of the scores."""
    centre = parameters(found)
    parts = []
    for k in moving:
        h = 1e-5 * max(abs(centre[k]), 1e-3)
        step = np.zeros(len(centre))
        step[k] = h
        up = _scores(move(found, step), field_)[:, moving]
        down = _scores(move(found, -step), field_)[:, moving]
        parts.append((up - down) / (2 * h))
    bend = np.stack(parts, axis=1)
    return np.asarray(0.5 * (bend + np.swapaxes(bend, 1, 2)))
