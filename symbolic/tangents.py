"""Where the data lie on a lower-dimensional set, a network's gradient off that set means nothing: project it away.

Linear ties (a fixed sum, a symmetric matrix, a duplicated column) show in the rank of the whole table and give one
projector. Curved sets show in the rank of small neighborhoods (local principal components) and give one projector for
each point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symbolic.neighborhood import nearest

Array = NDArray[np.float64]

#: A direction whose spread is below this share of the largest, columns standardised, is a tie and no input.
RANK_TOLERANCE = 1e-5
#: A local direction this much thinner than the neighborhood is wide lies off the data's surface.
LOCAL_TOLERANCE = 0.03
#: Local spaces are looked for up to this many inputs; neighborhoods in more dimensions are not local.
LOCAL_WIDTH = 12


def estimate(points: Array) -> tuple[Array | None, int, str]:
    """The projector (d, d) or (N, d, d) to the tangent space, its dimension, and a sentence that says so.

    The projector is None and the sentence empty where the data have full rank.
    """
    count, width = points.shape
    spread = points.std(0)
    spread[spread == 0] = 1.0
    scaled = (points - points.mean(0)) / spread
    basis, rank = _basis(scaled[:5_000], spread)
    if rank == 0:
        return None, width, ""
    varying = int((points.std(0) > 0).sum())
    # With few points the rank is theirs and says nothing about ties.
    if rank < min(varying, count - 1):
        text = (
            f"the {width} inputs are tied and span {rank} directions: gradients are compared within that span, "
            f"what they do off it is not determined by the data"
        )
        return basis @ basis.T, rank, text
    if varying < width or not 2 <= width <= LOCAL_WIDTH or count < 40 * width:
        return None, width, ""
    return _local(scaled, spread)


def _basis(scaled: Array, spread: Array) -> tuple[Array, int]:
    """Orthonormal basis (d, r), in the original units, of the directions the data vary in."""
    _, singular, right = np.linalg.svd(scaled, full_matrices=False)
    rank = int((singular > RANK_TOLERANCE * max(singular[0], 1e-300)).sum())
    return np.linalg.qr((right[:rank] * spread).T)[0], rank


def _local(rows: Array, spread: Array) -> tuple[Array | None, int, str]:
    # A neighborhood of copies of one row has no directions at all.
    places, member = np.unique(rows, axis=0, return_inverse=True)
    copies = len(places) < len(rows)
    scaled = _filled(places if copies else rows)
    count, width = scaled.shape
    if count < 40 * width:
        return None, width, ""
    size = 3 * width + 4
    anchors = np.linspace(0, count - 1, min(count, 60)).astype(int)
    singular = _spectra(scaled, anchors, size)[0]
    thin = np.median(singular / singular[:, :1], axis=0)
    rank = int((thin > LOCAL_TOLERANCE).sum())
    if rank == width or rank == 0:
        return None, width, ""
    _, right = _spectra(scaled, np.arange(count), size)
    tangent = np.swapaxes(right[:, :rank] * spread, 1, 2)
    q = np.linalg.qr(tangent)[0]
    text = (
        f"the points lie on a curved set of dimension {rank} in {width} inputs: gradients are compared within its "
        f"tangent spaces, estimated from neighborhoods of {size} points"
    )
    projector = q @ np.swapaxes(q, 1, 2)
    return projector[member.reshape(-1)] if copies else projector, rank, text


def _filled(scaled: Array) -> Array:
    """Columns of few different values (whole numbers, flags) spread out by half a step: between their values there is
    room, which neighborhoods of rows with equal values would hide.
    """
    result = scaled.copy()
    rng = np.random.default_rng(0)
    for k in range(scaled.shape[1]):
        values = np.unique(scaled[:, k])
        if 2 <= len(values) < len(scaled) / 4:
            result[:, k] += np.median(np.diff(values)) * rng.uniform(-0.5, 0.5, len(scaled))
    return result


def _spectra(scaled: Array, rows: NDArray[np.int64], size: int) -> tuple[Array, Array]:
    """Singular values (n, d) and right singular vectors (n, d, d) of the neighborhoods of the given rows."""
    local = scaled[nearest(scaled, rows, size)]
    local = local - local.mean(1, keepdims=True)
    _, singular, right = np.linalg.svd(local, full_matrices=False)
    return singular, right
