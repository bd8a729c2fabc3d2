"""Where GP and network must agree: mixtures λx + (1 − λ)x' of training inputs, λ uniform in [−1, 2], plus noise.

The range beyond [0, 1] is GPEX's: it leaves the convex hull of the data, so that a match holds globally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gp.tracing import first_row, tensors
from interpret.probe import Probe
from interpret.probing import batches as batching

#: Noise on a mixture, as a share of the standard deviation of the input it is added to.
NOISE = 0.1
#: Rows and numbers of training inputs kept for making mixtures; of longer data every k-th row is kept.
MOST_ROWS, MOST_NUMBERS = 50_000, 2**27
#: Rows set aside at most.
MOST_ASIDE = 4096


@dataclass(frozen=True)
class Inputs:
    """Training inputs as one prepared batch, with the number of its rows and the stride they were taken at."""

    batch: Any
    rows: int
    stride: int

    @property
    def mixable(self) -> bool:
        """Whether any input is a float tensor, row by row: token ids cannot be mixed."""
        return any(t.is_floating_point() and t.ndim and len(t) == self.rows for t in tensors(self.batch))


def inputs(probe: Probe, X: Any) -> Inputs:
    """Collect the training inputs on the model's device, thinned evenly where there are too many."""
    total = batching.rows_of(X)
    stride = 1
    parts: list[Any] = []
    kept = numbers = 0
    for rows, batch in probe.batches(X):
        count = batching.count(batch)
        if not parts:
            width = max(1, sum(t.numel() for t in tensors(batch)) // count)
            most = max(2, min(MOST_ROWS, MOST_NUMBERS // width))
            stride = 1 if total is None else max(1, -(-total // most))
        chosen = [i for i in range(count) if (rows.start + i) % stride == 0]
        part = batch if len(chosen) == count else first_row(batch, count, chosen)
        parts.append(part)
        kept, numbers = kept + len(chosen), numbers + width * len(chosen)
        if kept >= most and total is None:
            break
    return Inputs(combine(lambda *pieces: torch.cat(pieces), *parts), kept, stride)


@dataclass(frozen=True)
class Split:
    """The inputs that maps are trained on, with the numbers (R,) of these rows in the data, and one of how many.

    The others are left for the residuals that intervals are calibrated on.
    """

    data: Inputs
    seen: np.ndarray
    weight: float


def split(data: Inputs, total: int | None, seed: int) -> Split:
    """Set a fifth of the rows aside, at least 20 of them and at most a third; none where thinning left enough aside."""
    numbers = np.arange(data.rows) * data.stride
    wanted = min(max(data.rows // 5, 20), data.rows // 3, MOST_ASIDE)
    aside = 0 if total is None else total - data.rows
    if aside >= wanted:
        return Split(data, numbers, float(data.stride))
    kept = np.sort(np.random.default_rng(seed).permutation(data.rows)[wanted:])
    part = Inputs(first_row(data.batch, data.rows, kept.tolist()), len(kept), data.stride)
    return Split(part, numbers[kept], data.stride * data.rows / len(kept))


def mixtures(data: Inputs, count: int, generator: torch.Generator, chunk: int = 1024) -> Iterator[Any]:
    """Yield ``count`` mixtures in prepared batches. Integer inputs are taken from the first of the two examples."""
    for start in range(0, count, chunk):
        size = min(chunk, count - start)
        first = torch.randint(data.rows, (size,), generator=generator)
        second = torch.randint(data.rows, (size,), generator=generator)
        share = 3 * torch.rand(size, generator=generator, dtype=torch.float64) - 1
        yield combine(_mixer(data.rows, first, second, share, generator), data.batch)


def _mixer(
    rows: int, first: Tensor, second: Tensor, share: Tensor, generator: torch.Generator
) -> Callable[[Tensor], Tensor]:
    def mix(values: Tensor) -> Tensor:
        if values.ndim == 0 or len(values) != rows:
            return values
        one = values[first.to(values.device)]
        if not values.is_floating_point():
            return one
        other = values[second.to(values.device)]
        weight = share.to(values).reshape(-1, *[1] * (values.ndim - 1))
        noise = torch.randn(one.shape, generator=generator).to(values)
        return weight * one + (1 - weight) * other + NOISE * values.std() * noise

    return mix


def combine(function: Callable[..., Any], *batches: Any) -> Any:
    """Apply a function to the tensors of batches of one structure; what is no tensor comes from the first."""
    head = batches[0]
    if isinstance(head, Tensor):
        return function(*batches)
    if isinstance(head, dict):
        return type(head)((key, combine(function, *(b[key] for b in batches))) for key in head)
    if isinstance(head, tuple) and hasattr(head, "_fields"):
        return type(head)(*(combine(function, *parts) for parts in zip(*batches, strict=True)))
    if isinstance(head, list | tuple):
        return type(head)(combine(function, *parts) for parts in zip(*batches, strict=True))
    return head
