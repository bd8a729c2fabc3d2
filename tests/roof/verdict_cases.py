"""Thirty prepared neurons whose verdict is known from how they were made. The labels were written before any threshold.

EXACT        g is a strictly monotone function of a short closed form, everywhere.
APPROXIMATE  a short closed form holds, but only in part: in a region, or under a disturbance of the gradient that is
             far smaller than the concept and far larger than rounding.
NONE         there is no short closed form: random networks, random waves, far too few points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]


class Concept(nn.Module):
    """A neuron given by a function of the columns of x (N, d)."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.function(x)[:, None]


@dataclass(frozen=True)
class VerdictCase:
    name: str
    label: str
    model: nn.Module
    X: np.ndarray
    engine: str = "symbolic"


def uniform(low: float, high: float, d: int, n: int = 900, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (n, d))


def random_network(d: int, seed: int, gain: float = 3.0) -> nn.Module:
    """Two hidden layers of 32 tanh units with large weights: many folds, no short formula."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(d, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
    ).double()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                weight = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
                layer.weight.copy_(gain * weight / layer.in_features**0.5)
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator, dtype=torch.float64))
    return model


def waves(d: int, seed: int, count: int = 24) -> Function:
    """A sum of plane waves of random direction, frequency 4 to 9 and phase."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(d, count))
    directions *= rng.uniform(4, 9, count) / np.linalg.norm(directions, axis=0)
    k, phase = torch.as_tensor(directions), torch.as_tensor(rng.uniform(0, 2 * np.pi, count))
    return lambda x: torch.sin(x @ k + phase).sum(1)


def disturbed(concept: Function, d: int, seed: int, strength: float) -> Function:
    """The concept plus a wave field whose gradient is ``strength`` times as long on average (for a unit gradient)."""
    wave = waves(d, seed)
    amplitude = strength / (6.5 * 12**0.5)
    return lambda x: concept(x) + amplitude * wave(x)


def trained(rule: Function, d: int, seed: int) -> nn.Module:
    """A smooth network that regresses the rule on [−1, 1]^d until it fits to about a thousandth."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(d, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1)
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            bound = parameter.shape[-1] ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)
    x = 2 * torch.rand(3000, d, generator=generator, dtype=torch.float64) - 1
    y = rule(x)[:, None]
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=400, history_size=30, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return model


def exact() -> list[VerdictCase]:
    rules: list[tuple[str, Function, np.ndarray]] = [
        (
            "sigmoid of an ellipse",
            lambda x: torch.sigmoid(3 * (x[:, 0] ** 2 + 2 * x[:, 1] ** 2 - 1)),
            uniform(-1, 1, 2),
        ),
        (
            "tanh of a product and a term",
            lambda x: torch.tanh(x[:, 0] * x[:, 1] + x[:, 2]),
            uniform(-1, 1, 3),
        ),
        ("sine and square", lambda x: torch.sin(x[:, 0]) + x[:, 1] ** 2, uniform(-2, 2, 2)),
        ("exponential less a line", lambda x: torch.exp(x[:, 0]) - 3 * x[:, 1], uniform(-1, 1, 2)),
        (
            "cube of a mixed sum",
            lambda x: (x[:, 0] + 2 * x[:, 1] - x[:, 2] * x[:, 3] + 9) ** 3,
            uniform(-1, 1, 4),
        ),
        ("product of three", lambda x: x[:, 0] * x[:, 1] * x[:, 2], uniform(0.5, 2, 3)),
        ("difference of squares", lambda x: x[:, 0] ** 2 - x[:, 1] ** 2 + x[:, 2], uniform(-1, 1, 3)),
        ("quotient", lambda x: torch.log(x[:, 0] / x[:, 1]), uniform(0.5, 3, 2)),
        ("radius", lambda x: torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + x[:, 2] ** 2), uniform(0.1, 1, 3)),
        (
            "signed sum of squares",
            lambda x: torch.tanh((x[:, 0] - x[:, 1]) ** 2 - x[:, 2] ** 2),
            uniform(-1, 1, 3),
        ),
        (
            "plane in five",
            lambda x: torch.exp(x @ torch.tensor([1.0, -2, 3, 0.5, 1], dtype=x.dtype)),
            uniform(-1, 1, 5),
        ),
    ]
    cases = [VerdictCase(name, "EXACT", Concept(rule).double(), X) for name, rule, X in rules]
    learned = trained(lambda x: x[:, 0] * x[:, 1] + 0.5 * x[:, 2] ** 2, 3, seed=1)
    return [
        *cases,
        VerdictCase(
            "a network that learned a quadratic, GP faithful", "EXACT", learned, uniform(-1, 1, 3), "both"
        ),
    ]


def approximate() -> list[VerdictCase]:
    def piecewise(x: Tensor) -> Tensor:
        return torch.where(x[:, 2] > 0.8, 3 * x[:, 0] - x[:, 1], x[:, 0] * x[:, 1] + x[:, 2])

    def corner(x: Tensor) -> Tensor:
        inside = (x[:, 0] > 0.6) & (x[:, 1] > 0.0)
        return torch.where(inside, -2 * x[:, 0] + x[:, 1], x[:, 0] + 2 * x[:, 1])

    def plane(x: Tensor) -> Tensor:
        return (x[:, 0] + x[:, 1]) / 2**0.5

    def square(x: Tensor) -> Tensor:
        return x[:, 0] ** 2 + x[:, 1] + x[:, 2]

    return [
        VerdictCase(
            "two rules, the second in a tenth", "APPROXIMATE", Concept(piecewise).double(), uniform(-1, 1, 3)
        ),
        VerdictCase(
            "another plane in one corner", "APPROXIMATE", Concept(corner).double(), uniform(-1, 1, 2)
        ),
        VerdictCase(
            "plane, disturbed",
            "APPROXIMATE",
            Concept(disturbed(plane, 2, 3, 0.25)).double(),
            uniform(-1, 1, 2),
        ),
        VerdictCase(
            "square, disturbed",
            "APPROXIMATE",
            Concept(disturbed(square, 3, 4, 0.45)).double(),
            uniform(-1, 1, 3),
        ),
        VerdictCase(
            "plane in three, disturbed",
            "APPROXIMATE",
            Concept(disturbed(plane, 3, 5, 0.25)).double(),
            uniform(-1, 1, 3),
        ),
        VerdictCase(
            "square, disturbed less",
            "APPROXIMATE",
            Concept(disturbed(square, 3, 6, 0.35)).double(),
            uniform(-1, 1, 3),
        ),
    ]


def none() -> list[VerdictCase]:
    return [
        *(
            VerdictCase(f"random network {seed}, d = {d}", "NONE", random_network(d, seed), uniform(-1, 1, d))
            for d, seed in ((3, 10), (3, 11), (4, 12), (4, 13), (5, 14))
        ),
        *(
            VerdictCase(f"waves {seed}, d = {d}", "NONE", Concept(waves(d, seed)).double(), uniform(-1, 1, d))
            for d, seed in ((2, 20), (3, 21), (3, 22), (4, 23))
        ),
        VerdictCase("random network, few points", "NONE", random_network(6, 30), uniform(-1, 1, 6, n=60)),
        VerdictCase("waves, few points", "NONE", Concept(waves(6, 31)).double(), uniform(-1, 1, 6, n=60)),
        VerdictCase(
            "random network, GP unfaithful on few rows",
            "NONE",
            random_network(5, 32),
            uniform(-1, 1, 5, n=40),
            "both",
        ),
    ]


def all_cases() -> list[VerdictCase]:
    return [*exact(), *approximate(), *none()]
