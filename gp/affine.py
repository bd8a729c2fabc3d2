"""Affine operations as tracing meets them: which operand carries x, what its features are, where the output lies.

An operation is affine in x when exactly one operand depends on x. Its features are the entries that meet one
row of weights: the contracted axes of a product, the patch under the kernel of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from gp.patches import Convolution


@dataclass(frozen=True)
class Product:
    """A two-operand contraction in Einstein notation, such as ``bd,cd->bc``."""

    letters: tuple[str, str]
    out: str

    def usable(self, operand: int) -> bool:
        """Whether it is affine with shared weights in that operand: no axis of both survives, none is summed alone."""
        x, w = set(self.letters[operand]), set(self.letters[1 - operand])
        out = set(self.out)
        distinct = len(x) == len(self.letters[operand]) and len(self.out) == len(out)
        return distinct and not (x & w & out) and not ((x ^ w) - out) and bool(x & out)

    def features(self, x: torch.Tensor, operand: int) -> torch.Tensor:
        """(*lead, 1, D) from the operand that depends on x."""
        x_letters = self.letters[operand]
        lead = [a for a in self.out if a in x_letters]
        inner = [a for a in x_letters if a not in self.out]
        x = x.permute([x_letters.index(a) for a in (*lead, *inner)])
        return x.reshape(*x.shape[: len(lead)], 1, -1)

    def channels_last(self, y: torch.Tensor, operand: int) -> torch.Tensor:
        """(*lead, C) from the output."""
        lead, channels = self._split(operand)
        y = y.permute([self.out.index(a) for a in (*lead, *channels)])
        return y.reshape(*y.shape[: len(lead)], -1)

    def original(self, y: torch.Tensor, like: torch.Tensor, operand: int) -> torch.Tensor:
        """Undo ``channels_last``; ``like`` is the operation's own output."""
        lead, channels = self._split(operand)
        order = [self.out.index(a) for a in (*lead, *channels)]
        y = y.reshape(*y.shape[: len(lead)], *[like.shape[i] for i in order[len(lead) :]])
        return y.permute([order.index(i) for i in range(len(order))]) if order else y

    def _split(self, operand: int) -> tuple[list[str], list[str]]:
        x_letters = self.letters[operand]
        return [a for a in self.out if a in x_letters], [a for a in self.out if a not in x_letters]


Operation = Product | Convolution


@dataclass(frozen=True)
class Call:
    """One operation with its two operands; the bias plays no part, the GP has a baseline."""

    operation: Operation
    operands: tuple[torch.Tensor, torch.Tensor]


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _matmul(a: torch.Tensor, b: torch.Tensor) -> Call | None:
    if a.ndim > 2 and b.ndim > 2:
        return None  # weights that differ from batch entry to batch entry
    free = iter(_LETTERS)
    inner = next(free)
    left = "".join(next(free) for _ in range(a.ndim - 1)) + inner
    if b.ndim == 1:
        return Call(Product((left, inner), left[:-1]), (a, b))
    lead, last = "".join(next(free) for _ in range(b.ndim - 2)), next(free)
    # Batch axes come first: those of b stand before the rows of a, those of a stand where they are.
    return Call(Product((left, lead + inner + last), lead + left[:-1] + last), (a, b))


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> Call:
    letters = _LETTERS[: x.ndim]
    if weight.ndim == 1:
        return Call(Product((letters, letters[-1]), letters[:-1]), (x, weight))
    return Call(Product((letters, "z" + letters[-1]), letters[:-1] + "z"), (x, weight))


def _addmm(bias: Any, a: torch.Tensor, b: torch.Tensor, **_: Any) -> Call | None:
    return _matmul(a, b)


def _rmatmul(b: torch.Tensor, a: torch.Tensor) -> Call | None:
    return _matmul(a, b)


def _einsum(equation: Any, *operands: Any) -> Call | None:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2 or "." in equation or "->" not in equation:
        return None
    left, out = equation.replace(" ", "").split("->")
    first, second = left.split(",")
    return Call(Product((first, second), out), (operands[0], operands[1]))


def _conv(dims: int, transposed: bool) -> Callable[..., Call | None]:
    def read(x: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any) -> Call | None:
        names = ["bias", "stride", "padding", "dilation", "groups"]
        if transposed:
            names = ["bias", "stride", "padding", "output_padding", "groups", "dilation"]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        given.pop("bias", None)
        if x.ndim != dims + 2:
            return None  # without a batch axis: one example is one row
        return Call(Convolution.of(weight, transposed, **given), (x, weight))

    return read


#: What tracing recognises: function -> reader of its arguments.
READERS: dict[Any, Callable[..., Call | None]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    torch.Tensor.matmul: _matmul,
    torch.Tensor.__matmul__: _matmul,
    torch.Tensor.__rmatmul__: _rmatmul,
    torch.mm: _matmul,
    torch.Tensor.mm: _matmul,
    torch.mv: _matmul,
    torch.Tensor.mv: _matmul,
    torch.addmm: _addmm,
    torch.Tensor.addmm: _addmm,
    torch.einsum: _einsum,
    **{getattr(torch, f"conv{d}d"): _conv(d, False) for d in (1, 2, 3)},
    **{getattr(F, f"conv{d}d"): _conv(d, False) for d in (1, 2, 3)},
    **{getattr(torch, f"conv_transpose{d}d"): _conv(d, True) for d in (1, 2, 3)},
    **{getattr(F, f"conv_transpose{d}d"): _conv(d, True) for d in (1, 2, 3)},
}


def read(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """The affine call that ``function(*args, **kwargs)`` is, or None where it is another or has no two operands."""
    reader = READERS.get(function)
    if reader is None:
        return None
    try:
        call = reader(*args, **_renamed(kwargs))
    except TypeError:
        return None  # a calling convention that the readers do not know
    if call is None or not all(isinstance(t, torch.Tensor) for t in call.operands):
        return None
    return call


_NAMES = {"input": "x", "other": "b", "mat2": "b", "mat1": "a", "vec": "b", "tensor2": "b"}


def _renamed(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in kwargs.items()}
