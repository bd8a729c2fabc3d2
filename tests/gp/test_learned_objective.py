"""GPEX's objective against its formula, written in the dense M×M form with loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gp.objective import condition, gpex_loss, objective
from interpret.errors import NotConverged


def small(seed=0, heads=2, rows=7, dim=3, queries=5):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    unit = lambda u: u / u.norm(dim=-1, keepdim=True)  # noqa: E731
    return (
        unit(draw(heads, rows, dim)),
        draw(heads, rows),
        torch.rand(heads, generator=g, dtype=torch.float64) + 0.05,
        unit(draw(heads, queries, dim)),
        draw(heads, queries),
    )


def by_the_paper(U, v, noise, Q, g):
    """½ E[(mean − g)²/var] + ½ E[log var], mean and var from K = UUᵀ, one head and one query at a time."""
    losses = []
    for head in range(len(U)):
        K = U[head] @ U[head].T
        inverse = torch.linalg.inv(K + noise[head] * torch.eye(len(K), dtype=K.dtype))
        total = 0.0
        for x, value in zip(Q[head], g[head], strict=True):
            k = U[head] @ x
            mean = float(k @ inverse @ v[head])
            var = float(x @ x - k @ inverse @ k)
            total += 0.5 * (mean - float(value)) ** 2 / var + 0.5 * math.log(var)
        losses.append(total / len(Q[head]))
    return torch.tensor(losses, dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_objective_is_the_formula(seed):
    case = small(seed)
    torch.testing.assert_close(objective(*case), by_the_paper(*case), rtol=1e-9, atol=1e-9)


def test_the_formula_by_hand():
    # One example u = 1, v = 2, noise 1, query u = 1, g = 0: K + noise = 2, mean = 1, var = 1 − 1/2.
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    loss = objective(
        one, torch.tensor([[2.0]]).double(), torch.ones(1).double(), one, torch.zeros(1, 1).double()
    )
    assert float(loss) == pytest.approx(0.5 * 1 / 0.5 + 0.5 * math.log(0.5), abs=1e-14)


def test_the_gradient_goes_through_all_examples():
    U, v, noise, Q, g = small(3)
    torch.autograd.gradcheck(
        lambda u, q: objective(u, v, noise, q, g), (U.requires_grad_(), Q.requires_grad_())
    )
    objective(U, v, noise, Q, g).sum().backward()
    assert (U.grad.abs().sum(dim=-1) > 0).all()  # every one of the M rows is in every step


def test_a_weighted_sample_stands_for_its_repetitions():
    U, v, noise, Q, _ = small(4)
    once, thrice = condition(U, v, noise, scale=3.0), condition(U.repeat(1, 3, 1), v.repeat(1, 3), noise)
    torch.testing.assert_close(once.mean(Q), thrice.mean(Q), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(once.variance(Q), thrice.variance(Q), rtol=1e-10, atol=1e-12)


def test_the_variance_is_positive_where_subtraction_is_not():
    U, v, _, _, _ = small(5, rows=60)
    tiny = torch.full((2,), 1e-13, dtype=torch.float64)
    assert (condition(U, v, tiny).variance(U) > 0).all()


def test_the_loss_is_least_where_the_variance_is_the_squared_error():
    error, zero = torch.full((1, 1), 0.3), torch.zeros(1, 1)
    at = {s: float(gpex_loss(error, torch.full((1, 1), s), zero)) for s in (0.05, 0.09, 0.2)}
    assert min(at, key=at.get) == 0.09


def test_a_singular_system_is_named_not_jittered():
    U, v, _, _, _ = small(6, rows=2, dim=5)  # rank 2 in five dimensions
    with pytest.raises(
        NotConverged, match=r"5×5 system of head 0 is singular at noise 1e-40; use a larger noise"
    ):
        condition(U, v, torch.full((2,), 1e-40, dtype=torch.float64))
