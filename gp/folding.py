"""Fold a linear tail over places into the features: pooling, scaling, reshaping, selecting positions.

The tail out[o] = Σ_cp A[o, (c, p)] latent[c, p] + t[o] is folded where A[o] is one channel's weights times one
profile over the places. Profiles that pick single places leave the rows of the GP as they are (all places, so that
a neighbor is an example and a place in it); profiles that pool make pooled rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gp.kernels import by_row
from gp.tails import Experiment

#: The experiment has a run of the tail for every place.
MOST_PLACES = 4096


@dataclass(frozen=True)
class Fold:
    """A folded tail: output o is ``scale``[c]·latent + ``offset``[c] at its channel, at a place or pooled.

    channels  (C',) channels of the layer that reach the output
    scale, offset  (C',) of each of them
    pool  (Q, P) profiles that sum to one, or None where outputs sit at single places
    channel, place  (L,) position of output o among ``channels`` and among places or profiles
    """

    channels: tuple[int, ...]
    scale: torch.Tensor
    offset: torch.Tensor
    pool: torch.Tensor | None
    channel: torch.Tensor
    place: torch.Tensor


def fold(run: Experiment) -> Fold | None:
    """The fold of an affine tail over P > 1 places, or None where it is of another form."""
    places, channels = run.latent.shape[1:]
    if places > MOST_PLACES:
        return None
    still = run(torch.zeros(1, places, channels, dtype=torch.float64), [0]).reshape(-1)
    by_place = _responses(
        run, torch.eye(places, dtype=torch.float64)[:, :, None].expand(-1, -1, channels), still
    )
    by_channel = _responses(
        run, torch.eye(channels, dtype=torch.float64)[:, None, :].expand(-1, places, -1), still
    )
    owner = by_channel.abs().argmax(0)
    total = by_channel[owner, torch.arange(len(owner))]
    if not bool((total.abs() > 0).all()):
        return None
    profiles = (by_place / total).T  # (L, P), each sums to one
    used = torch.unique(owner)
    channel = torch.searchsorted(used, owner)
    scale, offset = (
        _by_channel(total, channel, len(used), run.tolerance),
        _by_channel(still, channel, len(used), run.tolerance),
    )
    if scale is None or offset is None:
        return None
    made = _placed(profiles)
    if made is None:
        return None
    pool, place = made
    result = Fold(tuple(used.tolist()), scale, offset, pool, channel, place)
    return result if _holds(run, result) else None


def _responses(run: Experiment, unit: torch.Tensor, still: torch.Tensor) -> torch.Tensor:
    """(K, L) what each of K latents moves, with a step as large as the data's spread."""
    step = float(run.spread.mean()) * 4
    parts = []
    for start in range(0, len(unit), 256):
        piece = unit[start : start + 256]
        parts.append((run(piece * step, [0] * len(piece)).reshape(len(piece), -1) - still) / step)
    return torch.cat(parts)


def _by_channel(
    values: torch.Tensor, channel: torch.Tensor, count: int, tolerance: float
) -> torch.Tensor | None:
    """The value that all outputs of a channel share, or None where they differ."""
    total = torch.zeros(count, dtype=values.dtype).index_add_(0, channel, values)
    first = total / torch.bincount(channel, minlength=count).clamp_min(1)
    spread = (values - first[channel]).abs().max()
    return first if bool(spread <= tolerance * (values.abs().max() + 1e-12)) else None


def _placed(profiles: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor] | None:
    """Pool and place of each output; rounding of the experiment removed where weights are plainly equal."""
    small = profiles.abs() < 1e-4 * profiles.abs().amax(1, keepdim=True)
    profiles = torch.where(small, torch.zeros_like(profiles), profiles)
    counts = (~small).sum(1, keepdim=True)
    even = (~small).double() / counts
    profiles = torch.where(
        ((profiles - even).abs() < 1e-3 * even).logical_or(small).all(1, keepdim=True), even, profiles
    )
    if bool((counts == 1).all()):
        return None, profiles.argmax(1)
    if not bool((profiles.sum(1) - 1).abs().max() < 1e-3):
        return None
    pool, place = torch.unique(profiles.round(decimals=12), dim=0, return_inverse=True)
    return pool, place


def _holds(run: Experiment, made: Fold) -> bool:
    """Whether the fold gives what the tail gives, on the sample itself and on random latents."""
    for latent in (run.latent, run.draw()):
        chosen = latent[..., list(made.channels)] * made.scale + made.offset
        if made.pool is not None:
            chosen = torch.einsum("qp,npc->nqc", made.pool, chosen)
        expected = by_row(run(latent))
        gap = (chosen[:, made.place, made.channel] - expected).abs().max()
        if not bool(gap <= 50 * run.tolerance * expected.std()):
            return False
    return True
