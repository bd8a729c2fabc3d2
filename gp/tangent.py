"""The tangent kernel: u(x) is the gradient of a head in the parameters, through a seeded random projection.

k(x, x') = ∇_θ g(x)·∇_θ g(x') is the kernel that training moves along (Jacot et al., NeurIPS 2018); projecting it at
random keeps its products in expectation, as TRAK does (Park et al., ICML 2023). Coordinate j of the projection is a
directional derivative of the outputs along a random direction r_j of parameter space, so one forward-mode pass gives
it for all heads and rows of a batch, and no per-example gradient is ever stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gp.kernels import Array, Block, Heads, Options
from gp.site import exact_products
from interpret.address import parse
from interpret.errors import UsageError
from interpret.probe import Probe
from interpret.reading import Reader
from interpret.state import frozen

#: Projections of each head, fewer where there are many heads: heads × D stays within ``MOST``.
DIMENSION, LEAST, MOST = 512, 32, 16_384
#: Directions are kept between batches when they have at most this many numbers.
CACHED = 2**26


class Outputs(nn.Module):
    """The probe's values of a batch as a module of the model's parameters."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.model = probe.model
        self._reader = Reader(probe)
        self._tap = self._reader.tap(parse(probe.address))

    def forward(self, batch: Any) -> Tensor:
        """(n, *shape) on the model's device, differentiable."""
        self._reader.run(batch, [self._tap])
        return self._reader.arranged(self._tap, batch)


class Directions:
    """Gaussian directions of parameter space, made anew from the seed or kept."""

    def __init__(self, parameters: dict[str, Tensor], count: int, seed: int) -> None:
        self.like, self.count, self.seed = parameters, count, seed
        size = sum(p.numel() for p in parameters.values())
        self._kept: dict[int, dict[str, Tensor]] | None = {} if size * count <= CACHED else None

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Direction ``number``: a tensor for each parameter, standard normal over √count."""
        if self._kept is not None and number in self._kept:
            return self._kept[number]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        made = {
            name: (torch.randn(p.shape, generator=generator) / math.sqrt(self.count)).to(p)
            for name, p in self.like.items()
        }
        if self._kept is not None:
            self._kept[number] = made
        return made


@dataclass(frozen=True)
class TangentMap:
    """Projected parameter gradients of each head; see :class:`gp.kernels.FeatureMap`."""

    probe: Probe
    heads: Heads
    dimension: int
    seed: int
    notes: tuple[str, ...]
    kind: str = "tangent"
    metric: str = "half"
    center: bool = True
    noise: Array | None = None
    linear: bool = True
    places: tuple[int, ...] = ()

    @property
    def groups(self) -> int:
        """L: every head has its own gradient."""
        return len(self.heads)

    def blocks(self, X: Any) -> Iterator[Block]:
        """Blocks over ``X``, one for each batch of the probe."""
        outputs = Outputs(self.probe)
        parameters = trained(self.probe)
        directions = Directions(parameters, self.dimension, self.seed)
        for rows, batch in self.probe.batches(X):
            with frozen(self.probe.model), exact_products():
                features, values = project(outputs, parameters, batch, directions)
            yield Block(rows, features[:, :, None], values.reshape(len(values), 1, -1), values)

    def tail(self, X: Any, latent: Tensor) -> Tensor:
        """The latent is the output."""
        return latent.double().cpu()

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Configuration for :func:`restore`; there are no arrays: directions come from the seed."""
        config = {"shape": list(self.heads.shape), "dimension": self.dimension, "seed": self.seed}
        return {**config, "notes": list(self.notes)}, {}


def build(probe: Probe, X: Any, options: Options) -> TangentMap:
    """The tangent map of every output of ``probe``.

    ``options.extra`` takes ``dimension``, the number of projections of each head.

    Raises:
        UsageError: an unknown option, no parameters, or too many heads for per-head gradients.

    """
    unknown = sorted(set(options.extra) - {"dimension"})
    if unknown:
        raise UsageError(f"the tangent kernel takes no {', '.join(unknown)}; it takes dimension")
    trained(probe)
    _, first = next(iter(probe.stream(X, "values")))
    heads = Heads.plain(tuple(first.shape[1:]))
    dimension = options.extra.get("dimension")
    if dimension is None:
        dimension = min(DIMENSION, MOST // len(heads))
        if dimension < LEAST:
            raise UsageError(
                f"{probe.address!r} has {len(heads)} heads, each with its own gradients: address fewer units, or set "
                f"dimension"
            )
    if int(dimension) < 1:
        raise UsageError(f"dimension is a positive integer, not {dimension}")
    return TangentMap(probe, heads, int(dimension), options.seed, ())


def restore(probe: Probe | None, config: dict[str, Any], arrays: dict[str, Any]) -> TangentMap | None:
    """The map that ``state`` described; None without a model, which it needs to run."""
    if probe is None:
        return None
    heads = Heads.plain(tuple(config["shape"]))
    return TangentMap(probe, heads, config["dimension"], config["seed"], tuple(config["notes"]))


def trained(probe: Probe) -> dict[str, Tensor]:
    """The model's float parameters by name, detached.

    Raises:
        UsageError: there are none.

    """
    found = {name: p.detach() for name, p in probe.model.named_parameters() if p.is_floating_point()}
    if not found:
        raise UsageError(
            "the model has no parameters, so it has no tangent kernel; use 'activation' or 'learned'"
        )
    return found


def project(
    outputs: Outputs, parameters: dict[str, Tensor], batch: Any, directions: Directions
) -> tuple[Tensor, Tensor]:
    """Features (L, n, D) and values (n, *shape) of one prepared batch, float64."""
    names = {f"model.{name}": value for name, value in parameters.items()}
    with torch.no_grad():
        values = outputs(batch).double()

    def run(point: dict[str, Tensor]) -> Tensor:
        result: Tensor = torch.func.functional_call(outputs, point, (batch,))
        return result

    features = values.new_empty(values[0].numel(), len(values), directions.count)
    forward = True
    for number in range(directions.count):
        tangent = {f"model.{name}": value for name, value in directions[number].items()}
        if forward:
            try:
                slope = torch.func.jvp(run, (names,), (tangent,))[1]
            except (NotImplementedError, RuntimeError):
                if number:
                    raise
                forward = False  # an operation without forward mode; two backward passes do the same
        if not forward:
            slope = _twice_backward(run, names, tangent)
        features[:, :, number] = slope.double().reshape(len(values), -1).T
    return features, values


def _twice_backward(run: Any, point: dict[str, Tensor], tangent: dict[str, Tensor]) -> Tensor:
    """J·t by differentiating Jᵀs in s: for operations that lack a forward-mode derivative."""
    with torch.enable_grad():
        leaves = {name: value.clone().requires_grad_() for name, value in point.items()}
        result = run(leaves)
        probe = torch.zeros_like(result, requires_grad=True)
        pulled = torch.autograd.grad(
            result, list(leaves.values()), probe, create_graph=True, allow_unused=True
        )
        inner = sum((p * t).sum() for p, t in zip(pulled, tangent.values(), strict=True) if p is not None)
        if not isinstance(inner, Tensor):
            return torch.zeros_like(result)
        (slope,) = torch.autograd.grad(inner, probe, allow_unused=True)
    return torch.zeros_like(result) if slope is None else slope
