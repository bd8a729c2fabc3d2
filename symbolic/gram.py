"""The linear heart: for T = Σ c_k b_k, "∇T is parallel to û everywhere" is a generalised eigenproblem in c.

Gradients are turned at every point into the frame whose first axis is û_n (a Householder reflection), so that the
first coordinate of a turned gradient is the part along û and the others are the misfit. With weights
w_n = 1/‖∇T(x_n)‖² the smallest eigenvalue of A c = λ B c, A the Gram matrix of the misfits and B that of the whole,
is 1 − mean cos². Everything is vectorised over many supports of one size, on NumPy arrays or torch tensors
(`symbolic.arrays`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from symbolic.arrays import module

#: A NumPy array, or a float64 tensor on a device.
Array = Any
Indices = NDArray[np.int64]

#: Weights 1/‖∇T‖² are clipped where ‖∇T‖² falls below this share of its median.
CLIP = 1e-2
#: Directions of a support whose share of B is below this are linearly dependent and left out.
DEPENDENT = 1e-9


def turn(gradients: Array, directions: Array) -> Array:
    """Gradients (K, N, d) in the frames whose first axis is the unit direction (N, d)."""
    return Frames(directions).turn(gradients)


class Frames:
    """The frames whose first axes are unit directions (N, d), for fields that come one after another."""

    def __init__(self, directions: Array) -> None:
        self.mirror = directions.copy()
        sign = np.where(self.mirror[:, 0] < 0, -1.0, 1.0)
        self.mirror[:, 0] += sign
        self.mirror /= np.linalg.norm(self.mirror, axis=1, keepdims=True)
        # The reflection sends û to −sign·e₁.
        self.back = -sign[:, None]

    def turn(self, gradients: Array) -> Array:
        """Gradients (K, N, d) in the frames."""
        along = np.einsum("knd,nd->kn", gradients, self.mirror)
        turned = gradients - 2 * along[:, :, None] * self.mirror
        turned *= self.back
        return np.asarray(turned)


@dataclass(frozen=True)
class Solved:
    """Coefficients (M, m), signed so that mean cos > 0, and misalignments 1 − mean cos (M,)."""

    coefficients: Array
    misalignment: Array


class Measured(NamedTuple):
    """Of turned fields (..., N, d): misalignments (...), the signs (...) of their mean cosines, and ‖∇T‖² (..., N)."""

    loss: Array
    sign: Array
    square: Array


def measured(field: Array) -> Measured:
    """Misalignment 1 − |mean cos| of turned fields (..., N, d), accurate also where it is near rounding.

    Where the cosine is near one, 1 − cos is taken as ‖misfit‖²/(‖∇T‖(‖∇T‖ + along)).
    """
    xp = module(field)
    squares = field * field
    square = xp.total(squares)
    length = xp.sqrt(square)
    cosine = xp.ratio(field[..., 0], length, length > 0)
    sign = xp.where(xp.mean(cosine) < 0, -1.0, 1.0)
    along = field[..., 0] * sign[..., None]
    low = length * (length + along)
    ahead = along > 0
    near = xp.ratio(xp.total(squares[..., 1:]), low, ahead & (low > 0))
    losses = xp.where(ahead, near, 1 - cosine * sign[..., None])
    # Overflow has no direction; it must not pass for a perfect one.
    losses = xp.where(xp.isfinite(square) & (square > 0), losses, 2.0)
    return Measured(xp.mean(losses), sign, square)


def misalignment(field: Array) -> Array:
    """1 − |mean cos| of turned fields (..., N, d)."""
    return measured(field).loss


def mean_cosine(field: Array) -> Array:
    """Mean over points of the cosine to û of turned fields (..., N, d)."""
    xp = module(field)
    length = xp.sqrt(xp.total(field * field))
    return xp.mean(xp.ratio(field[..., 0], length, length > 0))


def weights(field: Array) -> Array:
    """Clipped 1/‖∇T‖² (..., N) of turned fields (..., N, d), scaled to mean one."""
    return _clipped(module(field).total(field * field))


def _clipped(square: Array) -> Array:
    xp = module(square)
    floor = CLIP * xp.middle(square)
    w = 1 / xp.maximum(square, xp.maximum(floor, 1e-280))
    return w / xp.mean(w)[..., None]


def pencil(turned: Array, w: Array) -> tuple[Array, Array]:
    """A and B (M, m, m) for turned features (M, m, N, d) under weights (M, N)."""
    xp = module(turned)
    scaled = turned * xp.sqrt(w)[:, None, :, None]
    m = scaled.shape[1]
    misfit = scaled[..., 1:].reshape(len(scaled), m, -1)
    along = scaled[..., 0]
    a = misfit @ xp.swap(misfit)
    return a, a + along @ xp.swap(along)


def smallest(a: Array, b: Array, count: int = 1) -> tuple[Array, Array]:
    """The ``count`` smallest generalised eigenvalues (M, count) and eigenvectors (M, count, m) of A c = λ B c.

    B is brought to unit diagonal and whitened; directions in which B all but vanishes are penalised away, as their λ
    would be 0/0.
    """
    xp = module(b)
    scale = 1 / xp.sqrt(xp.maximum(xp.einsum("mii->mi", b), 1e-300))
    unit = b * scale[:, :, None] * scale[:, None, :]
    values, basis = xp.eigh(unit)
    dependent = values < DEPENDENT
    whiten = basis / xp.sqrt(xp.where(dependent, 1.0, values))[:, None, :]
    inner = xp.swap(whiten) @ (a * scale[:, :, None] * scale[:, None, :]) @ whiten
    inner = xp.where(dependent[:, :, None] | dependent[:, None, :], 0.0, inner)
    inner = inner + xp.eye(b.shape[1], b) * dependent[:, None, :] * 2.0
    found, vectors = xp.eigh(inner)
    coefficients = xp.swap(whiten @ vectors[:, :, :count]) * scale[:, None, :]
    return found[:, :count], coefficients


def solve(turned: Array, w: Array | None = None, rounds: int = 4, several: bool = False) -> Solved:
    """Coefficients of many supports (M, m, N, d) by iteratively reweighted eigenproblems.

    ``several`` looks at the two smallest eigenvectors in the last round and takes the better |mean cos|: the
    eigenproblem is blind to sign, so its best vector may point both ways.
    """
    xp = module(turned)
    supports, size, points, _ = turned.shape
    if w is None:
        w = weights_of_features(turned)
    w = xp.spread(w, (supports, points))
    best_c = xp.full((supports, size), 0.0, turned)
    best = xp.full((supports,), np.inf, turned)
    for step in range(rounds):
        a, b = pencil(turned, w)
        look = min(size, 2) if several and step in (0, rounds - 1) else 1
        _, vectors = smallest(a, b, look)
        for k in range(vectors.shape[1]):
            field = xp.einsum("mk,mknd->mnd", vectors[:, k], turned)
            loss, sign, square = measured(field)
            better = loss < best
            best = xp.where(better, loss, best)
            best_c[better] = (vectors[:, k] * sign[:, None])[better]
            if k == 0 and step < rounds - 1:
                w = _clipped(square)
    return Solved(best_c, best)


def weights_of_features(turned: Array) -> Array:
    """Starting weights (M, N) when no ∇T is known yet: the features' own lengths, each relative to its median."""
    xp = module(turned)
    square = xp.total(turned * turned)
    relative = square / xp.maximum(xp.middle(square), 1e-280)
    return 1 / xp.maximum(relative.mean(1), 1e-3)


