"""The posterior of a linear-kernel GP in its own eigenbasis: mean b + u·w, variance τ²σ² u(UᵀU+σ²I)⁻¹uᵀ.

Features are rotated into the eigenbasis of UᵀU (a kernel does not see rotations), where the posterior is a division
by eigenvalue plus noise. Where the noise is so small that rounding of the sums would be seen through it, one more
pass over the rows takes the sums in that basis, where small directions are small numbers and lose no digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from gp.sums import Centred
from interpret.errors import DeadUnit, UsageError

Tensor = torch.Tensor

#: metric -> (exponent p of (eigenvalue + floor)^(-p), whether mean k(x, x) becomes 1)
METRICS = {"none": (0.0, False), "raw": (0.0, True), "half": (0.25, True), "full": (0.5, True)}
#: Half-whitening adds this share of the largest eigenvalue, so that directions of rounding noise stay small.
FLOOR = 1e-3
#: Below this noise, as a share of the largest eigenvalue, the sums are taken again in the eigenbasis.
SMALL_NOISE = 1e-6
#: Length, as a share of the rows', below which a direction holds rounding errors only.
ROUNDING = 1e-14
#: Features at least this wide, and twice as wide as there are rows, are decomposed in the rows' span only.
WIDE = 256


@dataclass(frozen=True)
class Basis:
    """z = (h − center) rotation, for G groups: (G, D) and (G, D, E); ``eigenvalues`` (G, E) of ZᵀZ, descending.

    ``back`` (G, E, D) undoes the rotation, ``turn`` (G, E, E) leads from z to the u that users see.
    """

    center: Tensor
    rotation: Tensor
    back: Tensor
    turn: Tensor
    eigenvalues: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(G, ..., E) from raw features (G, ..., D) on any device."""
        groups, *middle, width = features.shape
        h = features.to(self.center).reshape(groups, -1, width) - self.center[:, None]
        return (h @ self.rotation).reshape(groups, *middle, -1)

    def one(self, group: int, features: Tensor) -> Tensor:
        """(..., E) of one group from its raw features (..., D)."""
        return (features.to(self.center) - self.center[group]) @ self.rotation[group]

    def raw(self, z: Tensor) -> Tensor:
        """Undo ``__call__`` on (G, R, E)."""
        return z @ self.back + self.center[:, None]


def basis(sums: Centred, metric: str) -> Basis:
    """The eigenbasis of the centred features under a metric.

    Raises:
        UsageError: no metric of that name.
        DeadUnit: the features are constant.

    """
    if metric not in METRICS:
        raise UsageError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    power, unit = METRICS[metric]
    values, vectors = spectrum(sums.gram, sums.count)
    largest = values[:, :1]
    if bool((largest <= 0).any()):
        raise DeadUnit(
            "the features are the same at every training row (or so small that their squares vanish); there is "
            "nothing to tell examples apart by"
        )
    scale = (values + (FLOOR * largest if power else 0)) ** -power if power else torch.ones_like(values)
    if unit:
        scale = scale / ((scale**2 * values).sum(-1, keepdim=True) / sums.count).sqrt()
    rotation = vectors * scale[:, None, :]
    back = (vectors / scale[:, None, :]).transpose(1, 2)
    eye = torch.eye(values.shape[-1], dtype=values.dtype, device=values.device).expand_as(vectors)
    turn = eye if metric != "none" else vectors.transpose(1, 2)
    return Basis(sums.mean_h, rotation, back, turn, scale**2 * values)


