"""Gradients of many units in one pass: batched vector–Jacobian products, in pieces bounded by memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from interpret.errors import ModelError, Unreachable


def gradient(y: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    """∂ Σ_n y_n / ∂ leaf for y (N,): the gradient of every row at once, because rows are independent."""
    return _grad(y.sum(), leaf)


def jacobian(
    y: torch.Tensor, leaf: torch.Tensor, place: Callable[[torch.Tensor], torch.Tensor], chunk_bytes: int
) -> torch.Tensor:
    """(N, U, *wrt_shape) for y (N, U). ``place`` brings a gradient shaped as ``leaf`` to (N, *wrt_shape).

    The intermediate tensors of a piece take about ``chunk_bytes``; the result itself comes on top.
    """
    rows, units = y.shape
    sums = y.sum(0)
    size = max(1, min(units, chunk_bytes // max(1, bytes_per_unit(sums))))
    result: torch.Tensor | None = None
    batched = True
    for start in range(0, units, size):
        stop = min(start + size, units)
        pieces, batched = _piece(sums, leaf, start, stop, batched)
        for u, piece in zip(range(start, stop), pieces, strict=True):
            placed = place(piece)
            if result is None:
                result = torch.empty(
                    (rows, units, *placed.shape[1:]), dtype=placed.dtype, device=placed.device
                )
            result[:, u] = placed
    if result is None:
        raise Unreachable("the address holds no unit")
    return result


def _piece(
    sums: torch.Tensor, leaf: torch.Tensor, start: int, stop: int, batched: bool
) -> tuple[Iterator, bool]:
    """Gradients of units start to stop, shaped as the leaf; one batched backward, or one each where vmap cannot."""
    if batched and stop - start > 1:
        seeds = torch.zeros((stop - start, len(sums)), dtype=sums.dtype, device=sums.device)
        seeds[torch.arange(stop - start), torch.arange(start, stop)] = 1
        try:
            return iter(_grad(sums, leaf, seeds)), True
        except (RuntimeError, NotImplementedError):
            pass  # an operation without a batching rule, such as a custom autograd.Function: one backward per unit
    return (_grad(sums[u], leaf) for u in range(start, stop)), False


def _grad(y: torch.Tensor, leaf: torch.Tensor, seeds: torch.Tensor | None = None) -> torch.Tensor:
    if not y.requires_grad:
        raise _unreachable("it does not depend on it, or the model detaches or rounds on the way")
    (found,) = torch.autograd.grad(
        y, leaf, seeds, retain_graph=True, allow_unused=True, is_grads_batched=seeds is not None
    )
    if found is None:
        raise _unreachable("the forward pass does not lead from one to the other")
    return found


def _unreachable(why: str) -> Unreachable:
    return Unreachable(f"the place of wrt does not reach the unit: {why}")


def bytes_per_unit(y: torch.Tensor) -> int:
    """About what one backward from ``y`` allocates: three times the largest tensor between it and the leaves."""
    largest, seen, todo = 1, set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for meta in getattr(node, "_input_metadata", ()):
            largest = max(largest, math.prod(meta.shape) * meta.dtype.itemsize)
        todo.extend(following for following, _ in node.next_functions)
    return 3 * largest


__all__ = ["ModelError", "bytes_per_unit", "gradient", "jacobian"]
