"""Other Gaussian processes on the same features: GPyTorch's exact GP (linear or RBF kernel) and its SVGP."""

from __future__ import annotations

from dataclasses import dataclass

import gpytorch
import torch

#: Rows beyond which an exact GP is given a random subset: its cost grows with their cube.
EXACT_ROWS = 2000


@dataclass(frozen=True)
class Rival:
    """A fitted GP over features (n, D) for L heads; ``kernel`` and ``alpha`` explain it where it has them."""

    mean: object
    alpha: torch.Tensor | None
    kernel: object
    rows: torch.Tensor


class _Exact(gpytorch.models.ExactGP):
    """L independent exact GPs that share nothing but the features."""

    def __init__(
        self, X: torch.Tensor, y: torch.Tensor, likelihood: gpytorch.likelihoods.Likelihood, kind: str
    ) -> None:
        super().__init__(X, y, likelihood)
        batch = torch.Size([len(y)])
        self.mean_module = gpytorch.means.ConstantMean(batch_shape=batch)
        base = gpytorch.kernels.LinearKernel if kind == "linear" else gpytorch.kernels.RBFKernel
        self.covar_module = gpytorch.kernels.ScaleKernel(base(batch_shape=batch), batch_shape=batch)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        """Prior at x."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def exact(U: torch.Tensor, V: torch.Tensor, kind: str, steps: int = 30) -> Rival:
    """Exact GP, hyperparameters by marginal likelihood (Adam)."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(U), generator=generator)[:EXACT_ROWS]
    centre, scale = U.mean(0), U.std() * U.shape[1] ** 0.5
    x, y = ((U[rows] - centre) / scale).float(), V[rows].T.float()
    middle, spread = y.mean(1, keepdim=True), y.std(1, keepdim=True).clamp_min(1e-12)
    y = (y - middle) / spread
    likelihood = gpytorch.likelihoods.GaussianLikelihood(
        batch_shape=torch.Size([len(y)]), noise_constraint=gpytorch.constraints.GreaterThan(1e-4)
    )
    model = _Exact(x, y, likelihood, kind)
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model.train()
    likelihood.train()
    with gpytorch.settings.cholesky_max_tries(6):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = -objective(model(x), y).sum()
            loss.backward()
            optimizer.step()
        model.eval()
        likelihood.eval()
        with torch.no_grad():
            K = model.covar_module(x).to_dense().double()
            noise = likelihood.noise.double().reshape(-1, 1, 1)
            prior = model.mean_module(x).double()
            alpha = torch.linalg.solve(K + noise * torch.eye(K.shape[-1]), (y.double() - prior)[..., None])[
                ..., 0
            ]

    def kernel(Q: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.covar_module(((Q - centre) / scale).float(), x).to_dense().double()

    def mean(Q: torch.Tensor) -> torch.Tensor:
        made = torch.einsum("lqm,lm->ql", kernel(Q), alpha) + prior[:, 0]
        return made * spread.T + middle.T

    return Rival(mean, alpha * spread.double(), kernel, rows)


class _Sparse(gpytorch.models.ApproximateGP):
    def __init__(self, inducing: torch.Tensor, heads: int) -> None:
        batch = torch.Size([heads])
        distribution = gpytorch.variational.CholeskyVariationalDistribution(len(inducing), batch_shape=batch)
        strategy = gpytorch.variational.IndependentMultitaskVariationalStrategy(
            gpytorch.variational.VariationalStrategy(self, inducing, distribution), num_tasks=heads
        )
        super().__init__(strategy)
        self.mean_module = gpytorch.means.ConstantMean(batch_shape=batch)
        self.covar_module = gpytorch.kernels.ScaleKernel(
            gpytorch.kernels.RBFKernel(batch_shape=batch), batch_shape=batch
        )

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def sparse(U: torch.Tensor, V: torch.Tensor, inducing: int = 512, steps: int = 60) -> Rival:
    """Stochastic variational GP (Hensman et al. 2015) with an RBF kernel, minibatches of 256."""
    generator = torch.Generator().manual_seed(0)
    centre, scale = U.mean(0), U.std() * U.shape[1] ** 0.5
    x, y = ((U - centre) / scale).float(), V.float()
    middle, spread = y.mean(0), y.std(0).clamp_min(1e-12)
    y = (y - middle) / spread
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        points = x[torch.randperm(len(x), generator=generator)[:inducing]]
        model = _Sparse(points, y.shape[1])
        likelihood = gpytorch.likelihoods.MultitaskGaussianLikelihood(num_tasks=y.shape[1])
    objective = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=len(x))
    optimizer = torch.optim.Adam([*model.parameters(), *likelihood.parameters()], 0.02)
    for _ in range(steps):
        rows = torch.randint(len(x), (256,), generator=generator)
        optimizer.zero_grad()
        loss = -objective(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    model.eval()

    def mean(Q: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return (model(((Q - centre) / scale).float()).mean * spread + middle).double()

    return Rival(mean, None, None, torch.arange(0))
