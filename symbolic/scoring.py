"""Every row is polished, rounded, and scored as printed on held-out points."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from symbolic import gram, kinks, limits
from symbolic.equivalence import strip_outer
from symbolic.expression import (
    Tree,
    complexity,
    constants,
    linear,
    value_and_gradient,
    variables,
    with_constants,
)
from symbolic.operators import Operator
from symbolic.polish import Candidate, Field, candidate, polish, prune
from symbolic.rewriting import plainer
from symbolic.simplify import tidy as simplified
from symbolic.sizes import cost
from symbolic.targets import Targets

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Numbers are printed with this many significant digits, and scored as printed.
DIGITS = 7
#: Misalignments below this are equal: they are rounding of the printed constants.
ROUNDING = 1e-11
#: Seconds after a deadline in which rows are still scored, as they are.
GRACE = 0.25


@dataclass(frozen=True)
class Scored:
    """A formula as printed and its misalignments 1 − |mean cos|.

    ``losses`` (n,) are 1 − cos at the held-out points under the fitted sign; ``low`` and ``upper`` bound the
    held-out misalignment at 95 % by bootstrap; ``cost`` is the size that the choice pays for (`symbolic.sizes`);
    ``mse`` is Wetzel's (2/d)(1 − mean cos).
    """

    candidate: Candidate
    tree: Tree
    complexity: int
    cost: float
    terms: int
    fitted: float
    held_out: float
    low: float
    upper: float
    mse: float
    losses: Array


class Scores(NamedTuple):
    """Every row that was scored, and whether the user stopped it."""

    rows: list[Scored]
    interrupted: bool = False


def score(
    trees: Iterable[Tree],
    targets: Targets,
    user: tuple[Operator, ...] = (),
    deadline: float | None = None,
    most: tuple[int, int] = (10, 30),
) -> Scores:
    """Polish, round and score trees; rows come in the order of the trees, each formula once.

    ``most`` bounds terms and complexity. After the ``deadline`` (a reading of `time.monotonic`), or once the user
    interrupts, the remaining trees are scored without polish, and `GRACE` seconds later no more.
    """
    field_ = Field(targets, targets.fit, user)
    rows: dict[Tree, Scored] = {}
    interrupted = False
    for found in filter(None, (candidate(tree, user) for tree in trees)):
        late = -1.0 if deadline is None else time.monotonic() - deadline
        if late > GRACE and rows:
            break
        try:
            row = _scored(found, field_, polished=late < 0)
        except KeyboardInterrupt:
            if interrupted:
                break
            interrupted, deadline = True, time.monotonic()
            row = _scored(found, field_, polished=False)
        if row is not None and row.terms <= most[0] and row.complexity <= most[1]:
            rows.setdefault(row.tree, row)
    return Scores(list(rows.values()), interrupted)


def _scored(found: Candidate, field_: Field, polished: bool) -> Scored | None:
    with np.errstate(all="ignore"):
        if polished:
            found, loss = polish(found, field_)
            if not np.isfinite(loss):
                return None
            whole, loss = limits.settle(found, field_, loss)
            found, loss = prune(whole, field_, loss)
            if len(found.features) < len(whole.features):
                # What was dropped may have been a kink's twin, and held the place that this one could not take.
                found, loss = kinks.settle(found, field_, loss)
        return row_of(plain(found, field_), field_.targets)


def tidy(found: Candidate, field_: Field) -> Candidate:
    """Terms in reading order, the first of the important ones scaled to 1, constants rounded to `DIGITS`."""
    sizes = np.array(
        [
            abs(c) * np.sqrt((field_.feature(tree) ** 2).sum(-1).mean())
            for c, tree in zip(found.coefficients, found.features, strict=True)
        ]
    )
    order = sorted(
        range(len(sizes)), key=lambda k: (variables(found.features[k]), complexity(found.features[k]))
    )
    lead = next((k for k in order if sizes[k] > 0.25 * sizes.max()), order[0])
    order = [lead, *[k for k in order if k != lead]]
    scale = found.coefficients[lead]
    return Candidate(
        tuple(_rounded(found.features[k], found.free[k]) for k in order),
        tuple(_round(found.coefficients[k] / scale) for k in order),
        tuple(found.free[k] for k in order),
        found.user,
    )


def plain(found: Candidate, field_: Field) -> Candidate:
    """The candidate as it is printed: outer monotone functions stripped, simplified, in plain words, tidy."""
    if len(found.features) == 1:
        inner = candidate(strip_outer(found.features[0], field_.targets.points, found.user).tree, found.user)
        found = inner or found
    found = tidy(found, field_)
    points = field_.targets.points
    features = tuple(
        plainer(simplified(tree, found.user), points, found.user or None) for tree in found.features
    )
    again = candidate(linear(found.coefficients, features), found.user)
    return found if again is None else upright(again)


def upright(found: Candidate) -> Candidate:
    """The candidate with its first coefficient positive: T and −T are one direction, and the link knows which."""
    if found.coefficients[0] > 0:
        return found
    return replace(found, coefficients=tuple(-c for c in found.coefficients))


def rounded(found: Candidate) -> Candidate:
    """The candidate with its coefficients and free constants as printed."""
    return replace(
        found,
        coefficients=tuple(_round(c) for c in found.coefficients),
        features=tuple(_rounded(b, free) for b, free in zip(found.features, found.free, strict=True)),
    )


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rounded(tree: Tree, free: tuple[int, ...]) -> Tree:
    if not free:
        return tree
    return with_constants(tree, [_round(v) if k in free else v for k, v in enumerate(constants(tree))])


def row_of(found: Candidate, targets: Targets) -> Scored | None:
    """Score a candidate exactly as it stands; None where it is not finite on the points."""
    tree = found.tree
    losses, sign = losses_of(tree, targets, targets.fit, found.user)
    held = losses_of(tree, targets, targets.held_out, found.user, sign)[0]
    if not (np.isfinite(losses).all() and np.isfinite(held).all()):
        return None
    low, upper = bounds(held)
    loss = abs_misalignment(held)
    return Scored(
        found,
        tree,
        complexity(tree),
        cost(tree),
        len(found.features),
        abs_misalignment(losses),
        loss,
        low,
        upper,
        2 / targets.width * loss,
        held,
    )


def abs_misalignment(losses: Array) -> float:
    """1 − |mean cos| from the points' 1 − cos."""
    mean = float(losses.mean())
    return mean if mean <= 1 else 2 - mean


