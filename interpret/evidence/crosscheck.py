"""Do formula, Gaussian process and network tell the same story? Cosines between their gradients on fresh rows."""

from __future__ import annotations

import numpy as np

from interpret.explanation import Array, CrossCheck

#: Rows whose gradient is below this share of the median say nothing of a direction (a saturated classifier).
QUIET = 0.1


def cosines(a: Array, b: Array) -> Array:
    """Cosine of each row of ``a`` (N, d) with the same row of ``b``; NaN where either has no direction."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(norms > 0, np.sum(a * b, axis=1) / norms, np.nan))


def loud(gradients: Array) -> np.ndarray:
    """Rows (N,) whose gradient (N, d) is large enough to have a direction worth comparing."""
    norms = np.linalg.norm(gradients, axis=1)
    positive = norms[np.isfinite(norms) & (norms > 0)]
    if not len(positive):
        return np.zeros(len(norms), dtype=bool)
    return np.asarray(np.isfinite(norms) & (norms > QUIET * np.median(positive)))


def mean_alignment(a: Array, b: Array) -> float:
    """|mean cos| over the rows where both have a direction; NaN where there is none."""
    found = cosines(a, b)
    found = found[np.isfinite(found)]
    return float(abs(found.mean())) if len(found) else float("nan")


def crosscheck(
    network: Array, formula: Array | None, gp_mean: Array | None, residual_r2: float = float("nan")
) -> CrossCheck:
    """Compare gradients (N, d) of the three on the same fresh rows; either of the last two may be missing."""
    rows = loud(network)
    nan = float("nan")
    return CrossCheck(
        formula_network=nan if formula is None else mean_alignment(formula[rows], network[rows]),
        gp_network=nan if gp_mean is None else mean_alignment(gp_mean[rows], network[rows]),
        formula_gp=nan
        if formula is None or gp_mean is None
        else mean_alignment(formula[rows], gp_mean[rows]),
        residual_r2=residual_r2,
    )


def attribution_shares(gradients: Array, points: Array) -> Array:
    """Share (d,) of each input in Σ_i E|∂_i T · x_i|, gradient times input averaged over the rows (N, d)."""
    with np.errstate(invalid="ignore"):
        size = np.nanmean(np.abs(gradients * points), axis=0)
    total = size.sum()
    return size / total if total > 0 and np.isfinite(total) else np.zeros_like(size)
