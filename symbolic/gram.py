"""The linear heart: for T = Σ c_k b_k, "∇T is parallel to û everywhere" is a generalised eigenproblem in c.

Gradients are turned at every point into the frame whose first axis is û_n (a Householder reflection), so that the
first coordinate of a turned gradient is the part along û and the others are the misfit. With weights
w_n = 1/‖∇T(x_n)‖² the smallest eigenvalue of A c = λ B c, A the Gram matrix of the misfits and B that of the whole,
is 1 − mean cos². Everything is vectorised over many supports of one size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Weights 1/‖∇T‖² are clipped where ‖∇T‖² falls below this share of its median.
CLIP = 1e-2
#: Directions of a support whose share of B is below this are linearly dependent and left out.
DEPENDENT = 1e-9


def turn(gradients: Array, directions: Array) -> Array:
    """Gradients (K, N, d) in the frames whose first axis is the unit direction (N, d)."""
    mirror = directions.copy()
    sign = np.where(mirror[:, 0] < 0, -1.0, 1.0)
    mirror[:, 0] += sign
    mirror /= np.linalg.norm(mirror, axis=1, keepdims=True)
    along = np.einsum("knd,nd->kn", gradients, mirror)
    turned = gradients - 2 * along[:, :, None] * mirror
    # The reflection sends û to −sign·e₁.
    turned *= -sign[:, None]
    return turned


@dataclass(frozen=True)
class Solved:
    """Coefficients (M, m), signed so that mean cos > 0, and misalignments 1 − mean cos (M,)."""

    coefficients: Array
    misalignment: Array


def mean_cosine(field: Array) -> Array:
    """Mean over points of the cosine to û of turned fields (..., N, d)."""
    length = np.sqrt((field * field).sum(-1))
    cosine = np.divide(field[..., 0], length, out=np.zeros_like(length), where=length > 0)
    return np.asarray(cosine.mean(-1))


def misalignment(field: Array) -> Array:
    """1 − |mean cos| of turned fields (..., N, d), accurate also where it is near rounding.

    Where the cosine is near one, 1 − cos is taken as ‖misfit‖²/(‖∇T‖(‖∇T‖ + along)).
    """
    square = (field * field).sum(-1)
    length = np.sqrt(square)
    sign = np.where(mean_cosine(field) < 0, -1.0, 1.0)
    along = field[..., 0] * sign[..., None]
    misfit = np.maximum((field[..., 1:] ** 2).sum(-1), 0.0)
    low = length * (length + along)
    near = np.divide(misfit, low, out=np.zeros_like(low), where=(along > 0) & (low > 0))
    far = 1 - np.divide(along, length, out=np.zeros_like(length), where=length > 0)
    return np.asarray(np.where(along > 0, near, far).mean(-1))


def weights(field: Array) -> Array:
    """Clipped 1/‖∇T‖² (..., N) of turned fields (..., N, d), scaled to mean one."""
    square = (field * field).sum(-1)
    floor = CLIP * np.median(square, axis=-1, keepdims=True)
    w = 1 / np.maximum(square, np.maximum(floor, 1e-280))
    return np.asarray(w / w.mean(-1, keepdims=True))


def pencil(turned: Array, w: Array) -> tuple[Array, Array]:
    """A and B (M, m, m) for turned features (M, m, N, d) under weights (M, N)."""
    scaled = turned * np.sqrt(w)[:, None, :, None]
    m = scaled.shape[1]
    misfit = scaled[..., 1:].reshape(len(scaled), m, -1)
    along = scaled[..., 0]
    a = misfit @ np.swapaxes(misfit, 1, 2)
    return a, a + along @ np.swapaxes(along, 1, 2)


def smallest(a: Array, b: Array, count: int = 1) -> tuple[Array, Array]:
    """The ``count`` smallest generalised eigenvalues (M, count) and eigenvectors (M, count, m) of A c = λ B c.

    B is brought to unit diagonal and whitened; directions in which B all but vanishes are penalised away, as their λ
    would be 0/0.
    """
    scale = 1 / np.sqrt(np.maximum(np.einsum("mii->mi", b), 1e-300))
    unit = b * scale[:, :, None] * scale[:, None, :]
    values, basis = np.linalg.eigh(unit)
    dependent = values < DEPENDENT
    whiten = basis / np.sqrt(np.where(dependent, 1.0, values))[:, None, :]
    inner = np.swapaxes(whiten, 1, 2) @ (a * scale[:, :, None] * scale[:, None, :]) @ whiten
    inner = np.where(dependent[:, :, None] | dependent[:, None, :], 0.0, inner)
    inner = inner + np.eye(b.shape[1]) * dependent[:, None, :] * 2.0
    found, vectors = np.linalg.eigh(inner)
    coefficients = np.swapaxes(whiten @ vectors[:, :, :count], 1, 2) * scale[:, None, :]
    return found[:, :count], coefficients


def solve(turned: Array, w: Array | None = None, rounds: int = 4, several: bool = False) -> Solved:
    """Coefficients of many supports (M, m, N, d) by iteratively reweighted eigenproblems.

    ``several`` looks at the two smallest eigenvectors in the last round and takes the better |mean cos|: the
    eigenproblem is blind to sign, so its best vector may point both ways.
    """
    supports, size, points, _ = turned.shape
    if w is None:
        w = weights_of_features(turned)
    w = np.broadcast_to(w, (supports, points))
    best_c = np.zeros((supports, size))
    best = np.full(supports, np.inf)
    for step in range(rounds):
        a, b = pencil(turned, w)
        look = min(size, 2) if several and step in (0, rounds - 1) else 1
        _, vectors = smallest(a, b, look)
        for k in range(vectors.shape[1]):
            field = np.einsum("mk,mknd->mnd", vectors[:, k], turned)
            loss = misalignment(field)
            better = loss < best
            best = np.where(better, loss, best)
            sign = np.where(mean_cosine(field) < 0, -1.0, 1.0)
            best_c[better] = (vectors[:, k] * sign[:, None])[better]
            if k == 0:
                w = weights(field)
    return Solved(best_c, best)


def weights_of_features(turned: Array) -> Array:
    """Starting weights (M, N) when no ∇T is known yet: the features' own lengths, each relative to its median."""
    square = (turned * turned).sum(-1)
    relative = square / np.maximum(np.median(square, axis=-1, keepdims=True), 1e-280)
    return np.asarray(1 / np.maximum(relative.mean(1), 1e-3))
