"""The learned kernel: GPEX's formulation, a feature map on the unit sphere for every head, trained to match it.

Where places share the last affine layer (a convolution, the tokens of a sequence) they share the map
(``gp.placed``). The maps act on what the network's body hands over (``gp.body``), are trained on mixtures in
input space (``gp.mixtures``) with GPEX's objective (``gp.objective``, ``gp.matching``), and are fixed
afterwards: the distillation conditions the GP on all training examples in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gp import placed as placing
from gp.body import Body, find_body, restored
from gp.kernels import Array, Block, Heads, Indices, Options
from gp.matching import Recipe, recipe
from gp.mixtures import Inputs, Split, combine, inputs, mixtures, split
from gp.placed import PlacedMap
from gp.site import FEW, Runner, precise, sample, snapshot, twin
from gp.sphere import Coordinates, SphereMaps
from gp.tracing import tensors
from gp.training import HELD, POOL, Read, data_notes, form_notes, trained
from interpret.errors import UsageError
from interpret.probe import Probe
from interpret.probing.batches import rows_of


@dataclass(frozen=True)
class LearnedMap:
    """Per-head features of unit length; see ``gp.kernels.FeatureMap``.

    noise    (L,) the noise each map was trained at
    trace    one dictionary for each evaluation: head group, noise share, step, training loss, held-out loss and pearson
    pearson  (L,) held-out correlation on mixtures when training ended
    seen     numbers of the training examples that the maps were trained on; the GP is conditioned on all
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
    seen: Indices | None = None

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
        """Configuration and arrays for ``restore``."""
        config = {
            "body": self.body.config(),
            "double": self.runner.probe.dtype == torch.float64,
            "shape": list(self.heads.shape),
            "trace": list(self.trace),
            "notes": list(self.notes),
        }
        arrays = {f"coordinates.{name}": value for name, value in self.coords.arrays().items()}
        arrays |= {"weight": self.maps.weight.numpy(), "offset": self.maps.offset.numpy()}
        return config, arrays | {"noise": self.noise, "pearson": self.pearson}


def build(probe: Probe, X: Any, options: Options) -> LearnedMap | PlacedMap:
    """Train the maps of every output of ``probe`` on mixtures of ``X``.

    ``options.extra`` takes ``form`` ("explain" or "match") and the fields of ``gp.matching.Recipe``.

    Raises:
        UsageError: an unknown option.
        DeadUnit: every output is constant over the training data.
        NotConverged: training found no finite loss.

    """
    plan = _plan(options)
    single = snapshot(probe)
    with one_thread():
        placed = placing.find(single, X)
        if placed is not None:
            return placing.build(placed, X, plan)
        body, notes = find_body(single, X)
        data = inputs(single, X)
        made = _built(body, split(data, rows_of(X), plan.seed), plan, (*notes, *data_notes(data)))
    # The search is content with single precision; what is kept is read in double, whatever the size of a batch.
    exact = precise(single, sample(single, X, FEW)[0])
    return made if exact is single else replace(made, body=restored(exact, body.config()))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums over two threads round otherwise, and training makes that visible: one thread, the user's number after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _built(body: Body, parted: Split, plan: Recipe, notes: tuple[str, ...]) -> LearnedMap:
    probe, data = body.runner.probe, parted.data
    generator = torch.Generator().manual_seed(plan.seed)
    train, outputs = _read(body, _pieces(data, probe.batch_size))
    mixed, mixed_outputs = _read(body, mixtures(data, POOL + HELD, generator, min(probe.batch_size, 1024)))
    read = Read(train, outputs.reshape(len(outputs), -1), mixed, mixed_outputs.reshape(len(mixed), -1))
    coords, matched = trained(read, plan, generator, probe.address, next(tensors(data.batch)).device)
    return LearnedMap(
        body,
        coords,
        matched.maps,
        Heads.plain(tuple(outputs.shape[1:])),
        # Training saw a share of the examples; the noise is a share of their number.
        matched.noise.numpy() * parted.weight,
        matched.pearson.numpy(),
        tuple(matched.trace),
        (*notes, *form_notes(plan, matched)),
        seen=parted.seen,
    )


def restore(
    probe: Probe | None, config: dict[str, Any], arrays: dict[str, Any]
) -> LearnedMap | PlacedMap | None:
    """The map that ``state`` described; None without a model, which it needs to run."""
    if probe is None:
        return None
    if "placed" in config:
        return placing.restore(probe, config, arrays)
    prefix = "coordinates."
    coords = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return LearnedMap(
        restored(twin(probe) if config.get("double") else snapshot(probe), config["body"]),
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
