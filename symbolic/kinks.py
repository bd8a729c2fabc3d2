"""Where an absolute value has its kink: a constant that no slope leads to, found by looking at the gaps between points.

∇|a + c| changes only where a point passes from one side to the other, so that the misalignment is a step function of
c. It is read at places all over the data, then in every gap around the best; in the gap the shortest number is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from symbolic import gram
from symbolic.expression import Apply, Constant, Tree, constants, evaluate, nodes, with_constants
from symbolic.polish import Candidate, Field, polish
from symbolic.printing import round_constant

Array = NDArray[np.float64]

#: Places looked at first.
PLACES = 24
#: Rounds of looking and polishing.
ROUNDS = 2
#: A kink stands well where the misalignment is below this.
NOTHING_LEFT = 1e-10


def settle(found: Candidate, field_: Field, loss: float) -> tuple[Candidate, float]:
    """The candidate with its kinks where they fit best, and its misalignment; as it came where nothing is gained."""
    for _ in range(ROUNDS):
        if loss < NOTHING_LEFT:
            break
        began = loss
        for k, feature in enumerate(found.features):
            for at, place in kinks(feature):
                found, loss = _moved(found, field_, loss, k, at, place)
        if not loss < began:
            break
    return found, loss


def kinks(feature: Tree) -> list[tuple[int, Tree]]:
    """For every |a + c| and |a − c| in a feature the position of c among its constants, and what c is at the kink."""
    listed = [node for node in nodes(feature) if isinstance(node, Constant)]
    found: list[tuple[int, Tree]] = []
    for node in nodes(feature):
        if not (isinstance(node, Apply) and node.name == "abs" and isinstance(node.args[0], Apply)):
            continue
        name, args = node.args[0].name, node.args[0].args
        if name not in ("+", "-"):
            continue
        for c, inner in (args, args[::-1]):
            if isinstance(c, Constant) and not isinstance(inner, Constant):
                at = next(i for i, leaf in enumerate(listed) if leaf is c)
                found.append((at, Apply("neg", (inner,)) if name == "+" else inner))
    return found


def _moved(
    found: Candidate, field_: Field, loss: float, k: int, at: int, place: Tree
) -> tuple[Candidate, float]:
    """The candidate with one kink moved to the best gap between the points' values of ``place``, polished."""
    values = np.unique(evaluate(place, field_.targets.points[field_.rows], found.user or None))
    if len(values) < 8 or not np.isfinite(values).all():
        return found, loss
    low, high = values[:-1], values[1:]
    gaps = np.unique(np.linspace(0, len(low) - 1, PLACES).astype(int))
    for _ in range(2):
        losses, _ = _refitted(found, field_, k, at, [0.5 * float(low[i] + high[i]) for i in gaps])
        best = int(np.argmin(losses))
        around = gaps[max(best - 1, 0)], gaps[min(best + 1, len(gaps) - 1)]
        gap, gaps = gaps[best], np.arange(around[0], around[1] + 1)
    middle = 0.5 * float(low[gap] + high[gap])
    # Nearly the whole gap: no point of it tells its numbers apart, but at a point itself the kink has no slope.
    reach = 0.49 * float(high[gap] - low[gap])
    short = round_constant(middle, low=middle - reach, high=middle + reach)
    losses, (moved,) = _refitted(found, field_, k, at, [short])
    if not np.isfinite(losses[0]):
        return found, loss
    better, new = polish(moved, field_, rounds=8)
    return (better, new) if new < loss else (found, loss)


def _refitted(
    found: Candidate, field_: Field, k: int, at: int, places: Sequence[float]
) -> tuple[Array, list[Candidate]]:
    """The candidate with one constant of feature k at each place, coefficients solved for again; losses (M,)."""
    changed = []
    for place in places:
        values = list(constants(found.features[k]))
        values[at] = place
        changed.append(with_constants(found.features[k], values))
    # Not by way of the field's own store: places that are only looked at would fill it.
    apart = Field(field_.targets, field_.rows, field_.user)
    turned = np.array([[field_.feature(tree) for tree in found.features]] * len(places))
    turned[:, k] = [apart.feature(tree) for tree in changed]
    finite = np.isfinite(turned).all((1, 2, 3))
    losses = np.full(len(places), np.inf)
    coefficients = np.tile(found.coefficients, (len(places), 1))
    if finite.any():
        solved = gram.solve(turned[finite], rounds=3, several=True)
        losses[finite], coefficients[finite] = solved.misalignment, solved.coefficients
    return losses, [
        replace(
            found,
            features=(*found.features[:k], tree, *found.features[k + 1 :]),
            coefficients=tuple(float(c) for c in row),
        )
        for tree, row in zip(changed, coefficients, strict=True)
    ]
