"""How faithful the GP is to the submodule, how far its contributions cancel, and how unusual a query is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gp.conditioning import as_numpy, left_out
from gp.kernels import Array, by_row, double

if TYPE_CHECKING:
    import pandas as pd

    from gp.distillation import Distillation

#: Rows on which cancellation is measured, and the number of kernel values that may cost.
ROWS, WORK = 512, 3 * 10**8


@dataclass(frozen=True)
class Observed:
    """Predictions beside the submodule's own: outputs and mean (N, O); latents, their means and variances (N, L)."""

    output: Array
    mean: Array
    truth: Array
    latent: Array
    variance: Array


def observe(d: Distillation, X: Any) -> Observed:
    """One run of the model over X for both."""
    outputs, truths, latents, variances = [], [], [], []
    for block in d.run(X):
        mean, variance = d.at(block.features)
        outputs.append(as_numpy(by_row(double(block.outputs))))
        truths.append(as_numpy(block.targets[:, d.heads.place, d.heads.channel]))
        latents.append(as_numpy(mean))
        variances.append(as_numpy(variance))
    output, truth = np.concatenate(outputs), np.concatenate(truths)
    latent, spread = np.concatenate(latents), np.concatenate(variances)
    made = d._prediction(latent, spread, X).mean.reshape(len(output), -1)
    return Observed(output, made, truth, latent, spread)


def fidelity(d: Distillation, X: Any) -> pd.DataFrame:
    """See ``gp.distillation.Distillation.fidelity``."""
    import pandas as pd

    seen = observe(d, X)
    size, total = cancellation(d, X, len(seen.output))
    spread = deviations(d)
    # A head that is constant has no contributions: nothing cancels.
    beside = np.maximum(np.maximum(np.abs(total), spread), 1e-300)
    per_head = np.median(size / beside, axis=0)
    inside, likely = _calibration(seen)
    if len(d.heads) != seen.output.shape[1]:
        at = d.heads.primary
        columns = [np.full(seen.output.shape[1], c[at]) for c in (per_head, inside, likely)]
        per_head, inside, likely = columns
    frame = pd.DataFrame(
        {
            "pearson": [_pearson(a, b) for a, b in zip(seen.output.T, seen.mean.T, strict=True)],
            "r2": [_r2(a, b) for a, b in zip(seen.output.T, seen.mean.T, strict=True)],
            "mae": np.abs(seen.output - seen.mean).mean(0),
            "coverage95": inside,
            "loglik": likely,
            "cancellation": per_head,
        }
    )
    frame.index.name = "head"
    frame.attrs["agreement"] = _agreement(seen)
    rows = np.arange(len(total))
    top = (total + d.baseline).argmax(1) if total.shape[1] > 1 else np.zeros(len(total), int)
    beside = np.abs(total[rows, top]) if total.shape[1] > 1 else np.maximum(np.abs(total[:, 0]), spread[0])
    ratio = size[rows, top] / np.maximum(beside, 1e-300)
    frame.attrs["cancellation_at_largest_head"] = float(np.median(ratio))
    return frame


def _calibration(seen: Observed) -> tuple[Array, Array]:
    """Coverage of 95 % intervals and mean log density, of each latent head."""
    deviation = np.sqrt(np.maximum(seen.variance, 1e-300))
    scaled = (seen.truth - seen.latent) / deviation
    density = -0.5 * scaled**2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)
    inside = np.where(np.isnan(scaled), np.nan, np.abs(scaled) <= 1.959963984540054)
    return inside.mean(0), density.mean(0)


