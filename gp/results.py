"""What the distillation gives back: frozen, NumPy inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import erfinv

from gp.kernels import Array, Indices
from interpret.errors import UsageError


@dataclass(frozen=True)
class Prediction:
    """What the GP says of N queries.

    mean      (N, *out) the tail of the latent mean, in the output's own units; deterministic
    variance  (N, *latent) of the latent, in its units squared
    latent    (N, *latent) the latent mean; the same as ``mean`` where the tail is linear
    """

    mean: Array
    variance: Array
    latent: Array
    _tail: Callable[[Any], Any] | None = field(default=None, repr=False, compare=False)
    _quantiles: Array | None = field(default=None, repr=False, compare=False)
    _seed: int = field(default=0, repr=False)

    def interval(self, level: float = 0.95, samples: int = 256) -> tuple[Array, Array]:
        """Central interval of the output at a level: low and high, (N, *out) each.

        Its reach in deviations is the quantile of the training rows' leave-one-out residuals at that level, of each
        head; beyond 99 % never less than a Gaussian's. Through a nonlinear tail go seeded samples of the latent.

        Args:
            level: share of outputs to cover, such as 0.95.
            samples: how many latents are drawn where the tail is nonlinear.

        Raises:
            UsageError: the level is not between 0 and 1.

        """
        if not isinstance(level, float | int | np.floating) or not 0 < level < 1:
            raise UsageError(f"an interval's level lies between 0 and 1, such as 0.95; got {level!r:.40}")
        deviation = np.sqrt(self.variance)
        if self._tail is None:
            reach = self._reach(np.full(self.latent.shape, level)) * deviation
            return self.mean - reach, self.mean + reach
        generator = np.random.default_rng(self._seed)
        drawn = []
        for _ in range(samples):
            sign = np.where(generator.random(self.latent.shape) < 0.5, -1.0, 1.0)
            step = sign * self._reach(generator.random(self.latent.shape))
            drawn.append(self._tail(self.latent + deviation * step))
        low, high = np.quantile(np.stack(drawn), [0.5 - level / 2, 0.5 + level / 2], axis=0)
        return low, high

    def _reach(self, level: Array) -> Array:
        """Deviations within which a share ``level`` (N, *latent) of residuals lies, by head."""
        normal: Array = np.sqrt(2) * erfinv(level)
        if self._quantiles is None:
            return normal
        flat = level.reshape(len(level), -1)
        grid = np.linspace(0, 1, self._quantiles.shape[1])
        found = np.stack([np.interp(flat[:, j], grid, q) for j, q in enumerate(self._quantiles)], 1)
        found = found.reshape(level.shape)
        return np.where(level > 0.99, np.maximum(found, normal), found)


@dataclass(frozen=True)
class Neighbors:
    """The k training examples for each of N queries, best first; −1 where there are fewer.

    index         (N, k) row ids of the training data
    similarity    (N, k) k(x, x_m) normalised to [−1, 1], at the best place
    contribution  (N, k) the example's whole share of the latent, in its units
    place         (N, k, ndim) where in the example the best match is; None without places
    """

    index: Indices
    similarity: Array
    contribution: Array
    place: Indices | None = None


@dataclass(frozen=True)
class Prototypes:
    """Training examples that stand for a head, in the order chosen.

    index   (k,) row ids
    weight  (k,) of their kernel sections in the fit with all k
    r2      (k,) squared correlation with the head's latent mean reached with the first 1, 2, ... of them, over the
            training set
    sign    (k,) +1 where the example argues for the head, −1 against
    place   (k, ndim) or None
    """

    index: Indices
    weight: Array
    r2: Array
    sign: Indices
    place: Indices | None = None
