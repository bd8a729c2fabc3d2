"""Isotonic regression by pooling adjacent violators (Barlow et al., Statistical Inference under Order Restrictions,
1972).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def isotonic(t: Array, g: Array, increasing: bool = True) -> Array:
    """The least-squares fit (N,) to g (N,) that never falls (never rises) in t (N,); equal t share one level."""
    _, member = np.unique(t, return_inverse=True)
    weight = np.bincount(member).astype(np.float64)
    mean = np.bincount(member, weights=g) / weight
    sign = 1.0 if increasing else -1.0
    return np.asarray(sign * _pooled(sign * mean, weight)[member])


def _pooled(mean: Array, weight: Array) -> Array:
    """Levels (n,) that never fall, of blocks with these means and weights."""
    levels: list[float] = []
    weights: list[float] = []
    lengths: list[int] = []
    for level, own in zip(mean.tolist(), weight.tolist(), strict=True):
        length = 1
        while levels and levels[-1] >= level:
            before = weights.pop()
            level = (levels.pop() * before + level * own) / (before + own)
            own += before
            length += lengths.pop()
        levels.append(level)
        weights.append(own)
        lengths.append(length)
    return np.repeat(levels, lengths)
