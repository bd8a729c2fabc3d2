"""The frontier and the choice on it.

A longer row must pay for itself. What it gains is measured above the noise floor, which is read off the best row's
residuals: misfit that neighboring points do not share is noise, and following it is worth nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interpret.outcome import CLAIM_MISALIGNMENT
from symbolic.equivalence import same_concept
from symbolic.expression import Tree, constants, expand_terms, value_and_gradient, variables, with_constants
from symbolic.neighborhood import another
from symbolic.scoring import ROUNDING, Scored
from symbolic.targets import Targets

Array = NDArray[np.float64]

#: One more unit of a formula's cost must lower the log of the misalignment above the noise by this much.
PRICE = 0.2
#: A formula of at most this cost is short.
SHORT = 20.0
#: Gains within this share of the noise floor are not gains.
NOISE_SHARE = 0.03
#: Where nothing can be claimed, the shortest row within this factor of the best is shown.
NEARLY_BEST = 1.25
#: Rows within this of the best price may still be chosen, once their constants are snapped; so many are looked at.
CLOSE, CONTENDERS = 1.5, 3
#: A formula that costs this much more than the chosen one is no rival: it only has more to fit with.
LIKE_LENGTH = 9.0


def frontier(rows: Sequence[Scored]) -> list[Scored]:
    """Rows that no cheaper row matches on held-out points, cheapest first."""
    kept: list[Scored] = []
    for row in sorted(rows, key=lambda r: (r.cost, r.held_out, r.complexity)):
        last = np.inf if not kept else kept[-1].held_out
        if last > ROUNDING and row.held_out < 0.999 * last:
            kept.append(row)
    return kept


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


def prices(rows: Sequence[Scored], targets: Targets) -> Array:
    """What the choice weighs (n,): the log of the misalignment above the noise, and the cost."""
    best = min(rows, key=lambda row: row.held_out)
    noise = noise_floor(best, targets)
    least = max(ROUNDING, NOISE_SHARE * noise)
    return np.array([np.log(max(row.held_out - noise, least)) + PRICE * row.cost for row in rows])


def choose(rows: Sequence[Scored], targets: Targets) -> int:
    """The position of the row that pays for its length."""
    price = prices(rows, targets)
    at = int(np.argmin(price))
    if rows[at].held_out < CLAIM_MISALIGNMENT:
        return at
    # A row that can be claimed, if there is a short one, says more than a shorter row that cannot.
    short = np.array([row.held_out < CLAIM_MISALIGNMENT and row.cost <= SHORT for row in rows])
    if short.any():
        return int(np.argmin(np.where(short, price, np.inf)))
    unclaimed = [k for k, row in enumerate(rows) if row.held_out >= CLAIM_MISALIGNMENT]
    least = min(rows[k].held_out for k in unclaimed)
    close = [k for k in unclaimed if rows[k].held_out <= NEARLY_BEST * least]
    return min(close, key=lambda k: (rows[k].cost, rows[k].held_out))


def contenders(rows: Sequence[Scored], targets: Targets) -> list[Scored]:
    """The row that would be chosen, and those whose price comes near its own."""
    price = prices(rows, targets)
    first = choose(rows, targets)
    near = [k for k in np.argsort(price, kind="stable") if price[k] < price[first] + CLOSE and k != first]
    return [rows[first], *(rows[k] for k in near[: CONTENDERS - 1])]


def alternatives(rows: Sequence[Scored], chosen: Scored, targets: Targets) -> list[Scored]:
    """Rows that the held-out points cannot tell from the chosen one, cheapest first: the paired difference is within
    its noise. Other ways to write the chosen concept are none.
    """
    found = []
    points = targets.points[targets.held_out]
    for row in sorted(rows, key=lambda r: (r.cost, r.held_out)):
        if row.tree == chosen.tree:
            continue
        difference = row.losses - chosen.losses
        error = difference.std() / np.sqrt(len(difference))
        if difference.mean() > max(2 * error, 0.02 * chosen.held_out, ROUNDING):
            continue
        if not same_concept(row.tree, chosen.tree, points, row.candidate.user or None):
            found.append(row)
    return found


def rivals(others: Sequence[Scored], chosen: Scored) -> list[Scored]:
    """Alternatives of like length that are more than the chosen formula with terms added."""
    own, longest = _shapes(chosen.tree), chosen.cost + LIKE_LENGTH
    return [row for row in others if row.cost <= longest and own - _shapes(row.tree)]


def _shapes(tree: Tree) -> Counter[Tree]:
    """The terms of the outermost sum, whatever their constants."""
    found = [feature for _, feature in expand_terms(tree) if variables(feature)]
    return Counter(with_constants(feature, np.ones(len(constants(feature)))) for feature in found)