def solve_pairs(turned: Array, first: Indices, second: Indices, rounds: int = 3) -> tuple[Array, Array]:
    """The same as `solve` for many pairs of features (K, N, d), in closed form: misalignments (M,) and the
    coefficients (M, 2) of the features scaled to median length one.

    Only inner products at the points are needed, so thousands of pairs cost little.
    """
    xp = module(turned)
    turned = turned / xp.sqrt(xp.median(xp.total(turned * turned), axis=1) + 1e-280)[:, None, None]
    with np.errstate(all="ignore"):
        return _solve_pairs(turned, first, second, rounds)


def _solve_pairs(turned: Array, first: Indices, second: Indices, rounds: int) -> tuple[Array, Array]:
    xp = module(turned)
    along = turned[..., 0]
    square = xp.maximum(xp.total(turned * turned), 1e-280)
    cross = xp.einsum("mnd,mnd->mn", turned[first], turned[second])
    s1, s2, p1, p2 = square[first], square[second], along[first], along[second]
    q12 = cross - p1 * p2
    q1, q2 = xp.maximum(s1 - p1 * p1, 0.0), xp.maximum(s2 - p2 * p2, 0.0)
    w = 2 / (s1 / xp.middle(s1) + s2 / xp.middle(s2))
    best = xp.full((len(first),), np.inf, turned)
    best_c = xp.full((len(first), 2), 0.0, turned)
    for _ in range(rounds):
        c = _pair_vector(w, (q1, q12, q2), (s1, cross, s2))
        length = xp.sqrt(
            xp.maximum(c[:, :1] ** 2 * s1 + 2 * c[:, :1] * c[:, 1:] * cross + c[:, 1:] ** 2 * s2, 1e-280)
        )
        cosine = ((c[:, :1] * p1 + c[:, 1:] * p2) / length).mean(1)
        loss = 1 - xp.abs(cosine)
        loss = xp.where(xp.isfinite(loss), loss, np.inf)
        better = loss < best
        best = xp.where(better, loss, best)
        best_c[better] = (c * xp.where(cosine < 0, -1.0, 1.0)[:, None])[better]
        square_length = length**2
        w = 1 / xp.maximum(square_length, CLIP * xp.middle(square_length))
    return best, best_c


def _pair_vector(w: Array, q: tuple[Array, ...], s: tuple[Array, ...]) -> Array:
    """The eigenvector (M, 2) of the smaller eigenvalue of every weighted 2×2 pencil."""
    xp = module(w)
    a1, a12, a2 = ((w * part).sum(1) for part in q)
    b1, b12, b2 = ((w * part).sum(1) for part in s)
    lead = xp.maximum(b1 * b2 - b12 * b12, 1e-12 * b1 * b2)
    half = 0.5 * (a1 * b2 + a2 * b1 - 2 * a12 * b12)
    root = xp.sqrt(xp.maximum(half**2 - lead * (a1 * a2 - a12 * a12), 0.0))
    value = (half - root) / lead
    # Of (A − λB) c = 0 take the row that is better determined.
    x1, x2 = xp.abs(a1 - value * b1) / b1, xp.abs(a2 - value * b2) / b2
    off = a12 - value * b12
    use_first = x1 >= x2
    c1 = xp.where(use_first, -off, a2 - value * b2)
    c2 = xp.where(use_first, a1 - value * b1, -off)
    size = xp.sqrt(c1**2 * b1 + c2**2 * b2) + 1e-300
    return xp.stack([c1 / size, c2 / size], axis=1)