def losses_of(
    tree: Tree, targets: Targets, rows: Indices, user: tuple[Operator, ...] = (), sign: float | None = None
) -> tuple[Array, float]:
    """1 − s·cos at the given rows, accurate near zero, and the sign s (of the mean cosine unless given)."""
    gradient = value_and_gradient(tree, targets.points[rows], user or None)[1]
    turned = gram.turn(targets.project(gradient[None], rows), targets.directions[rows])[0]
    return losses_of_field(turned, sign)


def losses_of_field(turned: Array, sign: float | None = None) -> tuple[Array, float]:
    """The same from a turned field (n, d)."""
    if sign is None:
        sign = 1.0 if gram.mean_cosine(turned) >= 0 else -1.0
    length = np.sqrt((turned**2).sum(-1))
    along = sign * turned[:, 0]
    misfit = (turned[:, 1:] ** 2).sum(-1)
    with np.errstate(all="ignore"):
        near = misfit / (length * (length + along))
        far = 1 - along / length
    losses = np.where(along > 0, near, far)
    # A vanishing ∇T has no direction: it counts as perpendicular.
    return np.where(length > 0, losses, np.where(np.isfinite(length), 1.0, np.nan)), sign


def bounds(losses: Array, draws: int = 400, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of the points' losses."""
    n = len(losses)
    if n < 2:
        return 0.0, 1.0
    counts = _counts(n, draws, seed)
    means = counts @ losses / n
    low, upper = np.quantile(means, [0.025, 0.975])
    return float(low), float(upper)


_COUNTS: dict[tuple[int, int, int], Array] = {}


def _counts(n: int, draws: int, seed: int) -> Array:
    key = (n, draws, seed)
    if key not in _COUNTS:
        if len(_COUNTS) > 8:
            _COUNTS.clear()
        _COUNTS[key] = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws).astype(np.float64)
    return _COUNTS[key]
