"""Convolutions as products with patches: the features that one output position sees, for any number of axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Convolution:
    """Geometry of a convolution; each field has an entry an axis. ``stuff`` is a transposed one's stride."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    stuff: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, weight: torch.Tensor, transposed: bool, **given: Any) -> Convolution:
        """Read the arguments of ``conv*d`` or ``conv_transpose*d``."""
        kernel = tuple(weight.shape[2:])
        dims = len(kernel)
        stride = _each(given.get("stride", 1), dims)
        dilation = _each(given.get("dilation", 1), dims)
        groups = int(given.get("groups", 1))
        ones = (1,) * dims
        reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if transposed:
            pad = _each(given.get("padding", 0), dims)
            extra = _each(given.get("output_padding", 0), dims)
            before = tuple(r - p for r, p in zip(reach, pad, strict=True))
            after = tuple(b + e for b, e in zip(before, extra, strict=True))
            return cls(kernel, ones, before, after, dilation, stride, groups)
        padding = given.get("padding", 0)
        if padding == "same":
            before = tuple(r // 2 for r in reach)
            after = tuple(r - r // 2 for r in reach)
        else:
            before = after = (0,) * dims if padding == "valid" else _each(padding, dims)
        return cls(kernel, stride, before, after, dilation, ones, groups)

    def usable(self, operand: int) -> bool:
        """Affine in the image, not in the kernel."""
        return operand == 0

    def features(self, x: torch.Tensor, operand: int = 0) -> torch.Tensor:
        """(n, *positions, G, D): the patch that each output position sees, D = C_in / G · taps."""
        x = F.pad(self._stuffed(x), self._padding())
        dims = len(self.kernel)
        for axis in range(dims):
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            x = x.unfold(2 + axis, reach, self.stride[axis])[..., :: self.dilation[axis]]
        x = x.movedim(1, 1 + dims)  # (n, *positions, C_in, *taps)
        return x.reshape(*x.shape[: 1 + dims], self.groups, -1)

    def channels_last(self, y: torch.Tensor, operand: int = 0) -> torch.Tensor:
        """(n, *positions, C) from the output."""
        return y.movedim(1, -1)

    def original(self, y: torch.Tensor, like: torch.Tensor, operand: int = 0) -> torch.Tensor:
        """Undo ``channels_last``."""
        return y.movedim(-1, 1)

    def _padding(self) -> list[int]:
        pads: list[int] = []
        for before, after in zip(reversed(self.before), reversed(self.after), strict=True):
            pads += [before, after]
        return pads

    def _stuffed(self, x: torch.Tensor) -> torch.Tensor:
        """Zeros between entries: a transposed convolution is a convolution of that."""
        if all(s == 1 for s in self.stuff):
            return x
        for axis, step in enumerate(self.stuff, start=2):
            spread = x.new_zeros(*x.shape[:axis], (x.shape[axis] - 1) * step + 1, *x.shape[axis + 1 :])
            place = torch.arange(0, spread.shape[axis], step, device=x.device)
            x = spread.index_copy(axis, place, x)
        return x


def _each(value: Any, dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    values = tuple(int(v) for v in value)
    return values * dims if len(values) == 1 else values
