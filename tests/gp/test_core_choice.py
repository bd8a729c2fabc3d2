"""The frontier against brute force, the choices made on it, and places left out together."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp.conditioning import gather, settle
from gp.frontier import Curve, choose, curve
from gp.rows import RowBlock
from interpret.probe import Probe


def passed(U, V):
    return gather(
        [RowBlock(slice(0, len(U)), torch.from_numpy(U)[None, :, None], torch.from_numpy(V)[:, None])],
        True,
        False,
    )


@pytest.mark.parametrize("metric", ["half", "raw", "full"])
def test_the_frontier_equals_brute_force(features, metric):
    U, V = features
    made = passed(U, V)
    noises = np.array([1e-3, 0.3, 20.0])
    found = curve(made.sums.centred(), metric, made.sample, noises)
    for j, noise in enumerate(noises):
        d = gp.fit_features(U, V, noise=float(noise), metric=metric)
        u, b = d.features, V.mean(0)
        gram = u @ u.T + noise * np.eye(40)
        hat = u @ u.T @ np.linalg.inv(gram)
        residual = (V - b) - hat @ (V - b)
        left = residual / (1 - (np.trace(hat) + 1) / 40)
        r2 = 1 - (left**2).sum(0) / ((V - b) ** 2).sum(0)
        assert np.allclose(found.r2[j], r2, atol=1e-9)
        likelihood = 0.0
        for y in (V - b).T:
            amplitude = y @ np.linalg.solve(gram, y) / 40
            _, logdet = np.linalg.slogdet(amplitude * gram)
            likelihood -= 0.5 * (y @ np.linalg.solve(amplitude * gram, y) + logdet + 40 * np.log(2 * np.pi))
        assert found.likelihood[j] == pytest.approx(likelihood, rel=1e-9)
        c = (u @ u.T)[:, :, None] * d.alpha[None]
        ratio = np.abs(c).sum(1) / np.maximum(np.abs(c.sum(1)), V.std(0))
        assert found.cancellation[j] == pytest.approx(np.median(ratio), rel=0.03)


def test_the_chosen_noise_keeps_fidelity_and_the_likeliest_noise_is_the_likeliest(features):
    U, V = features
    auto, likely, left = (gp.fit_features(U, V, noise=how) for how in ("auto", "likelihood", "loo"))
    best = max(p.r2 for p in auto.frontier)
    (chosen,) = [p for p in auto.frontier if p.chosen]
    assert chosen.noise == auto.noise
    assert chosen.r2 >= best - 0.05 * (1 - best) - 1e-4
    assert chosen.cancellation <= min(p.cancellation for p in auto.frontier if p.noise <= chosen.noise) * 1.02
    assert max(likely.frontier, key=lambda p: p.likelihood).noise == likely.noise
    assert max(left.frontier, key=lambda p: p.r2).noise == pytest.approx(left.noise, rel=4)
    assert gp.fit_features(U, V, noise=0.7).frontier == ()


def test_the_likeliest_noise_is_the_one_that_made_the_data():
    rng = np.random.default_rng(1)
    U = rng.normal(size=(600, 30))
    amplitude, noise = 0.7**2, 3.0**2  # of the weights and of the observations: their ratio is what is chosen
    V = U @ rng.normal(size=(30, 8)) * amplitude**0.5 + rng.normal(size=(600, 8)) * noise**0.5
    d = gp.fit_features(U, V, noise="likelihood", metric="none", center=False)
    assert d.noise == pytest.approx(noise / amplitude, rel=0.5)


def test_the_noise_by_leave_one_out_is_as_good_as_leaving_out_one_by_one():
    rng = np.random.default_rng(2)
    U = rng.normal(size=(40, 20))
    v = U @ rng.normal(size=20) * 0.3 + rng.normal(size=40)
    d = gp.fit_features(U, v, noise="loo")

    def left_out(noise):
        fitted = gp.fit_features(U, v, noise=noise)
        return ((fitted.leave_one_out()[:, 0] - v) ** 2).mean()

    best = min(left_out(noise) for noise in 10.0 ** np.arange(-2, 4, 0.5))
    assert left_out(d.noise) <= 1.05 * best
    assert left_out(1e-6) > 1.2 * best


@pytest.mark.parametrize("how", ["likelihood", "loo"])
def test_other_choices_match_a_network_and_cancel_more(digits, how):
    chosen, auto = (gp.distill(Probe(digits.net, "fc2"), digits.X[:400], noise=n) for n in (how, "auto"))
    assert chosen.noise < auto.noise
    figures, beside = chosen.fidelity(digits.X_test), auto.fidelity(digits.X_test)
    assert figures["pearson"].min() >= 0.9999
    assert figures["cancellation"].median() > beside["cancellation"].median()


def test_the_activation_kernel_chooses_its_metric_when_asked(digits):
    d = gp.distill(Probe(digits.net, "conv2[5]"), digits.X[:600], metric="auto")
    assert {p.metric for p in d.frontier} == {"half", "raw", "full"}
    (chosen,) = [p for p in d.frontier if p.chosen]
    assert (chosen.metric, chosen.noise) == (d.metric, d.noise)
    plain = gp.distill(Probe(digits.net, "conv2[5]"), digits.X[:600])
    assert plain.metric == "half"
    (half,) = [p for p in plain.frontier if p.chosen]
    assert chosen.cancellation < 0.8 * half.cancellation


def test_noise_is_judged_by_the_best_of_its_own_metric():
    noise, none = np.array([1e-2, 1.0]), np.zeros(2)
    half = Curve("half", noise, 1 - np.array([[1.02e-3], [1.06e-3]]), np.array([9.0, 3.0]), none)
    full = Curve("full", noise, 1 - np.array([[1.00e-3], [1.04e-3]]), np.array([9.0, 5.0]), none)
    assert choose([half, full]) == ("half", 1.0)
    assert choose([replace(full, r2=full.r2 - 0.1), half]) == ("half", 1.0)


def test_an_exact_output_gets_the_largest_noise_within_tolerance():
    rng = np.random.default_rng(0)
    U = rng.normal(size=(300, 6))
    d = gp.fit_features(U, U @ rng.normal(size=(6, 2)))
    (chosen,) = [p for p in d.frontier if p.chosen]
    assert 1e-5 < 1 - chosen.r2 < 1e-4
    assert chosen.noise > 0.1


def test_metric_auto_leaves_half_only_for_much_less_cancellation():
    noise = np.array([1e-3, 1.0])
    r2, likelihood = np.full((2, 1), 0.99999), np.zeros(2)
    half = Curve("half", noise, r2, np.array([5.0, 2.0]), likelihood)
    near = Curve("full", noise, r2, np.array([5.0, 1.9]), likelihood)
    far = Curve("full", noise, r2, np.array([5.0, 1.2]), likelihood)
    assert choose([half, near]) == ("half", 1.0)
    assert choose([half, far]) == ("full", 1.0)
    worse = Curve("full", noise, np.full((2, 1), 0.9), np.array([1.0, 1.0]), likelihood)
    assert choose([half, worse]) == ("half", 1.0)


def test_an_array_of_noises_is_one_for_each_group():
    rng = np.random.default_rng(0)
    h, v = torch.from_numpy(rng.normal(size=(2, 30, 1, 4))), torch.from_numpy(rng.normal(size=(30, 1, 2)))
    made = gather([RowBlock(slice(0, 30), h, v)], False, True)
    metric, noise, frontier = settle(made, "none", torch.tensor([0.1, 2.0], dtype=torch.float64), False)
    assert (metric, noise.tolist(), frontier) == ("none", [0.1, 2.0], ())


def test_an_image_is_left_out_with_all_its_places():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, X = (
            nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Conv2d(2, 3, 2)).eval(),
            torch.randn(12, 1, 4, 4),
        )
    d = gp.distill(Probe(net, "2"), X, noise=0.05)
    made = d.leave_one_out()
    h = torch.cat([b.features for b in d.rows.blocks()], 1)[0].numpy()  # (M, P, D)
    v = d.targets
    rotation = d.posterior.basis.rotation[0].numpy()
    for out in range(12):
        keep = np.delete(np.arange(12), out)
        rest, target = h[keep].reshape(-1, h.shape[-1]), v[keep].reshape(-1, v.shape[-1])
        z = (rest - rest.mean(0)) @ rotation
        weights = np.linalg.solve(z.T @ z + 0.05 * np.eye(z.shape[1]), z.T @ (target - target.mean(0)))
        slow = target.mean(0) + (h[out] - rest.mean(0)) @ rotation @ weights
        assert np.abs(made[out] - slow).max() < 1e-8
    amplitude = d.amplitude.reshape(d.heads.shape)
    assert np.allclose(amplitude, amplitude[:, :1, :1])
    assert d.weights.shape == (h.shape[-1], 3)


def test_contributions_by_place_and_neighbors_with_places_equal_brute_force():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, X = (
            nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Conv2d(2, 3, 2)).eval(),
            torch.randn(12, 1, 4, 4),
        )
    d = gp.distill(Probe(net, "2"), X, noise=0.05)
    u, alpha = d.features, d.alpha
    query, head = X[:5] + 0.1, (1, 0, 1)
    z = d.posterior.basis(next(d.run(query)).features)[0, :, 1].numpy()
    kernel = np.einsum("ne,mpe->nmp", z, u)
    slow = kernel * alpha[None, :, :, 1]
    assert np.allclose(d.contributions(query, head=head, by="place"), slow)
    assert np.allclose(d.contributions(query, head=head), slow.sum(2))
    similarity = kernel / np.linalg.norm(z, axis=1)[:, None, None] / np.linalg.norm(u, axis=2)
    for by, score in {"similarity": similarity.max(2), "contribution": np.abs(slow.sum(2))}.items():
        found = d.neighbors(query, k=4, head=head, by=by)
        order = np.argsort(-score, axis=1)[:, :4]
        assert np.array_equal(found.index, order)
        assert np.allclose(found.similarity, np.take_along_axis(similarity.max(2), order, 1))
        best = np.take_along_axis(similarity.argmax(2), order, 1)
        assert np.array_equal(found.place, np.stack(np.unravel_index(best, (2, 2)), -1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_on_the_gpu_gives_what_it_gives_on_the_cpu(digits):
    import copy

    here = gp.distill(Probe(digits.net, "fc2"), digits.X, noise=0.5)
    there = gp.distill(Probe(copy.deepcopy(digits.net).cuda(), "fc2"), digits.X, noise=0.5)
    assert there.posterior.weights.is_cuda
    assert np.abs(here.predict(digits.X_test).mean - there.predict(digits.X_test).mean).max() < 1e-6
    a, b = here.neighbors(digits.X_test[:50], 5), there.neighbors(digits.X_test[:50], 5)
    assert (a.index == b.index).mean() > 0.99


def test_more_directions_than_rows_leave_something_to_judge_a_small_noise_by():
    rng = np.random.default_rng(0)
    U = rng.normal(size=(30, 50))
    V = np.tanh(U @ rng.normal(size=(50, 1)) / 4)
    made = gather(
        [RowBlock(slice(0, 30), torch.from_numpy(U)[None, :, None], torch.from_numpy(V)[:, None])], True, True
    )
    noises = np.array([1e-10, 1e-8, 1e-4])
    found = curve(made.sums.centred(), "raw", made.sample, noises).r2[:, 0]
    with mpmath.workdps(50):  # centred there: rounding of the centre would be seen through the noise
        h, v = mpmath.matrix(U.tolist()), mpmath.matrix(V.tolist())
        middle = mpmath.eye(30) - mpmath.ones(30) / 30
        K, v = middle * h * h.T * middle, middle * v
        K = K / (sum(K[i, i] for i in range(30)) / 30)
        for noise, r2 in zip(noises, found, strict=True):
            inverse = mpmath.inverse(K + mpmath.mpf(float(noise)) * mpmath.eye(30))
            left = noise * sum(inverse[i, i] for i in range(30)) / 30 - mpmath.mpf(1) / 30
            residual = noise * (inverse * v)
            expected = 1 - sum(r**2 for r in residual) / 30 / left**2 / (sum(x**2 for x in v) / 30)
            assert r2 == pytest.approx(float(expected), rel=1e-5)
