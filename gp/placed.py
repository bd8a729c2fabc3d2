"""The learned kernel over places: one map for each channel, which all pixels of a convolution or tokens of a sequence
share.

A map of its own for every output would have to learn 64 times, from all the positions side by side, what one position's
features say. Here a row of the GP is an example at a place, as with the activation kernel: the place and the tail
(a softmax, a pooling) are the network's, its weights are not used. The latent in front of the tail is what the maps
learn, on mixtures in input space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gp import activation
from gp.activation import ActivationMap
from gp.kernels import Array, Block, Heads, Indices, Options
from gp.matching import Recipe
from gp.mixtures import Inputs, inputs, mixtures, split
from gp.site import Runner, length
from gp.sphere import Coordinates, SphereMaps
from gp.tails import Named
from gp.tracing import tensors
from gp.training import HELD, POOL, Read, data_notes, form_notes, trained
from interpret.errors import DeadUnit, NotTraceable
from interpret.probe import Probe
from interpret.probing.batches import rows_of

#: Rows of training examples at places that the maps are trained on; the GP is conditioned on all of them.
MOST_ROWS = 2**17
#: Mixtures in a batch, and how many at least: places of one mixture are alike.
CHUNK, LEAST = 64, 512
_PREFIX = "coordinates."


@dataclass(frozen=True)
class PlacedMap:
    """Features of unit length for each channel at each place; see ``gp.kernels.FeatureMap``.

    plain    where the places are, and the tail
    noise    (C,) the noise each map was trained at
    trace, pearson, seen  as of ``gp.learned.LearnedMap``, of the latent at single places
    """

    plain: ActivationMap
    coords: Coordinates
    maps: SphereMaps
    noise: Array
    pearson: Array
    trace: tuple[dict[str, float], ...]
    notes: tuple[str, ...]
    kind: str = "learned"
    metric: str = "none"
    center: bool = False
    seen: Indices | None = None

    @property
    def groups(self) -> int:
        """C: every channel has its own features."""
        return len(self.noise)

    @property
    def heads(self) -> Heads:
        """The layer's own layout."""
        return self.plain.heads

    @property
    def places(self) -> tuple[int, ...]:
        """The layer's own places."""
        return self.plain.places

    @property
    def linear(self) -> bool:
        """Whether contributions reach the output itself."""
        return self.plain.linear

    @property
    def function(self) -> Named | None:
        """The tail, where it is a known function."""
        return self.plain.function

    @property
    def runner(self) -> Runner:
        """What runs the model."""
        return self.plain.runner

    def blocks(self, X: Any) -> Iterator[Block]:
        """Blocks over ``X``: (C, n, P, dim) features."""
        for block in self.plain.blocks(X):
            _, n, places, width = block.features.shape
            coords = self.coords.to(block.features.device)(block.features.reshape(-1, width))
            features = self.maps.to(coords)(coords).reshape(self.groups, n, places, -1)
            yield replace(block, features=features)

    def tail(self, X: Any, latent: Tensor) -> Tensor:
        """The network's own tail."""
        return self.plain.tail(X, latent)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Configuration and arrays for ``restore``."""
        placed, arrays = self.plain.state()
        config = {"placed": placed, "trace": list(self.trace), "notes": list(self.notes)}
        arrays = {f"placed.{name}": value for name, value in arrays.items()}
        arrays |= {f"{_PREFIX}{name}": value for name, value in self.coords.arrays().items()}
        arrays |= {"weight": self.maps.weight.numpy(), "offset": self.maps.offset.numpy()}
        return config, arrays | {"noise": self.noise, "pearson": self.pearson}


def find(probe: Probe, X: Any) -> ActivationMap | None:
    """Where places share one last affine layer, with a tail that takes nothing else from x; None elsewhere."""
    try:
        plain = activation.build(probe, X, Options())
    except (NotTraceable, DeadUnit):
        return None
    known = plain.folded or plain.function is not None
    return plain if known and plain.places and plain.groups == 1 else None


def build(plain: ActivationMap, X: Any, plan: Recipe) -> PlacedMap:
    """Train the maps of all channels on mixtures of ``X``, at places drawn at random.

    Raises:
        DeadUnit: every channel is constant over the training data.
        NotConverged: training found no finite loss.

    """
    probe = plain.runner.probe
    generator = torch.Generator().manual_seed(plan.seed)
    data = inputs(probe, X)
    parted = split(data, rows_of(X), plan.seed)
    train, values, total = _training(plain, X, parted.seen, generator)
    mixed, mixed_values = _mixed(plain, parted.data, generator)
    read = Read(train, values, mixed, mixed_values)
    plan = replace(plan, tolerance=1 - (1 - plan.tolerance) * _calm(plain, X))
    coords, matched = trained(read, plan, generator, probe.address, next(tensors(data.batch)).device)
    notes = (
        "One map for each channel is shared by all places, and the tail is the network's own.",
        *plain.notes,
        *data_notes(data),
        *form_notes(plan, matched),
    )
    return PlacedMap(
        plain,
        coords,
        matched.maps,
        # Training saw a share of the rows; the noise is a share of their number.
        matched.noise.numpy() * (total / len(train)),
        matched.pearson.numpy(),
        tuple(matched.trace),
        notes,
        seen=parted.seen,
    )


def restore(probe: Probe, config: dict[str, Any], arrays: dict[str, Any]) -> PlacedMap:
    """The map that ``state`` described."""
    inner = {
        name.removeprefix("placed."): value for name, value in arrays.items() if name.startswith("placed.")
    }
    coords = {name.removeprefix(_PREFIX): value for name, value in arrays.items() if name.startswith(_PREFIX)}
    plain = activation.restore(probe, config["placed"], inner)
    assert plain is not None
    return PlacedMap(
        plain,
        Coordinates.from_arrays(coords),
        SphereMaps(torch.as_tensor(np.array(arrays["weight"])), torch.as_tensor(np.array(arrays["offset"]))),
        np.asarray(arrays["noise"]),
        np.asarray(arrays["pearson"]),
        tuple(config["trace"]),
        tuple(config["notes"]),
    )


def _training(
    plain: ActivationMap, X: Any, seen: Indices, generator: torch.Generator
) -> tuple[Tensor, Tensor, int]:
    """Features (R, d) and latents (R, C) at places of the examples ``seen``, shuffled, and how many rows X has."""
    read, total = [], 0
    for block in plain.blocks(X):
        total += block.targets.shape[0] * block.targets.shape[1]
        own = torch.from_numpy(np.isin(np.arange(block.rows.start, block.rows.stop), seen))
        features, targets = (
            block.features[:, own.to(block.features.device)],
            block.targets[own.to(block.targets.device)],
        )
        read.append(_rows(replace(block, features=features, targets=targets)))
    share = min(1.0, MOST_ROWS / max(1, sum(len(features) for features, _ in read)))
    kept = []
    for features, latents in read:
        chosen = torch.rand(len(features), generator=generator) < share
        kept.append((features[chosen], latents[chosen]))
    features, latents = torch.cat([f for f, _ in kept]), torch.cat([v for _, v in kept])
    order = torch.randperm(len(features), generator=generator)
    return features[order], latents[order], total


def _calm(plain: ActivationMap, X: Any) -> float:
    """Variance at an ordinary place beside that over all places: fidelity is asked for place by place."""
    latents = torch.cat([block.targets for _, block in zip(range(4), plain.blocks(X), strict=False)])
    inside = latents.var(0).quantile(0.25, dim=0) / latents.flatten(0, 1).var(0).clamp_min(1e-300)
    return float(inside.min().clamp(1e-3, 1))


def _mixed(plain: ActivationMap, data: Inputs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features and latents at POOL + HELD random places of mixtures."""
    places = int(np.prod(plain.places, dtype=np.int64))
    count = max(LEAST, -(-(POOL + HELD) // places))
    parts = [
        _rows(plain.block(batch, slice(0, length(batch))))
        for batch in mixtures(data, count, generator, CHUNK)
    ]
    features, latents = torch.cat([f for f, _ in parts]), torch.cat([v for _, v in parts])
    order = torch.randperm(len(features), generator=generator)[: POOL + HELD]
    return features[order], latents[order]


def _rows(block: Block) -> tuple[Tensor, Tensor]:
    """(n·P, d) and (n·P, C) on the CPU."""
    return block.features[0].flatten(0, 1).cpu(), block.targets.flatten(0, 1).cpu()
