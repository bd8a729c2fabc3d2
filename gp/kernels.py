"""What a kernel must provide: a feature map u(x), the targets it explains, and the way back to the output.

A kernel here is its feature map: k(x, x') = u(x)·u(x'). Everything downstream (sums, posterior,
contributions, neighbors, fidelity, storage) is written against this protocol and knows no networks.

Words used throughout the room
    group    heads that share one feature map. The activation kernel has one group for all heads (or one for
             each group of a grouped convolution), the learned kernel one for each head.
    place    a position that shares the kernel with its siblings: a pixel of a convolution, a token of a
             sequence. A *row* of the GP is an example at a place; without places there is one, P = 1.
    channel  a column of the targets: L heads are C channels at P places, ``head -> (channel, place)``.
    latent   what the GP predicts; the ``tail`` maps it to the output of the submodule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from interpret.errors import IndexOutOfRange, UsageError

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Consecutive examples after the feature map, float64 on any device.

    rows      which examples these are, counted from the first of the data
    features  (G, n, P, D) raw u(x): centre and metric are applied downstream
    targets   (n, P, C) what the GP is fitted to; channel c belongs to group c // (C // G)
    outputs   (n, *out) the submodule's own output for the same examples
    """

    rows: slice
    features: torch.Tensor
    targets: torch.Tensor
    outputs: torch.Tensor


@dataclass(frozen=True)
class Heads:
    """How the L heads lie in the channels and places, and in the shape the user sees.

    ``shape`` is the latent's shape without the batch; its flat index is the head. ``channel`` and ``place``
    are (L,). ``primary`` is the head that moves the output most where the output is one unit; 0 otherwise.
    """

    shape: tuple[int, ...]
    channel: Indices
    place: Indices
    primary: int = 0

    @classmethod
    def plain(cls, shape: tuple[int, ...]) -> Heads:
        """Heads without places: every element of ``shape`` is a channel. A single unit has shape ()."""
        count = int(np.prod(shape, dtype=np.int64))
        return cls(shape, np.arange(count), np.zeros(count, np.int64))

    def __len__(self) -> int:
        return len(self.channel)

    def number(self, head: int | tuple[int, ...] | None) -> int:
        """The flat index of a head given as one, as a tuple into ``shape``, or as None for the primary one.

        Raises:
            IndexOutOfRange: there is no such head.
            UsageError: it is no integer nor a tuple of them.

        """
        if head is None:
            return self.primary
        parts = head if isinstance(head, tuple) else (head,)
        if not all(isinstance(part, int | np.integer) and not isinstance(part, bool) for part in parts):
            raise UsageError(f"a head is an integer or a tuple of them; got {head!r:.40}")
        count, shape = len(self), self.shape
        if isinstance(head, tuple):
            if len(head) != len(shape) or not all(-n <= i < n for i, n in zip(head, shape, strict=True)):
                raise IndexOutOfRange(f"head {head}: the latent has shape {list(shape)}")
            return int(np.arange(count).reshape(shape)[head])
        if not -count <= head < count:
            raise IndexOutOfRange(f"head {head} is out of range: there are {count} heads, 0 to {count - 1}")
        return int(head) % count


@runtime_checkable
class FeatureMap(Protocol):
    """The contract of the kernels. A map is fixed once built: an example always gives the same features."""

    @property
    def kind(self) -> str:
        """``activation``, ``learned``, ``tangent`` or ``features``."""

    @property
    def groups(self) -> int:
        """G: 1 where all heads share the features, L where each head has its own."""

    @property
    def heads(self) -> Heads:
        """The layout of the heads."""

    @property
    def places(self) -> tuple[int, ...]:
        """Shape of the places of a training row, () where there are none; its product is P."""

    @property
    def metric(self) -> str:
        """Which metric the features get where the user names none, one of ``gp.posterior.METRICS``.

        It does not depend on the rows or the noise, so that distilling fewer rows at a given noise is what ``without``
        makes of all of them. ``none``: the raw features are u(x) themselves.
        """

    @property
    def center(self) -> bool:
        """Whether the mean of the raw features is subtracted."""

    @property
    def noise(self) -> Array | None:
        """(G,) where the map was made together with its noise; None lets the distillation choose."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Whole sentences the reader must know: a path round the layer, a fallback, a part not traced."""

    def blocks(self, X: Any) -> Iterator[Block]:
        """Run the model over ``X`` in order. No gradients, model restored, memory bounded by the block."""

    def tail(self, X: Any, latent: torch.Tensor) -> torch.Tensor:
        """Latent (N, *heads.shape) to output (N, *out), float64 on the CPU; the identity if linear.

        ``X`` are the same N examples: a path round the layer takes its exact value from them.
        """

    @property
    def linear(self) -> bool:
        """Whether ``tail`` is the identity, so that contributions reach the output itself."""

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What ``restore`` needs: JSON values and arrays; never raw inputs, never code."""


@dataclass(frozen=True)
class Options:
    """What every builder gets; ``extra`` holds one kernel's keyword arguments, checked by its builder."""

    seed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def double(values: torch.Tensor) -> torch.Tensor:
    """float64, on the CPU where the device knows no such numbers (Apple's MPS)."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def by_row(values: torch.Tensor) -> torch.Tensor:
    """(N, everything else), also where there is nothing else."""
    return values.reshape(len(values), -1)


#: name -> module with ``build(probe, X, options)`` and ``restore(probe, config, arrays)``, both -> FeatureMap
KERNELS = {
    "activation": "gp.activation",
    "learned": "gp.learned",
    "tangent": "gp.tangent",
}


def kernel_module(name: str) -> Any:
    """Import the module of a kernel by name.

    Raises:
        UsageError: no kernel of that name.

    """
    if name not in KERNELS:
        raise UsageError(f"no kernel {name!r}; there are {', '.join(map(repr, KERNELS))}")
    return import_module(KERNELS[name])
