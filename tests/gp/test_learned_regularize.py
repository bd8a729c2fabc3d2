"""Fine-tuning a network toward its GP."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp.regularization import Regularized, regularize
from interpret.errors import ModelNeeded, UsageError

STEPS = 150


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 2))


X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def coarse():
    # A GP whose mean is visibly not the network: much noise.
    return gp.distill(net(), X, kernel="activation", noise=300.0)


def test_the_network_moves_toward_its_gp(coarse):
    model = net()
    made = regularize(model, coarse, steps=STEPS, rate=1e-2)
    assert isinstance(made, Regularized) and len(made.trace) == STEPS
    assert list(made.after.columns) == ["pearson", "r2", "mae"]
    assert (made.after["r2"] > made.before["r2"]).all()
    assert (made.after["mae"] < 0.5 * made.before["mae"]).all()


def test_the_given_network_stays_and_the_copy_is_usable(coarse):
    model = net().train()
    model[0].bias.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    made = regularize(model, coarse, steps=3)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert model.training and not made.model.training
    assert [p.requires_grad for p in made.model.parameters()] == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in made.model.parameters())
    again = regularize(model, coarse, steps=3)
    assert all(
        torch.equal(a, b) for a, b in zip(made.model.parameters(), again.model.parameters(), strict=True)
    )


def test_before_is_the_gap_between_gp_and_network(coarse):
    made = regularize(net(), coarse, steps=1, rate=1e-9)
    np.testing.assert_allclose(made.before.to_numpy(), made.after.to_numpy(), rtol=1e-4)
    assert made.before["r2"].max() < 0.999


def test_the_task_is_heard(coarse):
    model, target = net(), torch.full((200, 2), 3.0)

    def task(student):
        return 100.0 * (student(torch.from_numpy(X)) - target).square().mean()

    with_task, without = (
        regularize(model, coarse, steps=STEPS, rate=1e-2, task=t).model for t in (task, None)
    )
    with torch.no_grad():
        assert task(with_task) < 0.5 * task(without)


def test_what_it_needs(coarse):
    with pytest.raises(UsageError, match="steps and rate must be above zero"):
        regularize(net(), coarse, steps=0)
    with pytest.raises(ModelNeeded, match="a distillation of a network made in this process"):
        regularize(net(), gp.fit_features(X, X[:, 0]))


def test_it_is_part_of_the_package():
    assert gp.regularize is regularize


@pytest.mark.parametrize(("dtype", "kernel"), [(torch.float16, "learned"), (torch.bfloat16, "activation")])
def test_a_network_in_half_precision_moves_and_keeps_its_types(dtype, kernel):
    model = net().eval().to(dtype)
    options = {"steps": 30} if kernel == "learned" else {"noise": 300.0}
    d = gp.distill(model, torch.from_numpy(X).to(dtype), kernel=kernel, **options)
    made = regularize(model, d, steps=50, rate=3e-3)
    assert {p.dtype for p in made.model.parameters()} == {dtype}
    assert np.isfinite(made.trace).all()
    assert (made.after["mae"] < made.before["mae"]).all()
    assert all(p.dtype == dtype for p in model.parameters())