def _pearson(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def _r2(truth: Array, made: Array) -> float:
    total = ((truth - truth.mean()) ** 2).sum()
    return float(1 - ((truth - made) ** 2).sum() / total) if total > 0 else float("nan")


def _agreement(seen: Observed) -> float:
    """Share of rows with the same largest output; with one output, on the same side of its mean.

    NaN where the outputs are not known, as of given features.
    """
    if np.isnan(seen.output).any():
        return float("nan")
    if seen.output.shape[1] > 1:
        return float((seen.output.argmax(1) == seen.mean.argmax(1)).mean())
    middle = seen.output.mean()
    return float(((seen.output > middle) == (seen.mean > middle)).mean())


def deviations(d: Distillation) -> Array:
    """(L,) standard deviation of each head's targets over the training rows."""
    sums = d.passed.sums
    square = (sums.square_v - sums.sum_v**2 / sums.count) / sums.count
    return np.sqrt(np.maximum(d._by_head(square), 0))


def cancellation(d: Distillation, X: Any, rows: int) -> tuple[Array, Array]:
    """Σ|c| and Σc (n, L) at up to ROWS of the queries, evenly spread; c sums over the places of an example."""
    z, places = _queries(d, X, rows)
    size = torch.zeros(len(z[0]), len(d.heads), dtype=torch.float64, device=z[0].device)
    total = torch.zeros_like(size)
    for block, at in d.blocks():
        alpha = d.alphas(block.targets, at)
        for group, place, heads in places:
            kernel = torch.einsum("qe,npe->qnp", z[group][:, place], at[group])
            columns = [d.column(h) for h in heads]
            weights = alpha[group][..., columns]
            if kernel.shape[2] == 1:
                size[:, heads] += kernel[..., 0].abs() @ weights[:, 0].abs()
                total[:, heads] += kernel[..., 0] @ weights[:, 0]
                continue
            for j, head in enumerate(heads):
                c = (kernel * weights[..., j]).sum(-1)
                size[:, head] += c.abs().sum(1)
                total[:, head] += c.sum(1)
    return as_numpy(size), as_numpy(total)


def _queries(d: Distillation, X: Any, rows: int) -> tuple[torch.Tensor, list[tuple[int, int, list[int]]]]:
    """Z (G, n, P, E) of the chosen queries, and the heads at each (group, place)."""
    found: dict[tuple[int, int], list[int]] = {}
    for head in range(len(d.heads)):
        found.setdefault((d.group(head), int(d.heads.place[head])), []).append(head)
    per_row = max(1, d.passed.sums.count * len(found))
    count = max(1, min(rows, ROWS, WORK // per_row))
    wanted = torch.from_numpy(np.unique(np.linspace(0, rows - 1, count).round().astype(np.int64)))
    parts = []
    for block in d.run(X):
        here = wanted[(wanted >= block.rows.start) & (wanted < block.rows.stop)] - block.rows.start
        if len(here):
            parts.append(d.posterior.basis(block.features[:, here.to(block.features.device)]))
    return torch.cat(parts, 1), [(g, p, heads) for (g, p), heads in found.items()]


def novelty(d: Distillation, X: Any) -> Array:
    """See ``gp.distillation.Distillation.novelty``."""
    return np.concatenate([as_numpy(unusual(d, d.posterior.basis(block.features))) for block in d.run(X)])


def unusual(d: Distillation, z: torch.Tensor) -> torch.Tensor:
    """(n,) geometric mean of the variance and of the share of the prior variance that is left, both noise-free.

    Each is relative to an ordinary training row. The variance alone misses queries that lie near the origin in
    directions no example has, the share alone misses those that are only too long. Mean over groups and places.
    """
    values = d.posterior.basis.eigenvalues
    floor = torch.maximum(values, 1e-12 * values.amax(-1, keepdim=True))
    ordinary = (values / floor).sum(-1) / d.passed.sums.count
    size = values.sum(-1) / d.passed.sums.count
    left = (z**2 / floor[:, None, None]).sum(-1) / ordinary[:, None, None]
    length = (z**2).sum(-1) / size[:, None, None]
    return (left / length.clamp_min(1e-12).sqrt()).mean((0, 2))


def leave_one_out(d: Distillation) -> Array:
    """See ``gp.distillation.Distillation.leave_one_out``."""
    parts = []
    for block in d.rows.blocks():
        residual, _ = left_out(d.posterior, block.features, block.targets, d.passed.sums.count)
        made = block.targets.to(residual) - residual.permute(1, 2, 0, 3).flatten(2)
        parts.append(as_numpy(made))
    whole = np.concatenate(parts)
    return whole if d.places else whole[:, 0, d.heads.channel]
