"""GPEX's training objective for feature maps, written for all heads at once.

Symbols (Akbarnejad et al., *GPEX*, NeurIPS 2023, section 3) and names:

    u(x), U      ``queries`` (L, n, D), ``features`` (L, M, D)     a map for each of the L heads
    v            ``targets`` (L, M)                                 centred outputs at the M training examples
    σ²           ``noise`` (L,)
    A = UᵀU+σ²I  ``factor`` (L, D, D)                               its lower Cholesky factor
    w = A⁻¹Uᵀv   ``weights`` (L, D)

    mean(x) = u(x)·w,   var(x) = σ² u(x)ᵀA⁻¹u(x)
    loss    = ½ E[(mean(x) − g(x))² / var(x)] + ½ E[log var(x)]

The variance is the posterior variance k(x,x) − k(x,X)(K+σ²I)⁻¹k(X,x) in its Woodbury form: a sum of squares, so it
is positive in floating point too and no clamp is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interpret.errors import NotConverged


@dataclass(frozen=True)
class HeadPosteriors:
    """The posteriors of L heads, each over its own D features; differentiable in the features they came from."""

    factor: Tensor
    weights: Tensor
    noise: Tensor

    def mean(self, queries: Tensor) -> Tensor:
        """Posterior means (L, n) at ``queries`` (L, n, D)."""
        return torch.einsum("lnd,ld->ln", queries, self.weights)

    def variance(self, queries: Tensor) -> Tensor:
        """Posterior variances of the latent function (L, n), positive."""
        half = torch.linalg.solve_triangular(self.factor, queries.transpose(1, 2), upper=False)
        quadratic: Tensor = half.square().sum(dim=1)
        return self.noise[:, None] * quadratic


def condition(features: Tensor, targets: Tensor, noise: Tensor, scale: float = 1.0) -> HeadPosteriors:
    """Condition every head on its targets through the D×D system.

    Args:
        features: (L, M, D), float32 or float64.
        targets: (L, M), centred.
        noise: (L,), above zero.
        scale: what the sums are multiplied by where ``features`` are a sample standing for more examples.

    Raises:
        NotConverged: the system is singular at this noise; no jitter is added behind the caller's back.

    """
    gram = scale * (features.transpose(1, 2) @ features)
    gram = gram + noise[:, None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed.any()):
        head = int(failed.nonzero()[0])
        raise NotConverged(
            f"the {gram.shape[-1]}×{gram.shape[-1]} system of head {head} is singular at noise "
            f"{float(noise[head]):.3g}; use a larger noise"
        )
    cross = scale * torch.einsum("lmd,lm->ld", features, targets)
    weights = torch.cholesky_solve(cross[..., None], factor)[..., 0]
    return HeadPosteriors(factor, weights, noise)


def gpex_loss(mean: Tensor, variance: Tensor, values: Tensor) -> Tensor:
    """½ (mean − g)²/var + ½ log var, averaged over the queries: (L,) from three (L, n)."""
    return 0.5 * ((mean - values).square() / variance).mean(dim=1) + 0.5 * variance.log().mean(dim=1)


def objective(features: Tensor, targets: Tensor, noise: Tensor, queries: Tensor, values: Tensor) -> Tensor:
    """GPEX's objective of each head (L,), from the features of all M examples and of a minibatch of queries.

    Args:
        features: (L, M, D) at the training examples.
        targets: (L, M) centred outputs there.
        noise: (L,).
        queries: (L, n, D) at the points where the GP must match the network.
        values: (L, n) centred outputs of the network there.

    """
    posterior = condition(features, targets, noise)
    return gpex_loss(posterior.mean(queries), posterior.variance(queries), values)
