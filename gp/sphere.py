"""Per-head feature maps onto the unit sphere: u(x) = z/‖z‖ with z = φ(h(x)) W + b, one W and b for each head.

h(x) is what the network's body hands over, φ a fixed change of coordinates made from the training data alone: centre,
principal axes, half-whitening, and, where the outputs are not nearly linear in h, random rectified features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Principal axes kept of a wide body; beyond that a per-head map costs more than it gains.
MAX_AXES = 256
#: Rectified random features added where the outputs are not linear in the body.
LIFTED = 512
#: Share of the largest eigenvalue added to each before half-whitening: small directions stay small.
FLOOR = 1e-3


@dataclass(frozen=True)
class Coordinates:
    """Fixed coordinates of the body: ``(h − centre) axes``, after an optional lift to rectified random features.

    centre (d,) and axes (d, e) act on the body, ``lift`` (e, r) and ``shift`` (r,) make the random features, and
    ``outer_centre`` (e + r,), ``outer_axes`` (e + r, f) are the coordinates of both together. Float64.
    """

    centre: Tensor
    axes: Tensor
    lift: Tensor | None = None
    shift: Tensor | None = None
    outer_centre: Tensor | None = None
    outer_axes: Tensor | None = None

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return int((self.axes if self.outer_axes is None else self.outer_axes).shape[1])

    def __call__(self, body: Tensor) -> Tensor:
        """Coordinates (n, width) of ``body`` (n, d), in float64."""
        inner = (body.to(self.axes) - self.centre) @ self.axes
        if self.lift is None or self.shift is None or self.outer_centre is None or self.outer_axes is None:
            return inner
        lifted = torch.relu(inner @ self.lift + self.shift)
        return (torch.cat([inner, lifted], dim=1) - self.outer_centre) @ self.outer_axes

    def to(self, device: torch.device) -> Coordinates:
        """The same coordinates on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return Coordinates(**moved)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Every tensor that is there, by name."""
        return {name: value.cpu().numpy() for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.float64]]) -> Coordinates:
        """The inverse of ``arrays``."""
        return cls(**{name: torch.as_tensor(np.array(value)) for name, value in arrays.items()})


def principal(body: Tensor, limit: int = MAX_AXES) -> tuple[Tensor, Tensor]:
    """Centre (d,) and half-whitened principal axes (d, e ≤ limit), scaled so that a mean squared row is its width.

    Half-whitening multiplies eigendirections by (eigenvalue + floor)^(−1/4): between distances as the network has them,
    in which few directions drown the rest, and whitening, which blows up noise.
    """
    body = body.double()
    centre = body.mean(dim=0)
    rows = body - centre
    # The smaller Gram matrix has the same spectrum; wide bodies (d > M) never form a d×d matrix.
    if rows.shape[1] <= rows.shape[0]:
        spectrum, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    else:
        spectrum, left = torch.linalg.eigh(rows @ rows.T / len(rows))
        vectors = rows.T @ left / (spectrum.clamp_min(1e-300) * len(rows)).sqrt()
    order = torch.arange(len(spectrum) - 1, -1, -1, device=body.device)[:limit]
    order = order[spectrum[order] > 1e-10 * spectrum[-1]]
    axes = vectors[:, order] * (spectrum[order] + FLOOR * spectrum[-1]) ** -0.25
    mean_square = (rows @ axes).square().sum(dim=1).mean()
    return centre, axes * torch.sqrt(axes.shape[1] / mean_square)


def coordinates(body: Tensor, *, lifted: bool, generator: torch.Generator) -> Coordinates:
    """Coordinates of the body at the M training examples (M, d), with or without rectified random features."""
    centre, axes = principal(body)
    if not lifted:
        return Coordinates(centre, axes)
    width = axes.shape[1]
    lift = torch.randn(width, LIFTED, generator=generator, dtype=torch.float64).to(axes) / math.sqrt(width)
    shift = torch.randn(LIFTED, generator=generator, dtype=torch.float64).to(axes) * 0.5
    inner = (body.double() - centre) @ axes
    both = torch.cat([inner, torch.relu(inner @ lift + shift)], dim=1)
    outer_centre, outer_axes = principal(both)
    return Coordinates(centre, axes, lift, shift, outer_centre, outer_axes)


@dataclass(frozen=True)
class SphereMaps:
    """The maps of L heads: ``weight`` (L, f, D) and ``offset`` (L, 1, D)."""

    weight: Tensor
    offset: Tensor

    @classmethod
    def start(cls, heads: int, width: int, dim: int, generator: torch.Generator) -> SphereMaps:
        """Every head starts from the first ``dim`` coordinates, so from the body's own geometry, off the origin.

        The offset carries the length of φ(h), which normalising alone would lose; a little noise tells heads apart.
        """
        weight = (
            0.05 * torch.randn(heads, width, dim, generator=generator, dtype=torch.float64) / math.sqrt(width)
        )
        first = min(width, dim)
        weight[:, :first, :first] += torch.eye(first, dtype=torch.float64)
        offset = torch.randn(heads, 1, dim, generator=generator, dtype=torch.float64)
        return cls(weight, offset)

    def __call__(self, coords: Tensor) -> Tensor:
        """Unit features (L, n, D) of coordinates (n, f)."""
        heads, width, dim = self.weight.shape
        # One product for all heads: batched products would copy the coordinates for each.
        side_by_side = self.weight.transpose(0, 1).reshape(width, heads * dim)
        raw = torch.addmm(self.offset.reshape(-1), coords, side_by_side).reshape(len(coords), heads, dim)
        squares = raw.square().sum(dim=-1, keepdim=True)
        unit: Tensor = raw * (squares + torch.finfo(raw.dtype).tiny).rsqrt()
        return unit.transpose(0, 1)

    def to(self, like: Tensor) -> SphereMaps:
        """The same maps in the dtype and on the device of ``like``."""
        return SphereMaps(self.weight.to(like), self.offset.to(like))

    def heads(self, part: slice) -> SphereMaps:
        """The maps of some heads."""
        return SphereMaps(self.weight[part], self.offset[part])
