"""Few training examples that stand for a head: kernel sections k(·, x_m) chosen greedily, refitted at each step.

Orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad 1993) on the head's latent mean over the training rows.
In the basis of the features a section at x_m is the vector z_m, and functions on the training rows have the inner
product of ZᵀZ, which is diagonal: no M×M matrix appears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gp.conditioning import as_numpy
from gp.results import Prototypes
from interpret.errors import UsageError

if TYPE_CHECKING:
    from gp.distillation import Distillation

Tensor = torch.Tensor


def prototypes(d: Distillation, k: int, head: int) -> Prototypes:
    """The first k sections; fewer where fewer reproduce the head exactly.

    Raises:
        UsageError: k below one.

    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"k is a positive integer; got {k!r:.40}")
    group, column = d.group(head), d.column(head)
    values = d.posterior.basis.eigenvalues[group]
    scale = values.clamp_min(0).sqrt()
    target = (
        d.posterior.weights[group, :, column] * scale
    )  # the head's mean as a vector of training-set functions
    if float(target.norm()) == 0:
        return _empty(d)
    chosen: list[tuple[int, int]] = []
    sections: list[Tensor] = []
    basis: list[Tensor] = []
    residual, r2 = target.clone(), []
    for _ in range(k):
        found = _best(d, group, scale, residual, basis, chosen)
        if found is None:
            break
        index, place, section = found
        direction = section - sum((b * (b @ section) for b in basis), torch.zeros_like(section))
        direction = direction - sum((b * (b @ direction) for b in basis), torch.zeros_like(section))
        basis.append(direction / direction.norm())
        residual = residual - basis[-1] * (basis[-1] @ residual)
        chosen.append((index, place))
        sections.append(section)
        r2.append(1 - float(residual @ residual) / float(target @ target))
    return _result(d, chosen, torch.stack(sections), target, r2)


def _best(
    d: Distillation,
    group: int,
    scale: Tensor,
    residual: Tensor,
    basis: list[Tensor],
    chosen: list[tuple[int, int]],
) -> tuple[int, int, Tensor] | None:
    """The section that, orthogonal to those chosen, takes most of the residual."""
    made = torch.stack(basis, 1) if basis else None
    best, result, start = 1e-12 * float(residual @ residual) + 1e-300, None, 0
    for _, rows in d.blocks():
        sections = rows[group] * scale  # (n, P, E)
        gain = sections @ residual
        size = (sections**2).sum(-1)
        left = size - ((sections @ made) ** 2).sum(-1) if made is not None else size
        score = torch.where(left > 1e-9 * size.clamp_min(1e-300), gain**2 / left.clamp_min(1e-300), 0.0)
        for index, _ in chosen:
            if start <= index < start + len(score):
                score[index - start] = 0
        top = int(score.argmax())
        if float(score.flatten()[top]) > best:
            best = float(score.flatten()[top])
            n, p = divmod(top, score.shape[1])
            result = (start + n, p, sections[n, p].clone())
        start += len(score)
    return result


def _result(
    d: Distillation, chosen: list[tuple[int, int]], sections: Tensor, target: Tensor, r2: list[float]
) -> Prototypes:
    # The default driver leaves its pivots uninitialised: equal calls would differ in their last digits. This one is
    # for the CPU only.
    weight = torch.linalg.lstsq(sections.T.cpu(), target[:, None].cpu(), driver="gelsd").solution[:, 0]
    index = np.array([i for i, _ in chosen])
    place = np.array([np.unravel_index(p, d.places) for _, p in chosen]) if d.places else None
    return Prototypes(
        d.row_ids[index], as_numpy(weight), np.array(r2), np.sign(as_numpy(weight)).astype(np.int64), place
    )


def _empty(d: Distillation) -> Prototypes:
    place = np.empty((0, len(d.places)), np.int64) if d.places else None
    none = np.empty(0)
    return Prototypes(np.empty(0, np.int64), none, none, np.empty(0, np.int64), place)