def spectrum(gram: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (G, E), descending and none negative, and eigenvectors (G, D, E) of Σhhᵀ over so many rows.

    Rows far fewer than features span a subspace that a few products with a random matrix find (Halko, Martinsson &
    Tropp 2011; exact here, the rank is known); elsewhere the eigenvalues are zero and any orthonormal directions do.
    """
    width = gram.shape[-1]
    if width < WIDE or 2 * rows > width:
        values, vectors = torch.linalg.eigh(gram)
        return values.flip(-1).clamp_min(0), vectors.flip(-1)
    start = torch.randn(width, rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    span = gram @ start.to(gram)
    for _ in range(2):  # once more each: short directions come out as exact as the long ones
        span = gram @ torch.linalg.qr(span).Q
    whole = torch.linalg.qr(span, mode="complete").Q
    inner = whole[..., :rows]
    values, turn = torch.linalg.eigh(inner.transpose(1, 2) @ gram @ inner)
    vectors = torch.cat([inner @ turn.flip(-1), whole[..., rows:]], -1)
    return torch.nn.functional.pad(values.flip(-1).clamp_min(0), (0, width - rows)), vectors


@dataclass(frozen=True)
class Posterior:
    """Mean and variance at features, for G groups of K channels.

    baseline (G, K), weights (G, E, K) in the eigenbasis, noise (G,), amplitude (G, K);
    root (G, E, E) with root rootᵀ = (ZᵀZ + σ²I)⁻¹, so that a variance is a sum of squares; total (G, E) is Σz;
    quantiles (G, K, Q) of |leave-one-out residual| over its predicted deviation, at Q even levels from 0 to 1.
    """

    basis: Basis
    baseline: Tensor
    weights: Tensor
    root: Tensor
    noise: Tensor
    amplitude: Tensor
    total: Tensor
    quantiles: Tensor | None = None

    def mean(self, z: Tensor) -> Tensor:
        """(G, ..., K) latent mean at z (G, ..., E)."""
        groups, *middle, width = z.shape
        mean = self.baseline[:, None] + z.reshape(groups, -1, width) @ self.weights
        return mean.reshape(groups, *middle, -1)

    def spread(self, z: Tensor) -> Tensor:
        """(G, ...) z(ZᵀZ+σ²I)⁻¹zᵀ: the leverage at training rows, the variance over τ²σ² anywhere."""
        groups, *middle, width = z.shape
        return ((z.reshape(groups, -1, width) @ self.root) ** 2).sum(-1).reshape(groups, *middle)

    def variance(self, z: Tensor) -> Tensor:
        """(G, ..., K) variance of the latent, never negative."""
        noisy = self.amplitude * self.noise[:, None]
        shape = (len(noisy), *(1,) * (z.ndim - 2), noisy.shape[1])
        return self.spread(z)[..., None] * noisy.reshape(shape)

    def refined(self, rows: Iterable[tuple[Tensor, Tensor]]) -> Posterior:
        """Weights and root from sums taken in the eigenbasis itself: (features (G, R, D), targets (G, R, K)) chunks."""
        return self.solved(*self.turned_sums(rows))

    def turned_sums(self, rows: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """ZᵀZ (G, E, E) and Zᵀ(v − b) (G, E, K) of the rows: they add up over parts of the data."""
        groups, width = self.basis.eigenvalues.shape
        gram = self.weights.new_zeros(groups, width, width)
        cross = torch.zeros_like(self.weights)
        for features, targets in rows:
            z = self.basis(features)
            gram += z.transpose(1, 2) @ z
            cross += z.transpose(1, 2) @ (targets - self.baseline[:, None])
        return gram, cross

    def solved(self, gram: Tensor, cross: Tensor) -> Posterior:
        """Weights and root from the sums of ``turned_sums`` over all rows."""
        size = gram.diagonal(dim1=-2, dim2=-1)
        lived = (size > ROUNDING**2 * size.sum(-1, keepdim=True)).to(
            gram
        )  # elsewhere no example has anything
        gram, cross = gram * lived[:, :, None] * lived[:, None, :], cross * lived[..., None]
        weights, root = _solved(gram, cross, self.noise)
        return replace(self, weights=weights, root=root)


def condition(sums: Centred, metric: str | Basis, noise: Tensor) -> Posterior:
    """The posterior given all rows behind the sums, at noise σ² (G,), amplitude one."""
    turned = metric if isinstance(metric, Basis) else basis(sums, metric)
    noise = noise.to(turned.eigenvalues).reshape(-1).expand(len(sums.gram))
    cross = turned.rotation.transpose(1, 2) @ sums.cross
    shrunk = turned.eigenvalues + noise[:, None]
    root = torch.diag_embed(shrunk.rsqrt())
    total = (sums.total[:, None] @ turned.rotation)[:, 0]
    one = torch.ones_like(sums.mean_v)
    return Posterior(turned, sums.mean_v, cross / shrunk[..., None], root, noise, one, total)


def needs_refining(turned: Basis, noise: Tensor) -> bool:
    """Whether rounding of the plain sums would be seen through so small a noise."""
    return bool((noise < SMALL_NOISE * turned.eigenvalues.amax(-1)).any())


def _solved(gram: Tensor, cross: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Solve (gram + noise) w = cross for a graded matrix: scaled to unit diagonal it is well conditioned."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    shrunk = gram + noise[:, None, None] * eye
    scale = shrunk.diagonal(dim1=-2, dim2=-1).rsqrt()
    factor = torch.linalg.cholesky(scale[:, :, None] * shrunk * scale[:, None, :])
    inverse = torch.linalg.solve_triangular(factor, eye.expand_as(gram), upper=False)
    root = scale[:, :, None] * inverse.transpose(1, 2)
    return root @ (root.transpose(1, 2) @ cross), root
