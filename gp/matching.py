"""Training of the per-head maps: Adam on GPEX's objective, all training examples in every step.

Two forms of the same objective:

    match     the objective as published, at a small noise: the closest match; its contributions cancel.
    explain   the same at the largest noise that keeps the match, plus a Gaussian prior that holds each map near the
              body's own geometry, from which it starts. A large noise makes contributions pull one way (α tends to the
              centred outputs themselves), the prior keeps neighbors meaningful.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from gp.objective import condition, gpex_loss
from gp.sphere import SphereMaps
from interpret.errors import NotConverged, UsageError

#: Heads trained together; bounds memory at (heads × M × D).
HEADS_AT_ONCE = 32
#: Examples in the D×D sums of one training step; more are sampled and stand for the rest. The posterior uses all.
ROWS_PER_STEP = 16_384
#: Held-out pearson that ``explain`` is content with.
TOLERANCE = 0.995
#: A smaller noise is tried while it brings 1 − pearson of the heads that fall short below this share of what it was.
GAIN = 0.8
EVALUATE_EVERY = 50


@dataclass(frozen=True)
class Recipe:
    """How the maps are trained.

    dim        D, features of each head
    form       ``explain`` or ``match``
    shares     noise as a share of M, since Σ‖u‖² = M: the first is used, later ones where the match falls short
    anchor     precision of the Gaussian prior on the weights, per weight column; 0 is GPEX's objective alone
    steps      at most, with a one-cycle learning rate; ``patience`` evaluations without gain end it sooner
    batch      queries in a step
    tolerance  held-out pearson below which ``explain`` tries a head again at a smaller noise
    """

    form: str = "explain"
    dim: int = 20
    shares: tuple[float, ...] = (1 / 180, 1 / 800, 1 / 3200, 1 / 12_800)
    anchor: float = 0.03
    steps: int = 300
    batch: int = 512
    rate: float = 1e-2
    patience: int = 6
    seed: int = 0
    tolerance: float = TOLERANCE


FORMS = {
    "explain": Recipe(),
    "match": Recipe(form="match", shares=(7e-6,), anchor=0.0, steps=600),
}


def recipe(form: str, **changes: object) -> Recipe:
    """The recipe of a form, with changes.

    Raises:
        UsageError: an unknown form, or an option out of its range.

    """
    if form not in FORMS:
        raise UsageError(f"form must be one of {', '.join(map(repr, FORMS))}, not {form!r}")
    made: Recipe = replace(FORMS[form], **changes)  # type: ignore[arg-type]
    for name, least in (("dim", 2), ("steps", 1), ("batch", 2), ("patience", 1)):
        if getattr(made, name) < least:
            raise UsageError(f"{name} must be at least {least}, not {getattr(made, name)}")
    if made.rate <= 0 or made.anchor < 0 or not made.shares or min(made.shares) <= 0:
        raise UsageError("rate and shares must be above 0, anchor not below 0")
    if not 0 <= made.tolerance < 1:
        raise UsageError(f"tolerance is a correlation from 0 to below 1, not {made.tolerance}")
    return made


@dataclass(frozen=True)
class Problem:
    """Coordinates and standardised values of M training examples, of the query pool and of held-out queries.

    Training runs where these tensors are.
    """

    train: Tensor
    targets: Tensor
    pool: Tensor
    pool_values: Tensor
    held: Tensor
    held_values: Tensor

    def to(self, device: torch.device) -> Problem:
        """The same on a device."""
        return Problem(**{name: value.to(device) for name, value in vars(self).items()})

    def heads(self, index: Tensor) -> Problem:
        """The same for some heads (values are (·, L))."""
        picked = {
            name: getattr(self, name)[:, index.to(self.targets.device)]
            for name in ("targets", "pool_values", "held_values")
        }
        return replace(self, **picked)


@dataclass(frozen=True)
class Matched:
    """Trained maps.

    maps      of L heads, float64
    noise     (L,)
    pearson   (L,) on the held-out queries
    trace     rows (head group, share, step, training loss, held-out loss, held-out pearson)
    """

    maps: SphereMaps
    noise: Tensor
    pearson: Tensor
    trace: list[dict[str, float]] = field(default_factory=list)


def match(problem: Problem, plan: Recipe) -> Matched:
    """Train the maps of all heads.

    Raises:
        NotConverged: no step gave a finite held-out loss.

    """
    count = problem.targets.shape[1]
    parts = [
        _match_part(problem.heads(torch.arange(start, min(start + HEADS_AT_ONCE, count))), plan, start)
        for start in range(0, count, HEADS_AT_ONCE)
    ]
    return Matched(
        SphereMaps(torch.cat([p.maps.weight for p in parts]), torch.cat([p.maps.offset for p in parts])),
        torch.cat([p.noise for p in parts]),
        torch.cat([p.pearson for p in parts]),
        [row for part in parts for row in part.trace],
    )


def _match_part(problem: Problem, plan: Recipe, first: int) -> Matched:
    """Train some heads at the largest share; those that fall short again at the next."""
    best = _train(problem, plan, plan.shares[0], first)
    for share in plan.shares[1:]:
        short = (best.pearson < plan.tolerance).nonzero()[:, 0]
        if not len(short):
            break
        # A head that falls short is held too tightly by both: noise and prior give way together.
        looser = replace(plan, anchor=plan.anchor * share / plan.shares[0])
        again = _train(problem.heads(short), looser, share, first)
        better = again.pearson > best.pearson[short]
        gained = bool((1 - again.pearson).mean() < GAIN * (1 - best.pearson[short]).mean())
        take, into = better.nonzero()[:, 0], short[better]
        for name in ("weight", "offset"):
            getattr(best.maps, name)[into] = getattr(again.maps, name)[take]
        best.noise[into], best.pearson[into] = again.noise[take], again.pearson[take]
        best.trace.extend(again.trace)
        if not gained:  # what the map cannot express, less noise does not teach it
            break
    return best


def _train(problem: Problem, plan: Recipe, share: float, first: int) -> Matched:
    """One run of the optimiser at one noise; the state with the best held-out loss is kept."""
    generator = torch.Generator().manual_seed(plan.seed * 100_003 + first)
    count, heads = problem.targets.shape
    start = SphereMaps.start(heads, problem.train.shape[1], plan.dim, generator)
    # The search runs in single precision: the sums are well conditioned at these noises. What is kept is conditioned
    # again in float64.
    single = replace(problem, **{name: value.float() for name, value in vars(problem).items()})
    start = start.to(single.train)
    maps = SphereMaps(start.weight.clone().requires_grad_(), start.offset.clone().requires_grad_())
    level = torch.full((heads,), share * count, dtype=torch.float64, device=single.train.device)
    noise = level.to(single.train)
    optimizer = torch.optim.Adam([maps.weight, maps.offset], lr=plan.rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.rate, total_steps=plan.steps, pct_start=0.1
    )
    keeper = _Keeper(maps, plan.patience)
    trace: list[dict[str, float]] = []
    for step in range(1, plan.steps + 1):
        loss = _step_loss(single, maps, noise, plan.batch, generator)
        prior = plan.anchor * (maps.weight - start.weight).square().sum(dim=(1, 2))
        optimizer.zero_grad()
        (loss + prior).mean().backward()
        optimizer.step()
        schedule.step()
        if step % EVALUATE_EVERY == 0 or step == plan.steps:
            held, pearson = _held_out(single, maps, noise)
            row = {"first_head": first, "share": share, "step": step, "loss": float(loss.detach().mean())}
            trace.append({**row, "held_loss": float(held.mean()), "held_pearson": float(pearson.mean())})
            if keeper.offer(maps, held + prior.detach(), pearson):
                break
    return Matched(keeper.maps(), level.cpu(), keeper.pearson.double().cpu(), trace)


def _step_loss(
    problem: Problem, maps: SphereMaps, noise: Tensor, batch: int, generator: torch.Generator
) -> Tensor:
    """GPEX's objective (L,) of a minibatch of queries given all the training examples."""
    count = len(problem.train)
    rows = (
        slice(None) if count <= ROWS_PER_STEP else torch.randint(count, (ROWS_PER_STEP,), generator=generator)
    )
    features, targets = maps(problem.train[rows]), problem.targets[rows].T
    posterior = condition(features, targets, noise, scale=count / features.shape[1])
    picked = torch.randint(len(problem.pool), (batch,), generator=generator)
    queries = maps(problem.pool[picked])
    return gpex_loss(posterior.mean(queries), posterior.variance(queries), problem.pool_values[picked].T)


