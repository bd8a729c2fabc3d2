"""The tangent kernel: u(x) is the gradient of a head in the parameters, through a seeded random projection.

k(x, x') = ∇_θ g(x)·∇_θ g(x') is the kernel that training moves along (Jacot et al., NeurIPS 2018); projecting it at
random keeps its products in expectation, as TRAK does (Park et al., ICML 2023). Coordinate j of the projection is a
directional derivative of the outputs along a random direction r_j of parameter space, so one pass gives it for all
heads and rows of a batch, and no per-example gradient is ever stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gp.kernels import Array, Block, Heads, Options, double
from gp.site import FEW, exact_products, precise, sample, snapshot, twin
from interpret.address import parse
from interpret.errors import ModelError, UsageError
from interpret.probe import Probe
from interpret.probing.reading import Reader
from interpret.probing.state import frozen

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
    """Projected parameter gradients of each head; see ``gp.kernels.FeatureMap``."""

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
        """Blocks over ``X``, one for each batch of the probe.

        Attention runs in its plain form: the fused ones cannot be differentiated along a direction of the parameters.
        """
        outputs = Outputs(self.probe)
        parameters = trained(self.probe)
        directions = Directions(parameters, self.dimension, self.seed)
        for rows, batch in self.probe.batches(X):
            with frozen(self.probe.model), exact_products(), sdpa_kernel(SDPBackend.MATH):
                features, values = project(outputs, parameters, batch, directions)
            yield Block(rows, features[:, :, None], values.reshape(len(values), 1, -1), values)

    def tail(self, X: Any, latent: Tensor) -> Tensor:
        """The latent is the output."""
        return latent.double().cpu()

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Configuration for ``restore``; there are no arrays: directions come from the seed."""
        config = {"shape": list(self.heads.shape), "dimension": self.dimension, "seed": self.seed}
        return {**config, "notes": list(self.notes), "double": self.probe.dtype == torch.float64}, {}


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
    batch, _ = sample(probe, X, FEW)
    probe = precise(probe, batch)
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
    probe = twin(probe) if config.get("double") else snapshot(probe)
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
    """Features (L, n, D) and values (n, *shape) of one prepared batch, float64.

    Raises:
        ModelError: the model has an operation that can be differentiated neither twice backward nor forward.

    """
    point = {f"model.{name}": value for name, value in parameters.items()}
    try:
        values, slopes = _twice_backward(outputs, point, batch)
        first = slopes(directions[0])
    except (ModelError, NotImplementedError, RuntimeError):
        values, slopes = _forward_mode(outputs, point, batch)
        first = slopes(directions[0])
    exact = double(values)
    features = exact.new_empty(values[0].numel(), len(values), directions.count)
    for number in range(directions.count):
        slope = first if number == 0 else slopes(directions[number])
        features[:, :, number] = double(slope).reshape(len(values), -1).T
    return features, exact


Slopes = Callable[[dict[str, Tensor]], Tensor]


def _twice_backward(outputs: Outputs, point: dict[str, Tensor], batch: Any) -> tuple[Tensor, Slopes]:
    """J·t as the derivative in s of (Jᵀs)·t: the graph of Jᵀs is made once, each direction is one pass through it."""
    with torch.enable_grad():
        leaves = {name: value.clone().requires_grad_() for name, value in point.items()}
        result: Tensor = torch.func.functional_call(outputs, leaves, (batch,))
        seed = torch.zeros_like(result, requires_grad=True)
        pulled = torch.autograd.grad(
            result, list(leaves.values()), seed, create_graph=True, allow_unused=True
        )
    used = {
        name.removeprefix("model."): p
        for name, p in zip(leaves, pulled, strict=True)
        if p is not None and p.requires_grad
    }

    if any(_severed(p.grad_fn) for p in used.values()):
        raise NotImplementedError("an operation can be differentiated only once")

    def slopes(direction: dict[str, Tensor]) -> Tensor:
        if not used:
            return torch.zeros_like(result)
        (slope,) = torch.autograd.grad(
            list(used.values()),
            seed,
            [direction[name] for name in used],
            retain_graph=True,
            materialize_grads=True,
        )
        return slope

    return result.detach(), slopes


def _severed(node: Any) -> bool:
    """Whether the graph has a node that stands for a missing second derivative: it would count as zero."""
    seen, stack = set(), [node]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if "error" in node.name().lower():
            return True
        stack.extend(following for following, _ in node.next_functions)
    return False


def _forward_mode(outputs: Outputs, point: dict[str, Tensor], batch: Any) -> tuple[Tensor, Slopes]:
    """J·t by forward-mode differentiation: for operations that cannot be differentiated twice."""

    def run(at: dict[str, Tensor]) -> Tensor:
        result: Tensor = torch.func.functional_call(outputs, at, (batch,))
        return result

    def slopes(direction: dict[str, Tensor]) -> Tensor:
        tangent = {f"model.{name}": value for name, value in direction.items()}
        slope: Tensor = torch.func.jvp(run, (point,), (tangent,))[1]
        return slope

    with torch.no_grad():
        return run(point), slopes
