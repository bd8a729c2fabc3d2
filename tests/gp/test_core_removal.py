"""`without` against distilling the rows that remain, and what is said of a row left out against a refit without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp.conditioning import left_out
from interpret.errors import UsageError
from interpret.probe import Probe


def network(seed, *layers):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(*(layer() for layer in layers)).double().eval()


def mlp(seed):
    return network(
        seed,
        lambda: nn.Linear(5, 16),
        nn.Tanh,
        lambda: nn.Linear(16, 16),
        nn.ReLU,
        lambda: nn.Linear(16, 4),
    )


def convolution(seed):
    return network(seed, lambda: nn.Conv2d(1, 6, 3), nn.ReLU, lambda: nn.Conv2d(6, 4, 3))


@pytest.mark.parametrize(
    ("make", "shape", "address"),
    [(mlp, (5,), ""), (convolution, (1, 8, 8), ""), (convolution, (1, 8, 8), "2[1]")],
)
@pytest.mark.parametrize("seed", range(6))
def test_without_equals_distilling_the_remaining_rows_at_its_noise(make, shape, address, seed):
    probe = Probe(make(seed), address)
    X = np.random.default_rng(seed).normal(size=(120, *shape))
    queries = np.random.default_rng(100 + seed).normal(size=(20, *shape))
    d = gp.distill(probe, X)
    again = gp.distill(probe, np.delete(X, [1, 5, 17], 0), noise=d.noise)
    mine, theirs = d.without([1, 5, 17]).predict(queries), again.predict(queries)
    assert np.abs(mine.mean - theirs.mean).max() <= 1e-8 * np.abs(d.targets).max()
    np.testing.assert_allclose(mine.variance, theirs.variance, rtol=1e-6)


@pytest.mark.parametrize("metric", ["raw", "full", "auto"])
def test_without_keeps_a_metric_that_was_asked_for(metric):
    model = mlp(3)
    X = np.random.default_rng(3).normal(size=(120, 5))
    d = gp.distill(model, X, metric=metric)
    less = d.without([0, 7])
    assert less.metric == d.metric
    again = gp.distill(model, np.delete(X, [0, 7], 0), noise=d.noise, metric=d.metric)
    assert np.abs(less.predict(X).mean - again.predict(X).mean).max() <= 1e-8 * np.abs(d.targets).max()


def test_a_metric_of_no_such_name_and_one_for_learned_maps_are_refused():
    X = np.random.default_rng(0).normal(size=(20, 5))
    with pytest.raises(UsageError, match="no metric 'cosine'"):
        gp.distill(mlp(0), X, metric="cosine")
    with pytest.raises(UsageError, match="learned kernel's maps"):
        gp.distill(mlp(0), X, kernel="learned", steps=1, metric="full")


def refitted(U, noise, places, center):
    """Variance over τ²σ² at the rows of each example, of a GP on all the others; stable where directions are unseen."""
    found = []
    for example in range(len(U) // places):
        own = np.arange(len(U)) // places == example
        c = U[~own].mean(0) if center else 0.0
        Z, z = U[~own] - c, U[own] - c
        values, vectors = np.linalg.eigh(Z.T @ Z)
        values = np.where(values > 1e-11 * values.max(), values, 0)
        found.append(((z @ vectors) ** 2 / (values + noise)).sum(1))
    return np.concatenate(found)


@pytest.mark.parametrize("places", [1, 4])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(
    ("rows", "width", "noise", "tolerance"),
    [(60, 100, 1e-8, 1e-4), (60, 100, 1.0, 1e-10), (40, 30, 1e-6, 1e-10), (40, 39, 1e-3, 1e-8)],
)
def test_the_variance_at_a_row_left_out_is_that_of_a_refit(rows, width, noise, tolerance, center, places):
    rng = np.random.default_rng(0)
    U = rng.normal(size=(rows, width))
    v = np.tanh(U @ rng.normal(size=width) / np.sqrt(width))
    d = gp.fit_features(U, v, noise=noise, metric="none", center=center)
    features, targets = torch.from_numpy(U), torch.from_numpy(v)
    _, ratio = left_out(
        d.posterior, features.reshape(1, -1, places, width), targets.reshape(-1, places, 1), rows
    )
    np.testing.assert_allclose(ratio.flatten(), refitted(U, noise, places, center), rtol=tolerance)


@pytest.mark.parametrize("center", [True, False])
def test_intervals_are_of_the_size_of_the_errors_where_there_are_more_directions_than_rows(center):
    rng = np.random.default_rng(1)
    U, queries, w = rng.normal(size=(100, 150)), rng.normal(size=(300, 150)), rng.normal(size=150) / 12
    v, truth = np.tanh(U @ w), np.tanh(queries @ w)
    p = gp.fit_features(U, v, noise=1e-8, center=center).predict(queries)
    low, high = p.interval(0.95)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.92
    assert np.median(high - low) / 2 < 5 * np.quantile(np.abs(p.mean - truth), 0.95)


@pytest.mark.parametrize(("rows", "center"), [(60, False), (61, True)])
def test_rows_that_only_just_span_the_features_get_wide_intervals_and_a_note(rows, center):
    rng = np.random.default_rng(2)
    U, queries, w = rng.normal(size=(rows, 60)), rng.normal(size=(300, 60)), rng.normal(size=60) / 8
    d = gp.fit_features(U, np.tanh(U @ w), noise=1e-8, center=center)
    low, high = d.predict(queries).interval(0.95)
    truth = np.tanh(queries @ w)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.95
    assert "intervals say little" in d.notes[0]
    assert gp.fit_features(U[:30], np.tanh(U[:30] @ w), noise=1e-8).notes == ()
    assert gp.fit_features(U, np.tanh(U @ w), noise=1.0).notes == ()
