"""What comes after the last affine layer, told by experiment: the tail is run on latents of our choice.

A tail that is linear and takes nothing else from x is folded: the GP then predicts the output itself. One that is a
known function (softmax, sigmoid, ...) is written down and needs no model later. Any other is run again each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gp.kernels import by_row
from gp.site import Runner, Site
from gp.tracing import first_row

#: Relative tolerance of the experiments where the model computes in double or in single precision.
TOLERANCES = {torch.float64: 1e-8, torch.float32: 2e-4}

#: Functions of the latent that are recognised by their values. Axes count from behind; None is elementwise.
FUNCTIONS: dict[str, tuple[Callable[..., torch.Tensor], tuple[Any, ...] | None]] = {
    "softmax": (torch.softmax, (-1, 1, "all")),
    "log_softmax": (torch.log_softmax, (-1, 1, "all")),
    "sigmoid": (torch.sigmoid, None),
    "tanh": (torch.tanh, None),
    "relu": (torch.relu, None),
    "gelu": (torch.nn.functional.gelu, None),
    "silu": (torch.nn.functional.silu, None),
    "softplus": (torch.nn.functional.softplus, None),
    "elu": (torch.nn.functional.elu, None),
    "leaky_relu": (torch.nn.functional.leaky_relu, None),
    "exp": (torch.exp, None),
    "square": (torch.square, None),
    "abs": (torch.abs, None),
}


@dataclass(frozen=True)
class Named:
    """A known function of the latent, then one element of it where ``index`` is given."""

    function: str
    axis: int | str | None
    index: int | None
    shape: tuple[int, ...]

    def __call__(self, latent: torch.Tensor) -> torch.Tensor:
        """(N, *shape) from (N, *latent_shape)."""
        function, _ = FUNCTIONS[self.function]
        if self.axis is None:
            y = function(latent)
        elif self.axis == "all":
            y = function(by_row(latent), -1)
        else:
            y = function(latent, self.axis)
        y = by_row(y)
        return (y if self.index is None else y[:, self.index]).reshape(len(latent), *self.shape)


class Experiment:
    """Runs the tail on latents (n, P, C) of our choice, with the rest of a sample batch as it is."""

    def __init__(self, runner: Runner, site: Site, batch: Any, rows: int, latent: torch.Tensor) -> None:
        self.runner, self.site, self.batch, self.rows = runner, site, batch, rows
        self.tolerance = TOLERANCES.get(latent.dtype, 2e-4)
        self.latent = latent.cpu().double()
        self.generator = torch.Generator().manual_seed(0)
        self.mean = self.latent.mean((0, 1))
        spread = self.latent.std((0, 1))
        self.spread = torch.where(spread > 0, spread, spread.max().clamp_min(1e-12))

    def __call__(self, latent: torch.Tensor, index: list[int] | None = None) -> torch.Tensor:
        """(n, *out) float64. ``index`` chooses the batch rows behind the latents; by default all in order."""
        index = list(range(self.rows)) if index is None else index
        batch = first_row(self.batch, self.rows, index)
        return self.runner(batch, self.site.putting(latent, len(index))).cpu().double()

    def draw(self) -> torch.Tensor:
        """Random latents that spread as the real ones do."""
        noise = torch.randn(self.latent.shape, generator=self.generator, dtype=torch.float64)
        return self.mean + self.spread * noise

    def constant(self) -> bool:
        """Whether the output takes nothing from x but the latent."""
        z = self.draw()
        rolled = [*range(1, self.rows), 0]
        return close(self(z), self(z, rolled), self.tolerance)

    def linear(self) -> bool:
        """Whether the output is affine in the latent, near the data and ten times as far out."""
        for scale in (1.0, 10.0):
            a, b = scale * (self.draw() - self.mean), scale * (self.draw() - self.mean)
            left = self(self.mean + a) + self(self.mean + b)
            right = self(self.mean + a + b) + self(self.mean.expand_as(a))
            spread = float((self(self.mean + a) - self(self.mean.expand_as(a))).std())
            if not close(left, right, self.tolerance, spread):
                return False
        return True

    def responds(self) -> bool:
        """Whether the latent moves the output at all."""
        z = self.draw()
        still = self(self.mean.expand_as(z))
        moved = (self(z) - still).abs().max()
        return bool(moved > 1e-9 * (still.abs().max() + 1e-30) and moved > 0)

    def share_around(self) -> float:
        """Share of the output's variance that the paths round the layer carry, with the latent at its mean."""
        rest = self(self.mean.expand_as(self.latent))
        by_layer = self(self.latent) - rest
        around, through = float(by_row(rest).var(0).sum()), float(by_row(by_layer).var(0).sum())
        total = around + through
        return around / total if total > 0 else 0.0

    def influence(self) -> torch.Tensor:
        """(C,) how much one standard deviation of each channel moves the output, on average over a few rows."""
        channels, few = self.latent.shape[-1], min(self.rows, 4)
        moved = torch.zeros(channels, dtype=torch.float64)
        for row in range(few):
            base = self.latent[row : row + 1]
            still = by_row(self(base, [row]))
            for start in range(0, channels, 256):
                chosen = torch.arange(start, min(start + 256, channels))
                pushed = base.repeat(len(chosen), 1, 1)
                pushed[torch.arange(len(chosen)), :, chosen] += self.spread[chosen, None]
                gap = by_row(self(pushed, [row] * len(chosen))) - still
                moved[chosen] += gap.abs().sum(1) / few
        return moved


def named(latent: torch.Tensor, output: torch.Tensor, tolerance: float) -> Named | None:
    """The known function that makes ``output`` (n, *out) of ``latent`` (n, *shape), or None."""
    shape = tuple(output.shape[1:])
    count = math.prod(shape)
    for name, (_, axes) in FUNCTIONS.items():
        for axis in axes or (None,):
            if axis == 1 and latent.ndim < 3:
                continue
            whole = by_row(Named(name, axis, None, tuple(latent.shape[1:]))(latent))
            if whole.shape[1] == count and close(whole, by_row(output), tolerance):
                return Named(name, axis, None, shape)
            if count == 1:
                near = (whole - output.reshape(-1, 1)).abs().amax(0)
                index = int(near.argmin())
                if close(whole[:, index], output.flatten(), tolerance):
                    return Named(name, axis, index, shape)
    return None


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float, scale: float | None = None) -> bool:
    """Whether two results of the model are the same up to its rounding, judged beside their own spread."""
    if a.shape != b.shape or not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return False
    scale = float(a.std()) if scale is None else scale
    rounding = tolerance * 1e-3 * float(a.abs().max())
    return bool((a - b).abs().max() <= tolerance * max(scale, 1e-12) + rounding)
