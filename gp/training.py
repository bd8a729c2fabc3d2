"""From what was read of a network to trained maps: coordinates, standardised targets, heads that never vary."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gp.matching import TOLERANCE, Matched, Problem, Recipe, match
from gp.mixtures import Inputs
from gp.site import exact_products
from gp.sphere import Coordinates, SphereMaps, coordinates
from interpret.errors import DeadUnit

#: Mixtures the maps are trained on and judged by.
POOL, HELD = 8192, 1024
#: Held-out R² of a linear fit on the body below which random rectified features are added.
LINEAR_ENOUGH = 0.999


@dataclass(frozen=True)
class Read:
    """Bodies (M, d) and values (M, L) of the training rows, and of POOL + HELD mixtures; float64 on the CPU."""

    train: Tensor
    values: Tensor
    mixed: Tensor
    mixed_values: Tensor


def trained(
    read: Read, plan: Recipe, generator: torch.Generator, address: str, device: torch.device
) -> tuple[Coordinates, Matched]:
    """Coordinates of the body, and the maps of all heads trained in them on ``device``.

    Raises:
        DeadUnit: every output is constant over the training rows.
        NotConverged: training found no finite loss.

    """
    alive = _alive(read.values, address)
    values, mixed_values = read.values[:, alive], read.mixed_values[:, alive]
    coords = _coordinates(read.train, values, read.mixed, mixed_values, generator)
    centre, scale = values.mean(dim=0), _unit(values, mixed_values)
    queries, standard = coords(read.mixed), (mixed_values - centre) / scale
    held, pool = slice(None, HELD), slice(HELD, None)
    problem = Problem(
        coords(read.train),
        (values - centre) / scale,
        queries[pool],
        standard[pool],
        queries[held],
        standard[held],
    )
    with exact_products():
        matched = match(problem.to(device), plan)
    return coords, _with_dead(matched, alive, read.values.shape[1], plan)


def _alive(values: Tensor, address: str) -> Tensor:
    """Indices of the heads that vary over the training data."""
    spread = values.std(dim=0, correction=0)
    alive = (spread > 1e-9 * values.abs().amax(dim=0).clamp_min(1e-300)).nonzero()[:, 0]
    if not len(alive):
        raise DeadUnit(
            f"{address!r} is constant over the {len(values)} examples to train on; nothing to learn"
        )
    return alive


def _coordinates(
    train: Tensor, values: Tensor, pool: Tensor, pool_values: Tensor, generator: torch.Generator
) -> Coordinates:
    """Plain coordinates where a linear fit reaches the outputs on mixtures, lifted ones where it does not."""
    plain = coordinates(train, lifted=False, generator=generator)
    A, Q = plain(train), plain(pool)
    mean = values.mean(dim=0)
    ridge = 1e-6 * len(A) * torch.eye(A.shape[1], dtype=A.dtype)
    fitted = Q @ torch.linalg.solve(A.T @ A + ridge, A.T @ (values - mean)) + mean
    left = (fitted - pool_values).square().sum(dim=0) / (pool_values - pool_values.mean(dim=0)).square().sum(
        dim=0
    )
    if float(1 - left.median()) >= LINEAR_ENOUGH:
        return plain
    return coordinates(train, lifted=True, generator=generator)


def _unit(values: Tensor, mixed: Tensor) -> Tensor:
    """What outputs are divided by: their spread, or half of that on mixtures where a head leaves its usual range."""
    return torch.maximum(values.std(dim=0), 0.5 * mixed.std(dim=0))


def _with_dead(matched: Matched, alive: Tensor, total: int, plan: Recipe) -> Matched:
    """The maps of all heads, where only those that vary were trained: the others keep the common start."""
    if len(alive) == total:
        return matched
    start = SphereMaps.start(
        total, matched.maps.weight.shape[1], plan.dim, torch.Generator().manual_seed(plan.seed)
    )
    start.weight[alive], start.offset[alive] = matched.maps.weight, matched.maps.offset
    noise, pearson = matched.noise.max().repeat(total), torch.full((total,), torch.nan, dtype=torch.float64)
    noise[alive], pearson[alive] = matched.noise, matched.pearson
    return replace(matched, maps=start, noise=noise, pearson=pearson)


def data_notes(data: Inputs) -> tuple[str, ...]:
    """What the reader must know of how the inputs were mixed."""
    notes: tuple[str, ...] = ()
    if not data.mixable:
        notes = (
            "The inputs are integers, which cannot be mixed: the match was trained on the training inputs alone.",
        )
    if data.stride > 1:
        notes += (
            f"The maps were trained on every {data.stride}th example; the GP is conditioned on all of them.",
        )
    return notes


def form_notes(plan: Recipe, matched: Matched) -> tuple[str, ...]:
    """What the reader must know of the form and of how well it went."""
    worst = float(np.nanmin(matched.pearson))
    if plan.form == "match":
        return ("Matched at a small noise: predictions follow the network closely, contributions cancel.",)
    if worst < TOLERANCE:
        return (
            f"The weakest head matches the network with correlation {worst:.3f} on mixtures of training inputs.",
        )
    return ()
