"""Contributions, leave-one-out, removal, neighbors and prototypes against slow references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gp
from interpret.errors import IndexOutOfRange, RowsNotStored, UsageError


@given(st.integers(0, 2**31), st.floats(-12, 4), st.sampled_from(["half", "none", "full"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_contributions_add_up_at_any_noise(seed, power, metric, center):
    rng = np.random.default_rng(seed)
    U = rng.normal(1, 1, (30, 6)) * 10.0 ** rng.uniform(-2, 2, 6)
    V = U @ rng.normal(size=(6, 2)) + rng.normal(size=(30, 2))
    d = gp.fit_features(U, V, noise=10.0**power, center=center, metric=metric)
    queries = rng.normal(1, 1, (4, 6)) * U.std(0)
    latent = d.predict_features(queries).latent
    for head in (0, 1):
        c = d.contributions(queries, head=head)
        bound = 1e-8 * (abs(d.baseline[head]) + np.abs(c).sum(1))
        assert (np.abs(d.baseline[head] + c.sum(1) - latent[:, head]) <= bound).all()


def test_contributions_add_up_where_rows_repeat(features):
    U, V = (np.repeat(part, 5, axis=0) for part in features)
    for noise in (1e-12, 1e-6, 1.0):
        d = gp.fit_features(U, V, noise=noise)
        c = d.contributions(U[3], head=1)
        total = d.baseline[1] + c.sum()
        assert abs(total - d.predict_features(U[3]).latent[0, 1]) <= 1e-8 * (
            abs(d.baseline[1]) + np.abs(c).sum()
        )


def refit_without(d, U, V, out):
    """Prediction at the rows left out, with centre, baseline and posterior of the rest; rotation and noise stay."""
    keep = np.setdiff1d(np.arange(len(U)), out)
    rotation = d.posterior.basis.rotation[0].numpy()
    centre = U[keep].mean(0) if d.center else 0.0
    baseline = V[keep].mean(0)
    z = (U - centre) @ rotation
    a = z[keep].T @ z[keep] + d.noise * np.eye(z.shape[1])
    return baseline + z[out] @ np.linalg.solve(a, z[keep].T @ (V[keep] - baseline))


@pytest.mark.parametrize("noise", [1e-4, 1.0, 30.0])
@pytest.mark.parametrize("center", [True, False])
def test_leave_one_out_equals_refits(features, noise, center):
    U, V = features
    d = gp.fit_features(U, V, noise=noise, center=center)
    made = d.leave_one_out()
    slow = np.concatenate([refit_without(d, U, V, np.array([i])) for i in range(len(U))])
    assert np.abs(made - slow).max() <= 1e-8


def test_amplitude_lets_a_95_percent_interval_cover_95_percent_of_the_rows_left_out(features):
    U, V = features
    d = gp.fit_features(U, V, noise=0.5)
    residual = V - d.leave_one_out()
    deviations = []
    for i in range(len(U)):
        rest = np.delete(np.arange(len(U)), i)
        z = d.features
        others, one = z[rest] - z[rest].mean(0), z[i] - z[rest].mean(0)
        inverse = np.linalg.inv(others.T @ others + 0.5 * np.eye(5))
        deviations.append(np.sqrt(d.amplitude * 0.5 * (one @ inverse @ one)))
    scaled = np.sort(np.abs(residual / np.array(deviations)), axis=0)
    assert np.allclose(scaled[int(np.ceil(0.95 * 41)) - 1], 1.959963984540054, rtol=1e-9)


def test_without_equals_the_rest(features):
    U, V = features
    for noise in (1e-9, 1e-3, 1.0):
        d = gp.fit_features(U, V, noise=noise).without([0, 7, 39])
        keep = np.setdiff1d(np.arange(40), [0, 7, 39])
        e = gp.fit_features(U[keep], V[keep], noise=noise)
        a, b = d.predict_features(U), e.predict_features(U)
        assert np.abs(a.mean - b.mean).max() <= 1e-8 * np.abs(V).max()
        assert np.allclose(a.variance, b.variance, rtol=1e-6)
        assert d.examples == 37
        assert np.array_equal(d.row_ids, keep)
    again = d.without([1])
    e = gp.fit_features(np.delete(U, [0, 1, 7, 39], 0), np.delete(V, [0, 1, 7, 39], 0), noise=noise)
    assert np.allclose(again.predict_features(U).mean, e.predict_features(U).mean, atol=1e-9)
    with pytest.raises(IndexOutOfRange, match="row 7 is not among the 37 training rows"):
        d.without([7])


def test_neighbors_equal_brute_force(features):
    U, V = features
    d = gp.fit_features(U, V, noise=0.2)
    queries = U[:6] + 0.1
    u = d.features
    z = d.posterior.basis(torch.from_numpy(queries)[None])[0].numpy() @ d.posterior.basis.turn[0].numpy()
    kernel = z @ u.T
    similarity = kernel / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(u, axis=1)
    contribution = kernel * d.alpha[:, 1]
    orders = {
        "similarity": -similarity,
        "contribution": -np.abs(contribution),
        "positive": -contribution,
        "negative": contribution,
        "alike": np.where(similarity > 0, -np.abs(contribution), np.inf),
    }
    for by, score in orders.items():
        found = d.neighbors(queries, k=7, head=1, by=by)
        index = np.argsort(score, axis=1)[:, :7]
        assert np.array_equal(found.index, index), by
        assert np.allclose(found.similarity, np.take_along_axis(similarity, index, 1))
        assert np.allclose(found.contribution, np.take_along_axis(contribution, index, 1))
        assert found.place is None


def test_orders_by_sign_name_nobody_of_the_other_sign(features):
    d = gp.fit_features(*features, noise=0.2)
    queries = features[0][:4]
    c = np.stack([d.contributions(q, head=0) for q in queries])
    for by, belongs in (("positive", c > 0), ("negative", c < 0)):
        found = d.neighbors(queries, k=40, head=0, by=by)
        assert np.array_equal((found.index >= 0).sum(1), belongs.sum(1))
        assert all(belongs[n, i] for n, row in enumerate(found.index) for i in row if i >= 0)
        assert np.isnan(found.contribution[found.index < 0]).all()
    alike = d.neighbors(queries, k=40, head=0, by="alike")
    assert (alike.similarity[alike.index >= 0] > 0).all()
    assert (np.diff(np.abs(np.nan_to_num(alike.contribution)), axis=1) <= 0).all()


def test_neighbors_leave_out_copies(features):
    U, V = features
    many, targets = np.vstack([U, np.repeat(U[:1], 60, axis=0)]), np.vstack([V, np.repeat(V[:1], 60, axis=0)])
    d = gp.fit_features(many, targets, noise=0.2)
    found = d.neighbors(U[:1] * 1.01, k=10, head=0)
    assert len(set(found.index[0])) == 10
    assert (found.index[0] < 40).all()
    few = d.neighbors(U[:1], k=60, head=0)
    assert (few.index[0] >= 0).sum() == 40
    assert (few.index[0, 40:] == -1).all()
    assert np.isnan(few.similarity[0, 40:]).all()


def brute_prototypes(d, k, head):
    """Orthogonal matching pursuit on the M training values of every kernel section."""
    kernel = d.features @ d.features.T
    target = d.predict_features(d.raw).latent[:, head] - d.baseline[head]
    chosen, residual, r2 = [], target, []
    for _ in range(k):
        left = kernel.copy()
        if chosen:
            basis, _ = np.linalg.qr(kernel[:, chosen])
            left = left - basis @ (basis.T @ left)
        size = np.linalg.norm(left, axis=0)
        size[chosen] = np.inf
        chosen.append(int(np.argmax(np.abs(residual @ left) / size)))
        fit = np.linalg.lstsq(kernel[:, chosen], target, rcond=None)[0]
        residual = target - kernel[:, chosen] @ fit
        r2.append(1 - residual @ residual / (target @ target))
    return chosen, fit, r2


def test_prototypes_equal_a_dense_pursuit(features):
    U, V = features
    d = gp.fit_features(U, V, noise=0.2)
    object.__setattr__(d, "raw", U)
    found = d.prototypes(4, head=1)
    chosen, weight, r2 = brute_prototypes(d, 4, 1)
    assert found.index.tolist() == chosen
    assert np.allclose(found.weight, weight, rtol=1e-6)
    assert np.allclose(found.r2, r2, atol=1e-9)
    assert (np.diff(found.r2) >= -1e-12).all()
    assert np.array_equal(found.sign, np.sign(found.weight))
    whole = d.prototypes(30, head=1)
    assert len(whole.index) == 5  # five features: five sections say all
    assert whole.r2[-1] == pytest.approx(1, abs=1e-9)


def test_bad_questions_are_named(features):
    d = gp.fit_features(*features)
    with pytest.raises(IndexOutOfRange, match="head 2 is out of range: there are 2 heads"):
        d.contributions(features[0][0], head=2)
    with pytest.raises(UsageError, match="by is one of similarity"):
        d.neighbors(features[0], by="distance")
    with pytest.raises(UsageError, match="k is a positive integer"):
        d.neighbors(features[0], k=0)
    with pytest.raises(UsageError, match="'example' or 'place'"):
        d.contributions(features[0][0], by="row")
    with pytest.raises(UsageError, match="between 0 and 1"):
        d.predict(features[0]).interval(95)


def test_a_one_shot_iterator_gives_predictions_only(features):
    U, V = features
    d = gp.fit_features(iter([(U[:20], V[:20]), (U[20:], V[20:])]), noise=0.2)
    assert np.allclose(d.predict(U).mean, gp.fit_features(U, V, noise=0.2).predict(U).mean)
    for ask in (
        lambda: d.contributions(U[0]),
        lambda: d.neighbors(U[:2]),
        lambda: d.alpha,
        lambda: d.without([0]),
    ):
        with pytest.raises(RowsNotStored, match="one-shot iterator"):
            ask()


@pytest.mark.parametrize("form", ["callable", "chunks", "pairs", "tensors", "lists"])
def test_every_form_of_features_gives_the_same(features, form):
    U, V = features
    cut = [(U[i : i + 7], V[i : i + 7]) for i in range(0, 40, 7)]
    given_ = {
        "callable": (lambda: iter(cut), None),
        "chunks": ([u for u, _ in cut], [v for _, v in cut]),
        "pairs": (cut, None),
        "tensors": (torch.from_numpy(U), torch.from_numpy(V)),
        "lists": (U.tolist(), V.tolist()),
    }[form]
    d, e = gp.fit_features(*given_, noise=0.2), gp.fit_features(U, V, noise=0.2)
    assert np.allclose(d.predict(U).mean, e.predict(U).mean, atol=1e-12)
    assert np.allclose(d.alpha, e.alpha, atol=1e-9)
    assert np.array_equal(d.neighbors(U, 3).index, e.neighbors(U, 3).index)
