"""Which noise, which metric: fidelity against cancellation, in closed form along the eigenvalues.

At every noise the fit is a division by eigenvalue plus noise, so a whole grid costs what one costs. Fidelity is the
generalised cross-validation R² (Golub, Heath & Wahba 1979: leave-one-out with the mean leverage, from the sums
alone), cancellation Σ|c|/max(|Σc|, s) is taken on a sample of rows. The noise chosen is the one with the least
cancellation among those that keep the fidelity within tolerance: matching alone is reached at any tiny noise, with
contributions that are large numbers and cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gp.posterior import Basis, basis
from gp.sums import Centred
from interpret.errors import UsageError

Tensor = torch.Tensor

#: Unexplained variance that is bought for cleaner contributions: absolute, and as a share of the least there is.
TOLERANCE, SHARE = 3e-5, 0.05
#: Queries, examples in a sample, and those of them beside which cancellation is measured.
QUERIES, SAMPLE, BESIDE = 64, 4096, 2048
#: Share of the largest eigenvalue, and of the targets' square, below which there is rounding only.
SEEN = 1e-13
CHOICES = ("auto", "likelihood", "loo")


@dataclass(frozen=True)
class Sample:
    """A strided sample of the training examples: raw features (G, S, P, D) and targets (S, P, C), of ``examples``."""

    features: Tensor
    targets: Tensor
    examples: int


@dataclass(frozen=True)
class FrontierPoint:
    """One noise under one metric. ``r2`` is the least of the heads, cancellation a median over rows and heads."""

    metric: str
    noise: float
    r2: float
    cancellation: float
    likelihood: float
    chosen: bool = False


@dataclass(frozen=True)
class Curve:
    """The grid under one metric: (J,) noises; r2 (J, C), cancellation (J,), likelihood (J,)."""

    metric: str
    noise: np.ndarray
    r2: np.ndarray
    cancellation: np.ndarray
    likelihood: np.ndarray

    def points(self) -> list[FrontierPoint]:
        """As rows."""
        worst = self.r2.min(1)
        columns = zip(self.noise, worst, self.cancellation, self.likelihood, strict=True)
        return [FrontierPoint(self.metric, float(a), float(b), float(c), float(d)) for a, b, c, d in columns]


def grid(examples: int) -> np.ndarray:
    """Noises, four a decade, from the deterministic case up to as much noise as there are examples."""
    top = 4 * np.log10(max(examples, 10))
    return 10.0 ** (np.arange(-32, int(np.ceil(top)) + 1) / 4)


def curve(sums: Centred, metric: str, sample: Sample | None, noises: np.ndarray | None = None) -> Curve:
    """Fidelity, cancellation and marginal likelihood at every noise of the grid under one metric."""
    turned = basis(sums, metric)
    noises = grid(sums.count) if noises is None else noises
    noise = torch.from_numpy(noises).to(sums.gram)
    values = turned.eigenvalues
    cross = turned.rotation.transpose(1, 2) @ sums.cross
    shrunk = values[None] + noise[:, None, None]  # (J, G, E)
    square = sums.square.clamp_min(1e-300)
    residual, left = _left_over(values, cross, square, noise, sums.count)
    r2 = 1 - _sharpened(sums, sample) * residual / left[..., None] ** 2 / square
    likelihood = _likelihood(sums, cross, shrunk, noise)
    cancellation = np.full(len(noises), np.nan)
    if sample is not None:
        cancellation = _cancellation(turned, sums, cross, noise, sample)
    return Curve(metric, noises, r2.flatten(1).cpu().numpy(), cancellation, likelihood.cpu().numpy())


def _left_over(
    values: Tensor, cross: Tensor, square: Tensor, noise: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Squared residuals (J, G, K) and the share of the rows' freedom that is left (J, G), at each noise.

    Each is a sum of what the noise leaves of every direction. With as many directions as rows both vanish with the
    noise, and one minus what is used would be rounding over rounding.
    """
    seen = values > SEEN * values.amax(-1, keepdim=True)
    kept = torch.where(seen, noise[:, None, None] / (values + noise[:, None, None]), 0)  # (J, G, E)
    part = torch.where(seen[..., None], cross**2 / values.clamp_min(1e-300)[..., None], 0)
    outside = square - part.sum(1)
    outside = torch.where(outside > SEEN * square, outside, 0)
    residual = outside + (part * kept[..., None] ** 2).sum(2)
    left = (count - 1 - seen.sum(-1) + kept.sum(-1)) / count
    return residual, left.clamp_min(1e-12)


def _sharpened(sums: Centred, sample: Sample | None) -> Tensor:
    """(G, K) variance over all places beside that at an ordinary place: fidelity is asked for place by place."""
    if sample is None or sample.targets.shape[1] == 1 or len(sample.targets) < 2:
        return torch.ones_like(sums.square)
    inside = sample.targets.var(0)  # (P, C)
    lower = inside.quantile(0.25, dim=0).reshape(sums.square.shape).to(sums.square)
    whole = sums.square / sums.count
    ratio: Tensor = whole / torch.maximum(lower, 1e-3 * whole).clamp_min(1e-300)
    return ratio.clamp_min(1)


