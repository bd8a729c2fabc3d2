"""The array functions of the Gram matrices, on NumPy or on torch in float64: one code path, two libraries.

NumPy is the default, and gives the same bytes as ever. Torch is for a device: `to_device` brings an array there,
`module` finds the functions that belong to an array, `host` brings a result back.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from interpret.errors import UsageError

if TYPE_CHECKING:
    import torch


def to_device(array: Any, device: str | None) -> Any:
    """The array itself where ``device`` is None, else a float64 tensor there.

    Raises:
        UsageError: torch does not know the device, or cannot use it here.
    """
    if device is None:
        return array
    import torch

    try:
        return torch.as_tensor(array, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device={device!r} cannot be used: {str(error).splitlines()[0]}; leave device out for the CPU"
        ) from error


def host(array: Any) -> Any:
    """A NumPy array of either's numbers."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def module(array: Any) -> Any:
    """The functions for arrays of this kind."""
    return NUMPY if isinstance(array, np.ndarray) else _torch()


def _ratio(a: Any, b: Any, good: Any) -> Any:
    return np.divide(a, b, out=np.zeros_like(b), where=good)


def _middle(values: Any) -> Any:
    k = values.shape[-1] // 2
    return np.partition(values, k, axis=-1)[..., k : k + 1]


def total(values: Any) -> Any:
    """The sums of a NumPy array along its last axis."""
    width = values.shape[-1]
    if not 0 < width < 8:
        return values.sum(-1)
    # NumPy adds fewer than eight numbers one after the other too, but point by point.
    found = values[..., 0]
    for k in range(1, width):
        found = found + values[..., k]
    return found


def middle(values: Any) -> Any:
    """The median of NumPy numbers (n,), as `numpy.median` gives it."""
    half = len(values) // 2
    if len(values) % 2 or not half:
        return np.median(values)
    pair = np.partition(values, (half - 1, half, -1))
    return pair[-1] if np.isnan(pair[-1]) else (pair[half - 1] + pair[half]) / 2


def _mean(values: Any) -> Any:
    return np.add.reduce(values, -1) / values.shape[-1]


#: ``total`` and ``mean`` are over the last axis; ``ratio`` is a/b where good and 0 elsewhere; ``middle`` the upper
#: median along the last axis, kept as an axis.
NUMPY = SimpleNamespace(
    sqrt=np.sqrt, abs=np.abs, where=np.where, isfinite=np.isfinite, maximum=np.maximum, minimum=np.minimum,
    einsum=np.einsum, eigh=np.linalg.eigh, stack=np.stack, median=np.median, ratio=_ratio, middle=_middle,
    swap=lambda a: np.swapaxes(a, 1, 2), eye=lambda size, like: np.eye(size),
    total=total, mean=_mean, joined=np.concatenate,
    full=lambda shape, value, like: np.full(shape, value), spread=np.broadcast_to, packed=np.ascontiguousarray,
)  # fmt: skip


def _torch() -> Any:
    if not _TORCH:
        _TORCH.append(_torch_functions())
    return _TORCH[0]


_TORCH: list[Any] = []


def _torch_functions() -> Any:
    import torch

    def pair(function: Any) -> Any:
        return lambda a, b: function(a, torch.as_tensor(b, dtype=a.dtype, device=a.device))

    def where(condition: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
        return torch.where(condition, a, b)

    def ratio(a: torch.Tensor, b: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
        return torch.where(good, a / torch.where(good, b, 1.0), 0.0)

    def middle(values: torch.Tensor) -> torch.Tensor:
        return torch.kthvalue(values, values.shape[-1] // 2 + 1, dim=-1, keepdim=True).values

    def median(values: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.quantile(values, 0.5, dim=axis)

    return SimpleNamespace(
        sqrt=torch.sqrt, abs=torch.abs, where=where, isfinite=torch.isfinite, maximum=pair(torch.maximum),
        minimum=pair(torch.minimum), einsum=torch.einsum, eigh=torch.linalg.eigh,
        stack=lambda a, axis: torch.stack(a, axis),
        median=median, ratio=ratio, middle=middle, swap=lambda a: a.transpose(1, 2),
        eye=lambda size, like: torch.eye(size, dtype=like.dtype, device=like.device),
        full=lambda shape, value, like: torch.full(shape, value, dtype=like.dtype, device=like.device),
        spread=torch.broadcast_to, packed=torch.Tensor.contiguous,
        total=lambda a: a.sum(-1), mean=lambda a: a.mean(-1), joined=torch.cat,
    )  # fmt: skip
