"""The frontier and the choice on it: every row is polished, rounded, and scored as printed on held-out points.

A more complex row must pay for itself. What it gains is measured above the noise floor, which is read off the best
row's residuals: misfit that neighboring points do not share is noise, and following it is worth nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpret.outcome import CLAIM_MISALIGNMENT
from symbolic import gram
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
from symbolic.neighborhood import another
from symbolic.operators import Operator
from symbolic.polish import Candidate, Field, candidate, polish, prune
from symbolic.simplify import tidy as simplified
from symbolic.sizes import cost
from symbolic.targets import Targets

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Numbers are printed with this many significant digits, and scored as printed.
DIGITS = 7
#: One more node of a formula must lower the log of the misalignment above the noise by this much.
PRICE = 0.2
#: A formula of at most this cost is short.
SHORT = 20.0
#: Misalignments below this are equal: they are rounding of the printed constants.
ROUNDING = 1e-11
#: Gains within this share of the noise floor are not gains.
NOISE_SHARE = 0.03


@dataclass(frozen=True)
class Scored:
    """A row of the frontier: the formula as printed and its misalignments 1 − |mean cos|.

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


def score(
    trees: Iterable[Tree],
    targets: Targets,
    user: tuple[Operator, ...] = (),
    deadline: float | None = None,
    most: tuple[int, int] = (10, 30),
) -> list[Scored]:
    """Polish, round and score trees; returns the frontier, simplest first.

    ``most`` bounds terms and complexity. After the ``deadline`` (a reading of
    `time.monotonic`) the remaining trees are scored without polish, and a second later no more.
    """
    field_ = Field(targets, targets.fit, user)
    rows: list[Scored] = []
    seen: set[Tree] = set()
    for tree in trees:
        found = candidate(tree, user)
        if found is None or len(found.features) > most[0]:
            continue
        with np.errstate(all="ignore"):
            late = 0.0 if deadline is None else time.monotonic() - deadline
            if late > 1 and rows:
                break
            if late <= 0:
                found, loss = polish(found, field_)
                if not np.isfinite(loss):
                    continue
                found, loss = prune(found, field_, loss)
            row = row_of(plain(found, field_, targets), targets)
        if row is not None and row.complexity <= most[1] and row.tree not in seen:
            seen.add(row.tree)
            rows.append(row)
    return frontier(rows)


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


def plain(found: Candidate, field_: Field, targets: Targets) -> Candidate:
    """The candidate as it is printed: outer monotone functions stripped, simplified, tidy."""
    if len(found.features) == 1:
        inner = candidate(strip_outer(found.features[0], targets.points, found.user).tree, found.user)
        found = inner or found
    found = tidy(found, field_)
    features = tuple(simplified(tree, found.user) for tree in found.features)
    again = candidate(linear(found.coefficients, features), found.user)
    return found if again is None else again


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


def frontier(rows: Sequence[Scored]) -> list[Scored]:
    """Rows that no cheaper row beats on the fitted points, simplest first."""
    kept: list[Scored] = []
    for row in sorted(rows, key=lambda r: (r.cost, r.fitted)):
        if not kept or row.fitted < kept[-1].fitted * 0.999:
            kept.append(row)
    return sorted(kept, key=lambda r: (r.complexity, r.held_out))


def noise_floor(row: Scored, targets: Targets) -> float:
    """The part of a row's misalignment that neighboring points do not share: the nugget of its residuals."""
    rows = targets.held_out
    gradient = value_and_gradient(row.tree, targets.points[rows], row.candidate.user or None)[1]
    field_ = targets.project(gradient[None], rows)[0]
    length = np.linalg.norm(field_, axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        t = field_ / length
    u = targets.directions[rows]
    sign = 1.0 if (t * u).sum() >= 0 else -1.0
    residual = np.where(np.isfinite(t), u - sign * t, 0.0)
    total = (residual**2).sum(1).mean()
    if total <= 0 or len(residual) < 8:
        return 0.0
    spread = targets.points[rows].std(0)
    scaled = targets.points[rows] / np.where(spread > 0, spread, 1.0)
    near = another(scaled)
    shared = (residual * residual[near]).sum(1).mean() / total
    # Residuals that share less than this are as good as independent in samples of this size.
    return row.held_out * float(np.clip(1 - 2 * max(shared - 2 / np.sqrt(len(residual)), 0.0), 0.0, 1.0))


def choose(rows: Sequence[Scored], targets: Targets) -> int:
    """The position of the row that pays for its complexity."""
    best = min(rows, key=lambda row: row.held_out)
    noise = noise_floor(best, targets)
    least = max(ROUNDING, NOISE_SHARE * noise)
    price = np.array([np.log(max(row.held_out - noise, least)) + PRICE * row.cost for row in rows])
    at = int(np.argmin(price))
    # A row that can be claimed, if there is a short one, says more than a shorter row that cannot.
    short = np.array([row.held_out < CLAIM_MISALIGNMENT and row.cost <= SHORT for row in rows])
    if rows[at].held_out >= CLAIM_MISALIGNMENT and short.any():
        at = int(np.argmin(np.where(short, price, np.inf)))
    return at


def alternatives(rows: Sequence[Scored], chosen: Scored) -> list[Scored]:
    """Rows that the held-out points cannot tell from the chosen one: the paired difference is within its noise."""
    found = []
    for row in rows:
        if row is chosen:
            continue
        difference = row.losses - chosen.losses
        error = difference.std() / np.sqrt(len(difference))
        if difference.mean() <= max(2 * error, 0.02 * chosen.held_out, ROUNDING):
            found.append(row)
    return found
