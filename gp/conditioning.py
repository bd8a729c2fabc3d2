"""From rows to a calibrated posterior: one pass for the sums and a sample, then closed forms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gp.frontier import SAMPLE, FrontierPoint, Sample, choose, curve
from gp.posterior import Posterior, condition, needs_refining
from gp.rows import RowBlock, Rows, held
from gp.sums import Sums
from interpret.errors import TooFewPoints, UsageError

Tensor = torch.Tensor

#: Rows of the GP whose features are kept in memory, as numbers; beyond, they are made anew when they are needed.
HOLD = 2**27
#: A leave-one-out over places solves a system of this size an example at most; beyond, rows are left out singly.
MOST_PLACES = 256
#: Levels at which quantiles of the residuals are kept, and the normal one that 95 % lie within.
LEVELS, NORMAL_95 = 201, 1.959963984540054


@dataclass(frozen=True)
class Pass:
    """What one pass over the rows leaves: the sums, a sample, and the rows if they fit."""

    sums: Sums
    sample: Sample | None
    kept: Rows | None
    examples: int


def gather(blocks: Iterable[RowBlock], center: bool, keep: bool) -> Pass:
    """One pass. ``keep`` holds the rows in memory as long as they fit."""
    sums: Sums | None = None
    sampler, numbers, examples = _Sampler(), 0, 0
    parts: list[RowBlock] = []
    for block in blocks:
        features, targets = block.flat()
        sums = Sums.start(features, targets, center) if sums is None else sums
        sums = (
            sums.add(features, targets)
            if examples
            else Sums.of(features, targets, sums.shift_h, sums.shift_v)
        )
        examples += block.targets.shape[0]
        sampler.add(block)
        numbers += features.numel()
        keep = keep and numbers <= HOLD
        parts = [*parts, block] if keep else []
    if sums is None:
        raise TooFewPoints("the data has no rows")
    kept = held(parts, _step(parts[0])) if keep else None
    return Pass(sums, sampler.sample(examples), kept, examples)


def _step(block: RowBlock) -> int:
    per_example = max(1, block.features.numel() // max(1, len(block.targets)))
    return max(1, 2**20 // per_example)


class _Sampler:
    """Every 2^j-th example, j growing so that at most 2·SAMPLE rows and 2²³ numbers are kept.

    They lie in one buffer: many small tensors that outlive large ones would pin the heap between them.
    """

    def __init__(self) -> None:
        self.stride, self.count, self.most = 1, 0, 0
        self.features, self.targets = torch.empty(0), torch.empty(0)

    def add(self, block: RowBlock) -> None:
        if not self.most:
            self._allocate(block)
        index = torch.arange(
            block.rows.start, block.rows.start + len(block.targets), device=block.targets.device
        )
        chosen = (index % self.stride == 0).nonzero()[:, 0]
        while self.count + len(chosen) > self.most:
            half = -(-self.count // 2)
            self.features[:, :half] = self.features[:, : self.count : 2].clone()
            self.targets[:half] = self.targets[: self.count : 2].clone()
            self.count, self.stride = half, 2 * self.stride
            chosen = (index % self.stride == 0).nonzero()[:, 0]
        here = slice(self.count, self.count + len(chosen))
        self.features[:, here], self.targets[here] = block.features[:, chosen], block.targets[chosen]
        self.count += len(chosen)

    def _allocate(self, block: RowBlock) -> None:
        groups, _, places, width = block.features.shape
        self.most = max(16, min(2 * SAMPLE // places, 2**23 // (groups * places * width)))
        self.features = block.features.new_empty(groups, self.most, places, width)
        self.targets = block.targets.new_empty(self.most, *block.targets.shape[1:])

    def sample(self, examples: int) -> Sample:
        """What was kept."""
        return Sample(self.features[:, : self.count].clone(), self.targets[: self.count].clone(), examples)


def settle(
    made: Pass, metric: str, noise: float | str | Tensor, center: bool
) -> tuple[str, Tensor, tuple[FrontierPoint, ...]]:
    """Metric, noise (G,) and the frontier they were chosen on (empty where the noise was given).

    Raises:
        UsageError: the noise is not a positive number nor a known choice.

    """
    sums = made.sums.centred(center)
    if not isinstance(noise, str):
        values = _level(noise, len(sums.gram)).to(sums.gram.device)
        return ("half" if metric == "auto" else metric), values, ()
    metrics = ["half", "raw", "full"] if metric == "auto" else [metric]
    curves = [curve(sums, name, made.sample) for name in metrics]
    chosen = choose(curves, noise)
    points = [replace(p, chosen=(p.metric, p.noise) == chosen) for c in curves for p in c.points()]
    return chosen[0], torch.full((len(sums.gram),), chosen[1], dtype=torch.float64), tuple(points)


def _level(noise: Any, groups: int) -> Tensor:
    """(G,) from one noise, or one for each group."""
    try:
        values = torch.as_tensor(noise, dtype=torch.float64).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"noise is a positive number or the name of a choice; got {noise!r:.40}") from error
    if not bool((values > 0).all() and torch.isfinite(values).all()):
        raise UsageError(f"noise is a positive number; got {noise}: use a tiny one, such as 1e-12, for none")
    if len(values) not in (1, groups):
        raise UsageError(f"noise is one number, or one for each of {groups} feature maps; got {len(values)}")
    return values.expand(groups).clone()


def fitted(made: Pass, metric: str, noise: Tensor, center: bool, rows: Rows | None) -> Posterior:
    """The posterior at a noise, with the amplitude that its leave-one-out residuals ask for."""
    posterior = condition(made.sums.centred(center), metric, noise)
    if rows is not None and needs_refining(posterior.basis, posterior.noise):
        posterior = posterior.refined(block.flat() for block in rows.blocks())
    return posterior if made.sample is None else calibrated(posterior, made.sample, made.sums.count)


def calibrated(posterior: Posterior, sample: Sample, count: int) -> Posterior:
    """Amplitude τ² and quantiles of the standardised residuals, from examples left out one by one.

    The residual of an example left out is (I − h)⁻¹r over its places, its predicted variance τ²σ² h(I − h)⁻¹ there,
    with h the leverage among the other rows. A deterministic network's residuals are the bias of shrinking and have
    heavier tails than a Gaussian, so τ² is set where 1.96 deviations cover 95 % of them (the ⌈0.95(M+1)⌉-th smallest,
    as in split conformal prediction), and intervals of other levels read the quantiles themselves.
    """
    residual, ratio = left_out(posterior, sample.features, sample.targets, count)
    noisy = (posterior.noise[:, None, None, None] * ratio[..., None]).clamp_min(1e-300)
    scaled = (residual.abs() / noisy.sqrt()).flatten(1, 2).sort(dim=1).values  # (G, R, K)
    rows = scaled.shape[1]
    rank = min(rows, int(np.ceil(0.95 * (rows + 1)))) - 1
    deviation = (scaled[:, rank] / NORMAL_95).clamp_min(1e-150)
    at = torch.linspace(0, rows - 1, LEVELS, device=scaled.device).round().long()
    quantiles = (scaled[:, at] / deviation[:, None]).transpose(1, 2).contiguous()
    return replace(posterior, amplitude=deviation**2, quantiles=quantiles)


def left_out(posterior: Posterior, features: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Leave-one-out residuals (G, n, P, K) and predicted variances over τ²σ² (G, n, P) of training examples.

    Centre and baseline are estimated again without the example; metric, scale and noise stay. With centred features
    that is (I − h − 11ᵀ/M)⁻¹r over the example's places. Without, only the baseline moves, by −Σ(v−b)/(M−P) over them,
    and the prediction follows it by as much as it follows a constant target.
    """
    z = posterior.basis(features)
    groups, n, places, _ = z.shape
    v = targets.reshape(n, places, groups, -1).permute(2, 0, 1, 3).to(z)
    residual = v - posterior.mean(z)
    half = (z.reshape(groups, n * places, -1) @ posterior.root).reshape(groups, n, places, -1)
    single = places > MOST_PLACES
    if single:  # rows are left out one by one
        half, residual = half.reshape(groups, n * places, 1, -1), residual.reshape(groups, n * places, 1, -1)
        v = v.reshape(residual.shape)
    h = half @ half.transpose(-1, -2)
    eye = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
    if bool((posterior.total == 0).all()):
        left = torch.linalg.solve(eye - h - 1 / count, residual)
    else:
        constant = half @ (posterior.total[:, None] @ posterior.root)[:, None].transpose(-1, -2)
        moved = (v - posterior.baseline[:, None, None]).sum(2, keepdim=True) / (count - h.shape[-1])
        left = torch.linalg.solve(eye - h, residual + moved * (1 - constant))
    ratio = torch.linalg.solve(eye - h, h).diagonal(dim1=-2, dim2=-1).clamp_min(1e-300)
    return left.reshape(groups, n, places, -1), ratio.reshape(groups, n, places)


def as_numpy(value: Tensor) -> np.ndarray:
    """On the CPU."""
    return value.detach().cpu().numpy()


def resampled(rows: Rows) -> Sample:
    """A sample from rows that are read again."""
    sampler = _Sampler()
    for block in rows.blocks():
        sampler.add(block)
    return sampler.sample(rows.examples)
