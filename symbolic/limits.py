"""What a polished formula has become: kinks in their places; a function so little bent that it is its argument; two
waves that are one.

With exp free, x² is found as exp(ε·x²)/ε, ε → 0, as well; with waves free, sin(kx + δ) as A·sin kx + B·cos kx.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from symbolic import kinks
from symbolic.expression import Apply, Constant, Tree, linear, value_and_gradient, variables
from symbolic.polish import Candidate, Field, candidate, polish
from symbolic.simplify import tidy as simplified

Array = NDArray[np.float64]

#: A function whose slope varies by less than this share over the points may be its argument.
STRAIGHT = 0.02
#: The loss may grow by this factor, or stay below rounding.
ALLOWED, ROUNDING = 1.05, 1e-12
_QUARTER = {"sin": 0.0, "cos": 0.5 * np.pi}


def settle(found: Candidate, field_: Field, loss: float) -> tuple[Candidate, float]:
    """The candidate with kinks moved to where they fit, straight functions taken off and split waves joined, where the
    loss allows it.
    """
    found, loss = kinks.settle(found, field_, loss)
    for shorter in (_unbent, _joined):
        start = shorter(found, field_)
        if start is None:
            continue
        better, new = polish(start, field_, rounds=8)
        if new <= max(ALLOWED * loss, ROUNDING):
            found, loss = better, new
    return found, loss


def _unbent(found: Candidate, field_: Field) -> Candidate | None:
    """Features f(a) whose slope f'(a) hardly varies replaced by a; None where there is none."""
    coefficients, features, changed = [], [], False
    for c, feature in zip(found.coefficients, found.features, strict=True):
        slope = _slope(feature, field_)
        if slope is not None:
            assert isinstance(feature, Apply)
            c, feature, changed = c * slope, feature.args[0], True
        coefficients.append(c)
        features.append(feature)
    return candidate(linear(coefficients, features), found.user) if changed else None


def _slope(feature: Tree, field_: Field) -> float | None:
    """The mean of f'(a) where it is all but constant."""
    if not isinstance(feature, Apply) or len(feature.args) != 1 or feature.name == "neg":
        return None
    inner = feature.args[0]
    if not variables(inner):
        return None
    outside, inside = field_.feature(feature), field_.feature(inner)
    with np.errstate(all="ignore"):
        slope = (outside * inside).sum(-1) / (inside**2).sum(-1)
    slope = slope[np.isfinite(slope)]
    if len(slope) < 8 or not np.ptp(slope) < STRAIGHT * abs(slope.mean()):
        return None
    return float(slope.mean())


def _joined(found: Candidate, field_: Field) -> Candidate | None:
    """The first two waves of one argument, up to a shift, written as one; None where there are none."""
    waves = [
        (k, b) for k, b in enumerate(found.features) if isinstance(b, Apply) and b.name in ("sin", "cos")
    ]
    for (k, first), (j, second) in combinations(waves, 2):
        shift = _shift(first.args[0], second.args[0], field_)
        if shift is None:
            continue
        # A·sin(u + α) as the complex number A·exp(iα).
        turns = (_QUARTER[first.name], _QUARTER[second.name] + shift)
        sizes = (found.coefficients[k], found.coefficients[j])
        both = sum(size * np.exp(1j * turn) for size, turn in zip(sizes, turns, strict=True))
        inside = simplified(Apply("+", (first.args[0], Constant(float(np.angle(both))))), found.user)
        rest = [i for i in range(len(found.features)) if i not in (k, j)]
        coefficients = [float(np.abs(both)), *(found.coefficients[i] for i in rest)]
        return candidate(
            linear(coefficients, [Apply("sin", (inside,)), *(found.features[i] for i in rest)]), found.user
        )
    return None


def _shift(a: Tree, b: Tree, field_: Field) -> float | None:
    """The constant b − a, where it is one."""
    points = field_.targets.points[field_.rows]
    with np.errstate(all="ignore"):
        first, second = (value_and_gradient(tree, points, field_.user or None)[0] for tree in (a, b))
    apart = second - first
    return float(apart.mean()) if np.ptp(apart) < 0.05 else None