@torch.no_grad()
def _held_out(problem: Problem, maps: SphereMaps, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Objective and pearson of each head on the held-out queries."""
    count = len(problem.train)
    rows = slice(None, None, -(-count // ROWS_PER_STEP))  # evenly: the data may be sorted
    features = maps(problem.train[rows])
    posterior = condition(features, problem.targets[rows].T, noise, scale=count / features.shape[1])
    queries, values = maps(problem.held), problem.held_values.T
    mean = posterior.mean(queries)
    return gpex_loss(mean, posterior.variance(queries), values), correlation(mean, values)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation along the last axis; 0 where one side is constant."""
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return torch.where(norms > 0, (a * b).sum(dim=-1) / norms.clamp_min(torch.finfo(a.dtype).tiny), 0.0)


class _Keeper:
    """Keeps each head's best state and tells when none has improved for a while."""

    def __init__(self, maps: SphereMaps, patience: int) -> None:
        heads = len(maps.weight)
        self._weight, self._offset = maps.weight.detach().clone(), maps.offset.detach().clone()
        self._score = torch.full((heads,), np.inf, device=maps.weight.device)
        self.pearson = torch.zeros(heads, device=maps.weight.device)
        self._patience, self._idle = patience, 0

    def offer(self, maps: SphereMaps, score: Tensor, pearson: Tensor) -> bool:
        """Take over the heads that got better; True when it is time to stop."""
        better = score < self._score
        self._weight[better] = maps.weight.detach()[better]
        self._offset[better] = maps.offset.detach()[better]
        self._score = torch.where(better, score, self._score)
        self.pearson = torch.where(better, pearson, self.pearson)
        self._idle = 0 if bool(better.any()) else self._idle + 1
        return self._idle >= self._patience

    def maps(self) -> SphereMaps:
        """The best maps, float64 on the CPU."""
        if not bool(torch.isfinite(self._score).all()):
            raise NotConverged(
                "the learned kernel found no finite held-out loss; the outputs may be constant or not finite, "
                "or the noise too small: use form='explain' or larger shares"
            )
        return SphereMaps(self._weight.double().cpu(), self._offset.double().cpu())
