"""From rows to a calibrated posterior: one pass for the sums and a sample, then closed forms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gp.frontier import SAMPLE, FrontierPoint, Sample, choose, curve
from gp.posterior import Posterior, condition, needs_refining
from gp.rows import Kept, RowBlock, Rows, held
from gp.sums import Sums
from interpret.errors import TooFewPoints, UsageError

Tensor = torch.Tensor

#: Rows of the GP whose features are kept in memory, as numbers; beyond, they are made anew when they are needed.
HOLD = 2**27
#: A leave-one-out over places solves a system of this size an example at most; beyond, rows are left out singly.
MOST_PLACES = 256
#: Levels at which quantiles of the residuals are kept, and the normal one that 95 % lie within.
LEVELS, NORMAL_95 = 201, 1.959963984540054
#: Degrees of freedom and directions, as a share of the rows, from which on the fit hangs on every single row.
NEAR = 0.9


@dataclass(frozen=True)
class Pass:
    """What one pass over the rows leaves: the sums, a sample, and the rows if they fit.

    Where the feature map was trained, ``held`` (M,) says which examples it has not seen, and ``unseen`` is a sample of
    these alone: residuals of rows that the map was fitted to are smaller than those of a query.
    """

    sums: Sums
    sample: Sample | None
    kept: Rows | None
    examples: int
    held: Tensor | None = None
    unseen: Sample | None = None


def gather(blocks: Iterable[RowBlock], center: bool, keep: bool, seen: np.ndarray | None = None) -> Pass:
    """One pass. ``keep`` holds the rows in memory as long as they fit; ``seen`` are those the map was trained on."""
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
    made = Pass(sums, sampler.sample(examples), kept, examples)
    if seen is None:
        return made
    mask = torch.ones(examples, dtype=torch.bool)
    mask[torch.from_numpy(seen)] = False
    return replace(made, held=mask)


def with_unseen(made: Pass, rows: Rows) -> Pass:
    """The pass with a sample of the examples that the feature map was not trained on, if there are any."""
    if made.held is None or not bool(made.held.any()):
        return made
    return replace(made, unseen=resampled(Kept(rows, made.held)))


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
        if metric == "auto":
            here = np.array([float(values.mean())])
            metric, _ = choose([curve(sums, name, made.sample, here) for name in ("half", "raw", "full")])
        return metric, values, ()
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
    """The posterior at a noise, with the amplitude that its leave-one-out residuals ask for.

    Residuals are those of examples that the feature map has not seen in training, where it was trained.
    """
    posterior = condition(made.sums.centred(center), metric, noise)
    if rows is not None and needs_refining(posterior.basis, posterior.noise):
        posterior = posterior.refined(block.flat() for block in rows.blocks())
    sample = made.unseen if made.unseen is not None else made.sample
    return posterior if sample is None else calibrated(posterior, sample, made.sums.count)


def calibrated(posterior: Posterior, sample: Sample, count: int) -> Posterior:
    """Amplitude τ² and quantiles of the standardised residuals, from examples left out one by one.

    Residual and predicted variance of an example left out are those of ``left_out``: centre, baseline and
    posterior made again without it. A deterministic network's residuals are the bias of shrinking and have heavier
    tails than a Gaussian, so τ² is set where 1.96 deviations cover 95 % of them (the ⌈0.95(M+1)⌉-th smallest, as in
    split conformal prediction), and intervals of other levels read the quantiles themselves.

    Where the rows only just span their space (``crowded``), a row left out lies in a direction that no other has,
    and a query does not: the variance it is measured by is then the one that the whole posterior has at it. That is
    less than at a query, so intervals come out too wide rather than too narrow.
    """
    residual, ratio = left_out(posterior, sample.features, sample.targets, count)
    tight = crowded(posterior, count)
    if bool(tight.any()):
        inside = posterior.spread(posterior.basis(sample.features))
        ratio = torch.where(tight[:, None, None], inside.clamp_min(1e-300), ratio)
    noisy = (posterior.noise[:, None, None, None] * ratio[..., None]).clamp_min(1e-300)
    scaled = (residual.abs() / noisy.sqrt()).flatten(1, 2).sort(dim=1).values  # (G, R, K)
    rows = scaled.shape[1]
    rank = min(rows, int(np.ceil(0.95 * (rows + 1)))) - 1
    deviation = (scaled[:, rank] / NORMAL_95).clamp_min(1e-150)
    at = torch.linspace(0, rows - 1, LEVELS, device=scaled.device).round().long()
    quantiles = (scaled[:, at] / deviation[:, None]).transpose(1, 2).contiguous()
    return replace(posterior, amplitude=deviation**2, quantiles=quantiles)


def crowded(posterior: Posterior, count: int) -> Tensor:
    """(G,) whether the rows span all directions and not one row could be spared, at a noise too small to matter.

    There the fit with all rows knows every direction, the one with a row less does not.
    """
    centred = int(bool((posterior.total == 0).all()))
    if count - centred != posterior.basis.eigenvalues.shape[-1]:
        return torch.zeros(len(posterior.noise), dtype=torch.bool, device=posterior.noise.device)
    values = posterior.basis.eigenvalues
    return values.amin(-1) > torch.maximum(posterior.noise, 1e-13 * values.amax(-1))


def cautions(posterior: Posterior, count: int) -> tuple[str, ...]:
    """A sentence for the reader where intervals cannot be trusted: about as many rows as directions, next to no noise.

    Errors there grow without bound, and no row left out shows it: one row more or less changes the whole fit.
    """
    values = posterior.basis.eigenvalues
    freedom = float((values / (values + posterior.noise[:, None])).sum(-1).max())
    freedom += int(bool((posterior.total == 0).all()))
    if freedom < NEAR * count or NEAR * values.shape[-1] > count:
        return ()
    return (
        f"There are {count} rows for {values.shape[-1]} feature directions and next to no noise: the fit hangs on "
        f"every single row, and intervals say little; use more noise (noise='auto') or more rows.",
    )


def left_out(posterior: Posterior, features: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Leave-one-out residuals (G, n, P, K) and predicted variances over τ²σ² (G, n, P) of training examples.

    Centre and baseline are estimated again without the example; metric, scale and noise stay. With z the example's
    rows (P of them, among M), h = zA⁻¹zᵀ their leverage, A = ZᵀZ + σ²I and C = I + 11ᵀ/(M − P), whose inverse is
    I − 11ᵀ/M: about the new centre they are Cz, and A becomes A − zᵀCz. So residuals are (C⁻¹ − h)⁻¹r and the
    variance is C h (C⁻¹ − h)⁻¹; for one row r/(1 − 1/M − h) and (M/(M−1))² h / (1 − Mh/(M−1)).

    Uncentred features do not move (C = I). Only the baseline does, by −Σ(v−b)/(M−P) over the rows, and the prediction
    follows it by as much as it follows a constant target.
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
    rows = h.shape[-1]
    eye = torch.eye(rows, dtype=h.dtype, device=h.device)
    if bool((posterior.total == 0).all()):
        kept, moved_by = eye - h - 1 / count, eye + 1 / max(1, count - rows)
        left = torch.linalg.solve(kept, residual)
        ratio = (moved_by * torch.linalg.solve(kept, h)).sum(-1)
    else:
        constant = half @ (posterior.total[:, None] @ posterior.root)[:, None].transpose(-1, -2)
        moved = (v - posterior.baseline[:, None, None]).sum(2, keepdim=True) / (count - rows)
        left = torch.linalg.solve(eye - h, residual + moved * (1 - constant))
        ratio = torch.linalg.solve(eye - h, h).diagonal(dim1=-2, dim2=-1)
    return left.reshape(groups, n, places, -1), ratio.clamp_min(1e-300).reshape(groups, n, places)


def as_numpy(value: Tensor) -> np.ndarray:
    """On the CPU."""
    return value.detach().cpu().numpy()


def resampled(rows: Rows) -> Sample:
    """A sample from rows that are read again."""
    sampler = _Sampler()
    for block in rows.blocks():
        sampler.add(block)
    return sampler.sample(rows.examples)
