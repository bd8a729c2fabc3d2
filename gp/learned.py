"""The learned kernel: GPEX's formulation, a feature map on the unit sphere for every head, trained to match it.

The maps act on what the network's body hands over (:mod:`gp.body`), are trained on mixtures in input space
(:mod:`gp.mixtures`) with GPEX's objective (:mod:`gp.objective`, :mod:`gp.matching`), and are fixed afterwards: the
distillation conditions the GP on all training examples in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gp.body import Body, find_body, restored
from gp.kernels import Array, Block, Heads, Options
from gp.matching import TOLERANCE, Matched, Problem, Recipe, match, recipe
from gp.mixtures import Inputs, combine, inputs, mixtures
from gp.site import Runner
from gp.sphere import Coordinates, SphereMaps, coordinates
from gp.tracing import tensors
from interpret.errors import DeadUnit, UsageError
from interpret.probe import Probe

#: Mixtures the maps are trained on and judged by.
POOL, HELD = 8192, 1024
#: Held-out R² of a linear fit on the body below which random rectified features are added.
LINEAR_ENOUGH = 0.999


@dataclass(frozen=True)
class LearnedMap:
    """Per-head features of unit length; see :class:`gp.kernels.FeatureMap`.

    noise    (L,) the noise each map was trained at
    trace    one dictionary for each evaluation: head group, noise share, step, training loss, held-out loss and pearson
    pearson  (L,) held-out correlation on mixtures when training ended
    """

    body: Body
    coords: Coordinates
    maps: SphereMaps
    heads: Heads
    noise: Array
    pearson: Array
    trace: tuple[dict[str, float], ...]
    notes: tuple[str, ...]
    kind: str = "learned"
    metric: str = "none"
    center: bool = False
    linear: bool = True
    places: tuple[int, ...] = ()

    @property
    def groups(self) -> int:
        """L: every head has its own features."""
        return len(self.heads)

    @property
    def runner(self) -> Runner:
        """What runs the model."""
        return self.body.runner

    def features(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(L, n, D) features and (n, *out) outputs of one prepared batch."""
        body, outputs = self.body(batch)
        coords = self.coords.to(body.device)(body)
        return self.maps.to(coords)(coords), outputs

    def blocks(self, X: Any) -> Iterator[Block]:
        """Blocks over ``X``, one for each batch of the probe."""
        for rows, batch in self.body.runner.probe.batches(X):
            features, outputs = self.features(batch)
            yield Block(rows, features[:, :, None], outputs.reshape(len(outputs), 1, -1), outputs)

    def tail(self, X: Any, latent: Tensor) -> Tensor:
        """The latent is the output."""
        return latent.double().cpu()

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Configuration and arrays for :func:`restore`."""
        config = {
            "body": self.body.config(),
            "shape": list(self.heads.shape),
            "trace": list(self.trace),
            "notes": list(self.notes),
        }
        arrays = {f"coordinates.{name}": value for name, value in self.coords.arrays().items()}
        arrays |= {"weight": self.maps.weight.numpy(), "offset": self.maps.offset.numpy()}
        return config, arrays | {"noise": self.noise, "pearson": self.pearson}


def build(probe: Probe, X: Any, options: Options) -> LearnedMap:
    """Train the maps of every output of ``probe`` on mixtures of ``X``.

    ``options.extra`` takes ``form`` ("explain" or "match") and the fields of :class:`gp.matching.Recipe`.

    Raises:
        UsageError: an unknown option.
        DeadUnit: every output is constant over the training data.
        NotConverged: training found no finite loss.

    """
    plan = _plan(options)
    with one_thread():
        body, notes = find_body(probe, X)
        data = inputs(probe, X)
        return _built(body, data, plan, (*notes, *_data_notes(data)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums over two threads round otherwise, and training makes that visible: one thread, the user's number after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _built(body: Body, data: Inputs, plan: Recipe, notes: tuple[str, ...]) -> LearnedMap:
    probe = body.runner.probe
    generator = torch.Generator().manual_seed(plan.seed)
    train, outputs = _read(body, _pieces(data, probe.batch_size))
    values = outputs.reshape(len(outputs), -1)
    alive = _alive(values, probe.address)
    mixed, mixed_values = _read(body, mixtures(data, POOL + HELD, generator, min(probe.batch_size, 1024)))
    mixed_values = mixed_values.reshape(len(mixed_values), -1)[:, alive]
    coords = _coordinates(train, values[:, alive], mixed, mixed_values, generator)
    centre, scale = values[:, alive].mean(dim=0), _unit(values[:, alive], mixed_values)
    queries, standard = coords(mixed), (mixed_values - centre) / scale
    targets = (values[:, alive] - centre) / scale
    held, pool = slice(None, HELD), slice(HELD, None)
    problem = Problem(coords(train), targets, queries[pool], standard[pool], queries[held], standard[held])
    device = next(tensors(data.batch)).device
    matched = _with_dead(match(problem.to(device), plan), alive, values.shape[1], plan)
    return LearnedMap(
        body,
        coords,
        matched.maps,
        Heads.plain(tuple(outputs.shape[1:])),
        # Training saw every stride-th example; the noise is a share of their number.
        matched.noise.numpy() * data.stride,
        matched.pearson.numpy(),
        tuple(matched.trace),
        (*notes, *_form_notes(plan, matched)),
    )


def restore(probe: Probe | None, config: dict[str, Any], arrays: dict[str, Any]) -> LearnedMap | None:
    """The map that ``state`` described; None without a model, which it needs to run."""
    if probe is None:
        return None
    prefix = "coordinates."
    coords = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return LearnedMap(
        restored(probe, config["body"]),
        Coordinates.from_arrays(coords),
        SphereMaps(torch.as_tensor(np.array(arrays["weight"])), torch.as_tensor(np.array(arrays["offset"]))),
        Heads.plain(tuple(config["shape"])),
        np.asarray(arrays["noise"]),
        np.asarray(arrays["pearson"]),
        tuple(config["trace"]),
        tuple(config["notes"]),
    )


def _plan(options: Options) -> Recipe:
    extra = dict(options.extra)
    known = {"form", *Recipe.__dataclass_fields__} - {"seed"}
    unknown = sorted(set(extra) - known)
    if unknown:
        raise UsageError(
            f"the learned kernel takes no {', '.join(unknown)}; it takes {', '.join(sorted(known))}"
        )
    return recipe(extra.pop("form", "explain"), seed=options.seed, **extra)


def _pieces(data: Inputs, size: int) -> Iterator[Any]:
    for start in range(0, data.rows, size):
        yield combine(lambda t, s=start: t[s : s + size] if t.ndim and len(t) == data.rows else t, data.batch)


def _read(body: Body, batches: Iterator[Any]) -> tuple[Tensor, Tensor]:
    """Body (N, d) and outputs (N, *out) of several batches, on the CPU."""
    read = [tuple(part.cpu() for part in body(batch)) for batch in batches]
    return torch.cat([r[0] for r in read]), torch.cat([r[1] for r in read])


def _alive(values: Tensor, address: str) -> Tensor:
    """Indices of the heads that vary over the training data."""
    spread = values.std(dim=0)
    alive = (spread > 1e-9 * values.abs().max().clamp_min(1e-300)).nonzero()[:, 0]
    if not len(alive):
        raise DeadUnit(f"{address!r} is constant over the {len(values)} training examples; nothing to learn")
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


def _data_notes(data: Inputs) -> tuple[str, ...]:
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


def _form_notes(plan: Recipe, matched: Matched) -> tuple[str, ...]:
    worst = float(np.nanmin(matched.pearson))
    if plan.form == "match":
        return ("Matched at a small noise: predictions follow the network closely, contributions cancel.",)
    if worst < TOLERANCE:
        return (
            f"The weakest head matches the network with correlation {worst:.3f} on mixtures of training inputs.",
        )
    return ()
