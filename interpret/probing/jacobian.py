"""Gradients of many units in one pass, in pieces bounded by memory.

Three ways lead to the same (rows, units, *wrt_shape); the cheaper one is taken, by counting multiplications:

- reverse: batched vector–Jacobian products through the recorded graph, one per unit;
- direct: the same, but where the units are those of a linear layer it starts behind that layer, at its weights;
- forward: Jacobian–vector products, one per entry of ``wrt``, by running the model again on dual numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from interpret.errors import Unreachable

#: On a CPU pieces are kept small enough to stay in its caches.
CACHE_BYTES = 4 * 2**20
#: A step through the graph holds about this many tensors as large as its largest at once.
HELD = 6

#: From (k, *leaf_shape) to (rows, k, *wrt_shape).
Place = Callable[[torch.Tensor], torch.Tensor]
#: Cotangents of units start to stop, shaped (k, *output_shape).
Seeds = Callable[[int, int], torch.Tensor]


@dataclass(frozen=True)
class Cost:
    """Of one backward or forward step through a graph: multiplications, bytes of its largest tensor and of all."""

    multiplications: int
    largest: int
    recorded: int

    def chunk(self, chunk_bytes: int, device: torch.device, cached: int = CACHE_BYTES) -> int:
        """How many units fit into one piece, beside what the forward pass recorded."""
        fit = (chunk_bytes - self.recorded) // (HELD * self.largest)
        return max(1, min(fit, cached // self.largest) if device.type == "cpu" else fit)

    def rows(self, chunk_bytes: int, rows: int) -> int:
        """How many of the rows of this pass fit, with the step of a single unit."""
        return max(1, rows * chunk_bytes // (self.recorded + HELD * self.largest))


def gradient(y: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    """∂ Σ_n y_n / ∂ leaf for y (N,), shaped as the leaf: every row's gradient at once, because rows are independent."""
    return _grad(y.sum(), leaf)


def unit_seeds(units: int, like: torch.Tensor) -> Seeds:
    """Cotangents that pick single units out of a vector of them."""

    def seeds(start: int, stop: int) -> torch.Tensor:
        chosen = torch.zeros((stop - start, units), dtype=like.dtype, device=like.device)
        chosen[torch.arange(stop - start), torch.arange(start, stop)] = 1
        return chosen

    return seeds


def reverse(
    outputs: torch.Tensor, leaf: torch.Tensor, seeds: Seeds, place: Place, result: torch.Tensor, chunk: int
) -> None:
    """Fill ``result`` (rows, units, *wrt_shape) with the gradients of seeds·outputs, ``chunk`` units at a time."""
    units, batched = result.shape[1], True
    for start in range(0, units, chunk):
        stop = min(start + chunk, units)
        if batched:
            try:
                result[:, start:stop] = place(_grad(outputs, leaf, seeds(start, stop)))
                continue
            except Unreachable:
                raise
            except RuntimeError:
                batched = False  # an operation without a batching rule, as in some custom autograd.Function
        for u, seed in zip(range(start, stop), seeds(start, stop), strict=True):
            result[:, u : u + 1] = place(_grad(outputs, leaf, seed, batched=False)[None])


def forward(
    function: Callable[[torch.Tensor], torch.Tensor], leaf: torch.Tensor, result: torch.Tensor, chunk: int
) -> None:
    """Fill ``result`` (rows, units, *wrt_shape) by pushing unit tangents through ``function``: leaf to (rows, units).

    ``leaf`` has its rows first. One tangent serves all rows, because rows are independent.
    """
    entries = math.prod(leaf.shape[1:])
    flat = result.view(len(leaf), -1, entries)

    def push(tangent: torch.Tensor) -> torch.Tensor:
        pushed: torch.Tensor = torch.func.jvp(function, (leaf.detach(),), (tangent.expand_as(leaf),))[1]
        return pushed

    for start in range(0, entries, chunk):
        stop = min(start + chunk, entries)
        basis = unit_seeds(entries, leaf)(start, stop).reshape(-1, 1, *leaf.shape[1:])
        columns = torch.vmap(push, randomness="same")(basis)
        flat[:, :, start:stop] = columns.permute(1, 2, 0)


def agrees(y: torch.Tensor, leaf: torch.Tensor, place: Place, result: torch.Tensor, rows: int = 16) -> bool:
    """Is a random combination of the units' gradients what plain autograd gives? Looks at the first rows."""
    mix = torch.randn(y.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = (
        place(_grad(y @ mix.to(y), leaf, torch.ones_like(y[:, 0]), batched=False)[None])[:rows, 0]
        .double()
        .cpu()
    )
    mixed = torch.einsum("u,nu...->n...", mix, result[:rows].double().cpu())
    scale = torch.einsum("u,nu...->n...", mix.abs(), result[:rows].double().cpu().abs()).max()
    tolerance = 2e3 * torch.finfo(y.dtype).eps * float(scale)
    return bool(((plain - mixed).abs() <= tolerance).all())


def cost(y: torch.Tensor, leaf: torch.Tensor) -> Cost:
    """Walk the graph behind ``y`` and add up what one step through each of its nodes costs.

    Raises:
        Unreachable: ``y`` does not depend on the leaf.
    """
    if not y.requires_grad:
        raise _unreachable("it does not depend on it, or the model detaches or rounds on the way")
    largest, total, recorded, seen, todo = 1, 0, 0, set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for meta in getattr(node, "_input_metadata", ()):
            size = math.prod(meta.shape)
            largest = max(largest, size * meta.dtype.itemsize)
            recorded += size * meta.dtype.itemsize
            total += size * _fan_in(node)
        todo.extend(following for following, _ in node.next_functions)
    return Cost(total, largest, recorded)


def _fan_in(node: Any) -> int:
    """Multiplications per output entry of a node: the size of what each entry sums over."""
    for name in ("_saved_weight", "_saved_mat2"):
        weight = getattr(node, name, None)
        if isinstance(weight, torch.Tensor) and weight.ndim >= 2:
            return max(1, weight.shape[0] if name == "_saved_mat2" else math.prod(weight.shape[1:]))
    return 1


def _grad(
    y: torch.Tensor, leaf: torch.Tensor, seeds: torch.Tensor | None = None, batched: bool = True
) -> torch.Tensor:
    if not y.requires_grad:
        raise _unreachable("it does not depend on it, or the model detaches or rounds on the way")
    (found,) = torch.autograd.grad(
        y, leaf, seeds, retain_graph=True, allow_unused=True, is_grads_batched=seeds is not None and batched
    )
    if found is None:
        raise _unreachable("the forward pass does not lead from one to the other")
    return found


def _unreachable(why: str) -> Unreachable:
    return Unreachable(f"the place of wrt does not reach the unit: {why}")


def rows_in_front(pieces: torch.Tensor, axis: int, rows: int) -> torch.Tensor:
    """(k, *leaf_shape) with the rows on ``axis`` of the leaf, as (rows, k, *wrt_shape)."""
    pieces = pieces.movedim(axis + 1, 0)
    if len(pieces) == rows:
        return pieces
    return pieces.reshape(rows, -1, *pieces.shape[1:]).movedim(
        1, 2
    )  # several entries a row, such as N·T tokens