def _likelihood(sums: Centred, cross: Tensor, shrunk: Tensor, noise: Tensor) -> Tensor:
    """Log marginal likelihood (J,), summed over heads, each with its best amplitude."""
    count = sums.count
    null = count - shrunk.shape[-1]
    logdet = shrunk.log().sum(-1) + null * noise.log()[:, None]
    fit = (sums.square - (cross**2 / shrunk[..., None]).sum(2)).clamp_min(1e-300) / noise[:, None, None]
    amplitude = (fit / count).clamp_min(1e-300)
    each = -0.5 * (count * amplitude.log() + logdet[..., None] + count * (1 + np.log(2 * np.pi)))
    whole: Tensor = each.flatten(1).sum(1)
    return whole


def _cancellation(turned: Basis, sums: Centred, cross: Tensor, noise: Tensor, sample: Sample) -> np.ndarray:
    """Median over sampled queries and heads of Σ|c| / max(|Σc|, s), at each noise."""
    some = max(1, -(-len(sample.targets) // BESIDE))
    z, targets = turned(sample.features[:, ::some]), sample.targets[::some]
    groups, examples, places, width = z.shape
    channels = targets.shape[-1] // groups
    flat_z = z.reshape(groups, -1, width)
    v = targets.reshape(-1, groups, channels).permute(1, 0, 2) - sums.mean_v[:, None]
    v = v.to(flat_z)
    index = torch.linspace(0, flat_z.shape[1] - 1, min(QUERIES, flat_z.shape[1]), device=z.device).long()
    kernel = flat_z[:, index] @ flat_z.transpose(1, 2)  # (G, Q, R)
    weight = sample.examples / examples
    spread = (sums.square / sums.count).sqrt()[:, None]
    medians, sizes = [], kernel.abs()
    for level in noise:
        w = cross / (turned.eigenvalues + level)[..., None]
        alpha = (v - flat_z @ w) / level
        total = (flat_z[:, index] @ w).abs()
        if places == 1:
            size = sizes @ alpha.abs()
        else:
            size = _by_example(kernel, alpha, examples)
        medians.append(float((weight * size / torch.maximum(total, spread.to(total))).median()))
    return np.array(medians)


def _by_example(kernel: Tensor, alpha: Tensor, examples: int) -> Tensor:
    """(G, Q, K) sums over examples of |Σ_places c|."""
    groups, queries, _ = kernel.shape
    sizes = []
    for k in range(alpha.shape[-1]):
        c = (kernel * alpha[:, None, :, k]).reshape(groups, queries, examples, -1).sum(-1)
        sizes.append(c.abs().sum(-1))
    return torch.stack(sizes, -1)


def choose(curves: list[Curve], how: str = "auto", tolerance: float = TOLERANCE) -> tuple[str, float]:
    """Metric and noise: least cancellation within tolerance (``auto``), most likely, or best left out (``loo``).

    Raises:
        UsageError: another word.

    """
    if how not in CHOICES:
        raise UsageError(f"noise is a positive number or one of {', '.join(CHOICES)}; got {how!r:.40}")
    best = max(float(np.nanmean(c.r2, axis=1).max()) for c in curves)
    candidates: list[tuple[float, float, str, float]] = []
    for c in curves:
        mean, worst = np.nanmean(c.r2, axis=1), c.r2.min(axis=1)
        if how == "likelihood":
            at = int(np.nanargmax(c.likelihood))
            candidates.append((-float(c.likelihood[at]), 0.0, c.metric, float(c.noise[at])))
            continue
        if how == "loo":
            at = int(np.nanargmax(mean))
            candidates.append((-float(mean[at]), 0.0, c.metric, float(c.noise[at])))
            continue
        if (1 - mean.max()) > (1 - best) * (1 + SHARE) + tolerance:
            continue  # a metric that cannot match as closely is out; noise is judged by its own metric's best
        allowed = (1 - mean) <= (1 - mean.max()) * (1 + SHARE) + tolerance
        allowed &= (1 - worst) <= (1 - worst.max()) * (1 + SHARE) + 2 * tolerance
        if not allowed.any():
            allowed = mean >= mean.max()
        at = _least(np.where(allowed, c.cancellation, np.inf), allowed)
        candidates.append((float(c.cancellation[at]), -float(mean[at]), c.metric, float(c.noise[at])))
    return _preferred(candidates) if how == "auto" else min(candidates)[2:]


def _least(cancellation: np.ndarray, allowed: np.ndarray) -> int:
    """The largest noise whose cancellation is the least to within two percent; without a sample the largest allowed."""
    if np.isnan(cancellation[allowed]).all():
        return int(np.flatnonzero(allowed)[-1])
    near = allowed & (cancellation <= 1.02 * np.nanmin(cancellation))
    return int(np.flatnonzero(near)[-1])


def _preferred(candidates: list[tuple[float, float, str, float]]) -> tuple[str, float]:
    """The first metric given stays unless another cancels less by a fifth."""
    first = candidates[0]
    other = min(candidates)
    chosen = other if other[0] < 0.8 * first[0] else first
    return chosen[2], chosen[3]
