"""The posterior against references written from the formulas: 50 digits, dense M×M, sums in pieces."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gp
from gp.sums import Sums
from interpret.errors import BadInput, DeadUnit, TooFewPoints, UsageError

NOISES = (1e-12, 1e-6, 1.0)


def exact(U, V, queries, noise, metric="half"):
    """Mean (N, L) and variance over the amplitude (N,) in 50 digits: half-whitening, then the D×D formula."""
    with mpmath.workdps(50):
        mp = mpmath.matrix
        h, v, q = mp(U.tolist()), mp(V.tolist()), mp(queries.tolist())
        count, width = h.rows, h.cols

        def column_means(m):
            return [mpmath.fsum(m[i, j] for i in range(m.rows)) / m.rows for j in range(m.cols)]

        def minus(m, means):
            return mp([[m[i, j] - means[j] for j in range(m.cols)] for i in range(m.rows)])

        centre, baseline = column_means(h), column_means(v)
        h, q, v = minus(h, centre), minus(q, centre), minus(v, baseline)
        values, vectors = mpmath.eigsy(h.T * h)
        top = max(values)
        scale = [(max(x, 0) + top / 1000) ** mpmath.mpf(-0.25) for x in values]
        unit = mpmath.sqrt(mpmath.fsum(s**2 * x for s, x in zip(scale, values, strict=True)) / count)
        rotation = vectors * mpmath.diag([s / unit for s in scale])
        u, z = h * rotation, q * rotation
        inverse = (u.T * u + mpmath.mpf(noise) * mpmath.eye(width)) ** -1
        weights = inverse * (u.T * v)
        mean = z * weights
        mean = [[float(mean[i, j] + baseline[j]) for j in range(v.cols)] for i in range(z.rows)]
        variance = [float(noise * (z[i, :] * inverse * z[i, :].T)[0]) for i in range(z.rows)]
    return np.array(mean), np.array(variance)


def cases(features):
    U, V = features
    rng = np.random.default_rng(0)
    short = np.round(U[:, :3] * 2**20) / 2**20  # sums are exact: the fourth column depends on two others
    low = np.column_stack([short, short[:, 0] + short[:, 1]])
    return {
        "plain": (U, V),
        "duplicated rows": (np.repeat(U, 3, axis=0), np.repeat(V, 3, axis=0)),
        "fewer rows than features": (rng.normal(size=(6, 9)), rng.normal(size=(6, 2))),
        "dependent columns": (low, V),
    }


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(
    "case", ["plain", "duplicated rows", "fewer rows than features", "dependent columns"]
)
def test_posterior_agrees_with_fifty_digits(features, case, noise):
    U, V = cases(features)[case]
    queries = np.vstack([U[:3], np.random.default_rng(1).normal(size=(4, U.shape[1]))])
    d = gp.fit_features(U, V, noise=noise)
    made = d.predict_features(queries)
    mean, variance = exact(U, V, queries, noise)
    assert np.abs(made.mean - mean).max() <= 1e-9 * np.abs(V).max()
    relative = made.variance / d.amplitude / variance[:, None] - 1
    assert np.abs(relative).max() <= 1e-6


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 1.0])
def test_posterior_agrees_with_the_dense_form(features, noise):
    U, V = (np.repeat(part, 2, axis=0) for part in features)
    d = gp.fit_features(U, V, noise=noise)
    u, b = d.features, V.mean(0)
    queries = np.random.default_rng(1).normal(size=(5, U.shape[1]))
    z = d.posterior.basis(torch.from_numpy(queries)[None])[0].numpy() @ d.posterior.basis.turn[0].numpy()
    gram = u @ u.T + noise * np.eye(len(u))
    mean = b + z @ u.T @ np.linalg.solve(gram, V - b)
    made = d.predict_features(queries)
    assert np.abs(made.mean - mean).max() <= 1e-7 * np.abs(V).max()
    k = z @ u.T
    variance = (z * z).sum(1) - np.einsum("qm,mq->q", k, np.linalg.solve(gram, k.T))
    assert np.allclose(made.variance / d.amplitude, variance[:, None], rtol=1e-5, atol=1e-9 * (z * z).sum())


def test_public_arrays_make_the_mean(features):
    U, V = features
    d = gp.fit_features(U, V, noise=0.3)
    u = d.features
    assert u.shape == U.shape
    assert d.weights.shape == (5, 2)
    assert d.alpha.shape == d.targets.shape == V.shape
    made = d.predict_features(U).mean
    assert np.allclose(made, d.baseline + u @ d.weights, atol=1e-12)
    assert np.allclose(made, d.baseline + u @ u.T @ d.alpha, atol=1e-10)
    assert np.allclose((u * u).sum(1).mean(), 1)


def test_metric_none_keeps_features_as_they_are(features):
    U, V = features
    d = gp.fit_features(U, V, noise=0.5, center=False, metric="none")
    assert np.allclose(d.features, U, atol=1e-12)
    b = V.mean(0)
    w = np.linalg.solve(U.T @ U + 0.5 * np.eye(5), U.T @ (V - b))
    assert np.allclose(d.weights, w, atol=1e-10)
    assert np.allclose(d.predict_features(U).mean, b + U @ w, atol=1e-10)


@given(st.integers(0, 2**31), st.floats(1e-12, 1e6), st.integers(2, 12), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_variance_is_never_negative(seed, noise, rows, width):
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(rows, width)) * 10.0 ** rng.uniform(-6, 6, width)
    d = gp.fit_features(U, rng.normal(size=rows), noise=noise)
    made = d.predict_features(np.vstack([U, 1e3 * U]))
    assert (made.variance >= 0).all()
    assert np.isfinite(made.mean).all()


@given(st.integers(0, 2**31), st.lists(st.integers(1, 9), min_size=2, max_size=5))
@settings(max_examples=20, deadline=None)
def test_sums_in_pieces_are_the_sums(seed, sizes):
    rng = np.random.default_rng(seed)
    pieces = [
        (torch.from_numpy(rng.normal(5, 1, (1, n, 3))), torch.from_numpy(rng.normal(-7, 1, (1, n, 2))))
        for n in sizes
    ]
    whole = Sums.start(torch.cat([h for h, _ in pieces], 1), torch.cat([v for _, v in pieces], 1)).centred()
    added = Sums.start(*pieces[0])
    merged = Sums.start(*pieces[0])
    for piece in pieces[1:]:
        added = added.add(*piece)
        merged = Sums.start(*piece).merge(merged)
    removed = merged.add(*pieces[0]).remove(*pieces[0])
    if whole.count < 2:
        return
    for other in (added, merged, removed):
        made = other.centred()
        for name in ("mean_h", "mean_v", "gram", "cross", "square"):
            assert torch.allclose(getattr(made, name), getattr(whole, name), atol=1e-10)


def test_intervals_scale_with_the_head(features):
    U, V = features
    one, other = gp.fit_features(U, V, noise=0.1), gp.fit_features(U, -50 * V, noise=0.1)
    assert np.allclose(other.amplitude, 2500 * one.amplitude, rtol=1e-9)
    low, high = one.predict_features(U).interval(0.8)
    wide_low, wide_high = other.predict_features(U).interval(0.8)
    assert np.allclose(wide_high - wide_low, 50 * (high - low), rtol=1e-9)


def test_bad_features_are_named(features):
    U, V = features
    with pytest.raises(BadInput, match="40 rows of features and 39 of targets"):
        gp.fit_features(U, V[:-1])
    broken = U.copy()
    broken[7, 2] = np.nan
    with pytest.raises(BadInput, match=r"features hold a value that is not finite, first in row 7"):
        gp.fit_features(broken, V)
    with pytest.raises(DeadUnit, match="the same at every training row"):
        gp.fit_features(np.ones_like(U), V)
    with pytest.raises(TooFewPoints, match="two rows"):
        gp.fit_features(U[:1], V[:1])
    with pytest.raises(UsageError, match="positive number"):
        gp.fit_features(U, V, noise=0.0)
    with pytest.raises(UsageError, match="one of auto, likelihood, loo"):
        gp.fit_features(U, V, noise="best")
    with pytest.raises(UsageError, match="no metric 'cosine'"):
        gp.fit_features(U, V, metric="cosine")
    d = gp.fit_features(U, V)
    with pytest.raises(BadInput, match="expected features of shape"):
        d.predict_features(U[:, :3])


@pytest.mark.parametrize("metric", ["half", "full", "raw"])
@pytest.mark.parametrize("noise", [1e-8, 1e-2])
@pytest.mark.parametrize("center", [True, False])
def test_few_rows_of_wide_features_are_decomposed_in_their_span(metric, noise, center, monkeypatch):
    rng = np.random.default_rng(0)
    U = rng.normal(size=(40, 300)) * np.geomspace(1, 1e-3, 300)
    U[7] = U[3]  # one row more than directions
    V, queries = (
        np.tanh(U @ rng.normal(size=(300, 2))),
        rng.normal(size=(20, 300)) * np.geomspace(1, 1e-3, 300),
    )
    mine = gp.fit_features(U, V, noise=noise, metric=metric, center=center)
    monkeypatch.setattr("gp.posterior.WIDE", 10**9)
    plain = gp.fit_features(U, V, noise=noise, metric=metric, center=center)
    a, b = mine.predict(queries), plain.predict(queries)
    assert np.abs(a.mean - b.mean).max() <= 1e-9 * np.abs(V).max()
    np.testing.assert_allclose(a.variance, b.variance, rtol=1e-5)
    eigenvalues = mine.posterior.basis.eigenvalues
    torch.testing.assert_close(eigenvalues, plain.posterior.basis.eigenvalues, rtol=1e-9, atol=1e-12 * len(U))
