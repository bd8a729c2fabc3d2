"""The lack-of-fit test tells noise from noise with a pattern, and keeps silent where there is no noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from interpret.outcome import EXACT_MISALIGNMENT, Verdict, exact_bound
from symbolic import fit_gradients
from symbolic.expression import Tree
from symbolic.formula import Formula
from symbolic.lack import _chance_above, pattern
from symbolic.parser import parse
from symbolic.targets import Targets, build

Concept = Callable[[torch.Tensor], torch.Tensor]


def field(
    concept: Concept, low: float, high: float, d: int, noise: float, seed: int
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    points = rng.uniform(low, high, (1500, d))
    x = torch.from_numpy(points).requires_grad_(True)
    value = concept(x)
    gradient = torch.autograd.grad(value.sum(), x)[0].numpy()
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    error = rng.normal(size=gradient.shape) * noise
    error -= (error * gradient).sum(1, keepdims=True) * gradient / length**2
    return points, gradient + error * length, value.detach().numpy()


def targets_of(concept: Concept, low: float, high: float, d: int, noise: float, seed: int) -> Targets:
    return build(*field(concept, low, high, d, noise, seed), names=[f"x{i}" for i in range(d)], seed=seed)


def formula(text: str, d: int) -> Tree:
    return parse(text, [f"x{i}" for i in range(d)])


RIGHT = [
    ("x0^2 + 2*x1^2", lambda x: x[:, 0] ** 2 + 2 * x[:, 1] ** 2, 2),
    ("sin(2.3*x0) + exp(-0.7*x1^2)", lambda x: torch.sin(2.3 * x[:, 0]) + torch.exp(-0.7 * x[:, 1] ** 2), 2),
    ("x0*x1 - x2^2", lambda x: x[:, 0] * x[:, 1] - x[:, 2] ** 2, 3),
]


@pytest.mark.parametrize(("text", "concept", "d"), RIGHT, ids=[r[0] for r in RIGHT])
@pytest.mark.parametrize("noise", [0.01, 0.05, 0.3])
def test_the_right_formula_leaves_noise(text: str, concept: Concept, d: int, noise: float) -> None:
    found = [pattern(formula(text, d), targets_of(concept, -2, 2, d, noise, seed)) for seed in range(10)]
    assert sum(share is not None for share in found) <= 1  # one in a thousand is chance


def test_noise_that_differs_between_regions_is_no_pattern() -> None:
    for seed in range(10):
        points, clean, values = field(RIGHT[0][1], -2, 2, 2, 0.0, seed)
        rng = np.random.default_rng(100 + seed)
        sigma = np.where(points[:, 0] < 0, 0.02, 0.3)[:, None]
        length = np.linalg.norm(clean, axis=1, keepdims=True)
        noisy = clean + rng.normal(size=clean.shape) * sigma * length
        targets = build(points, noisy, values, names=["x0", "x1"], seed=seed)
        assert pattern(formula(RIGHT[0][0], 2), targets) is None


def test_a_formula_that_is_only_near_is_seen_through_the_noise() -> None:
    near = formula("x2 + 1.45*sqrt(x0/x1)", 3)

    def concept(x: torch.Tensor) -> torch.Tensor:
        return torch.log(x[:, 0] / x[:, 1] + 2.5) + 0.4 * x[:, 2]

    for seed in range(5):
        share = pattern(near, targets_of(concept, 3, 7, 3, 0.05, seed))
        assert share is not None
        assert 0.01 < share < 0.3


def test_rounding_is_no_pattern() -> None:
    assert pattern(formula(RIGHT[0][0], 2), targets_of(RIGHT[0][1], -2, 2, 2, 0.0, 0)) is None


def test_without_noise_it_says_nothing() -> None:
    """A trained network's own errors are smooth: they are judged by their size, not by their pattern."""
    assert pattern(formula("x0^2 + x1^2", 2), targets_of(RIGHT[0][1], -2, 2, 2, 0.0, 0)) is None


def test_near_formulas_are_not_called_exact() -> None:
    def concept(x: torch.Tensor) -> torch.Tensor:
        return x[:, 0] * torch.sqrt(x[:, 1]) + 0.1 * x[:, 2]

    points, gradients, values = field(concept, 3, 7, 3, 0.05, 0)
    found = fit_gradients(points, gradients, values)
    truth = field(concept, 3, 7, 3, 0.0, 0)[1]
    slope = _gradient(found, points)
    cosine = (slope * truth).sum(1) / np.linalg.norm(slope, axis=1) / np.linalg.norm(truth, axis=1)
    assert found.verdict is not Verdict.EXACT or 1 - abs(cosine.mean()) < 1e-5


def _gradient(found: Formula, points: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(points).requires_grad_(True)
    return torch.autograd.grad(found.torch()(x).sum(), x)[0].numpy()


def test_the_bound_shrinks_with_length_and_without_controls() -> None:
    assert exact_bound(1) == exact_bound(10) == EXACT_MISALIGNMENT
    assert exact_bound(20) == pytest.approx(EXACT_MISALIGNMENT / 4)
    assert exact_bound(5, controlled=False) == pytest.approx(EXACT_MISALIGNMENT / 10)
    bounds = [exact_bound(n) for n in range(1, 60)]
    assert bounds == sorted(bounds, reverse=True)


def test_a_nearly_linear_field_is_not_called_exactly_linear() -> None:
    def concept(x: torch.Tensor) -> torch.Tensor:
        return x[:, 0] - 2 * x[:, 1] + 0.1 * x[:, 0] * x[:, 1] + 0.05 * x[:, 0] ** 2

    points, gradients, values = field(concept, -1, 1, 2, 0.0, 0)
    found = fit_gradients(points, gradients, values, operators=["+", "-"])
    assert found.verdict is not Verdict.EXACT
    exact = fit_gradients(points, np.tile([1.0, -2.0], (len(points), 1)), points @ [1.0, -2.0])
    assert exact.verdict is Verdict.EXACT
    assert (
        "every control is beaten. The best linear formula is no control of a linear one" in exact.reasons[0]
    )


def test_outliers_are_named_where_nothing_is_claimed() -> None:
    points, gradients, values = field(RIGHT[2][1], -2, 2, 3, 0.0, 0)
    wrong = np.random.default_rng(1).permutation(len(points))[: len(points) // 5]
    spoilt = gradients.copy()
    spoilt[wrong] = np.random.default_rng(2).normal(size=(len(wrong), 3))
    found = fit_gradients(points, spoilt, values, accuracy=0.2)
    assert found.verdict is Verdict.NONE and found.expression == "x0 * x1 - x2^2"
    assert "are likely outliers" in found.advice[0]


def test_a_long_formula_near_a_nested_one_is_not_called_exact() -> None:
    def concept(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(1.7 * x[:, 0] * x[:, 1]) + x[:, 2] ** 2

    points, gradients, values = field(concept, -1, 2, 3, 0.0, 0)
    found = fit_gradients(points, gradients, values, time_limit=4)
    assert found.verdict is not Verdict.EXACT or found.misalignment < 1e-6


def test_the_chance_agrees_with_the_distribution() -> None:
    for freedom in (1, 3, 10, 60):
        for chance in (0.5, 0.05, 1e-2, 1e-3):
            assert _chance_above(chi2.isf(chance, freedom), freedom) == pytest.approx(chance, rel=0.3)
