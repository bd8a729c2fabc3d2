"""Formula, Gaussian process and network side by side on rows that neither engine has seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interpret.errors import InterpretError
from interpret.evidence.crosscheck import attribution_shares, cosines, crosscheck, loud
from interpret.evidence.failing import failing_region
from interpret.evidence.formulas import formula_part
from interpret.explanation import Array, CrossCheck, FormulaPart

if TYPE_CHECKING:
    from symbolic import Formula


@dataclass(frozen=True)
class Fresh:
    """Test rows: points (N, d), the neuron's gradients there (N, d), its values (N,)."""

    points: Array
    gradients: Array
    values: Array


def merged(
    formula: Formula | None, fresh: Fresh, gp_mean: Array | None
) -> tuple[FormulaPart | None, CrossCheck | None]:
    """Everything that needs both engines or fresh rows; ``gp_mean`` (N, d) is the gradient of the GP's mean."""
    if formula is None:
        return None, None if gp_mean is None else crosscheck(fresh.gradients, None, gp_mean)
    points, network = _comparable(formula, fresh)
    ours = _gradients(formula, points)
    signed = cosines(ours, network)
    if np.nansum(signed) < 0:
        ours, signed = -ours, -signed
    whole = _gradients(formula, fresh.points)
    check = crosscheck(fresh.gradients, whole, gp_mean)
    known = np.isfinite(signed)
    check = replace(check, formula_network=float(signed[known].mean()) if known.any() else float("nan"))
    part = formula_part(formula, points, network, ours, signed)
    return replace(
        part,
        failing=failing_region(points, signed, formula.names),
        attributions_formula=attribution_shares(ours, points),
        attributions_network=attribution_shares(network, points),
    ), check


def _comparable(formula: Formula, fresh: Fresh) -> tuple[Array, Array]:
    """The rows that the search itself would have kept: same cuts, same projection to the data's manifold."""
    from symbolic import targets

    try:
        kept = targets.build(
            fresh.points, fresh.gradients, fresh.values, names=formula.names, fit_points=len(fresh.points)
        )
    except InterpretError:
        rows = loud(fresh.gradients)
        return fresh.points[rows], fresh.gradients[rows]
    return kept.points, kept.directions


def _gradients(formula: Formula, points: Array) -> Array:
    from symbolic.expression import value_and_gradient

    with np.errstate(all="ignore"):
        return np.asarray(value_and_gradient(formula.tree, points, formula.operators)[1], dtype=np.float64)
