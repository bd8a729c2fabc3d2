"""The figures that the activation kernel must reach on a digits classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gp
from interpret.probe import Probe


@pytest.fixture(scope="module")
def distilled(digits):
    return gp.distill(Probe(digits.net, "fc2"), digits.X)


def mixtures(X):
    rng = np.random.default_rng(0)
    share = rng.uniform(-1, 2, (len(X), 1, 1, 1)).astype(np.float32)
    return share * X + (1 - share) * X[rng.permutation(len(X))]


def noise(X):
    return np.random.default_rng(0).uniform(0, 1, X.shape).astype(np.float32)


def perturbed(digits):
    x = torch.from_numpy(digits.X_test).requires_grad_()
    loss = torch.nn.functional.cross_entropy(digits.net(x), torch.from_numpy(digits.y_test))
    (gradient,) = torch.autograd.grad(loss, x)
    return (x.detach() + 0.15 * gradient.sign()).numpy()


def test_fidelity_holds_far_from_the_data(digits, distilled):
    inputs = {
        "test": digits.X_test,
        "mixtures": mixtures(digits.X_test),
        "noise": noise(digits.X_test),
        "perturbed": perturbed(digits),
    }
    for name, X in inputs.items():
        figures = distilled.fidelity(X)
        assert list(figures.columns) == ["pearson", "r2", "mae", "coverage95", "loglik", "cancellation"]
        assert len(figures) == 10
        assert figures.pearson.min() >= 0.9999, name
        assert figures.r2.min() >= 0.9995, name
        assert figures.attrs["agreement"] >= 0.99
    assert distilled.fidelity(digits.X_test).attrs["cancellation_at_largest_head"] <= 1.5


def agreement(digits, d, by):
    predicted = d.predict(digits.X_test).mean.argmax(1)
    shares = []
    for head in range(10):
        rows = np.flatnonzero(predicted == head)
        found = d.neighbors(digits.X_test[rows], k=10, head=head, by=by)
        shares.append((digits.y[found.index] == head).mean(1))
    return np.concatenate(shares).mean()


def test_neighbors_and_contributors_are_of_the_predicted_class(digits, distilled):
    assert agreement(digits, distilled, "similarity") >= 0.95
    assert agreement(digits, distilled, "contribution") >= 0.93


def test_contributions_of_single_queries_add_up_to_the_batch_prediction(digits, distilled):
    latent = distilled.predict(digits.X_test).latent
    for row, head in ((0, 0), (5, 3), (200, 9)):
        c = distilled.contributions(digits.X_test[row], head=head)
        assert c.shape == (1437,)
        gap = distilled.baseline[head] + c.sum() - latent[row, head]
        assert abs(gap) <= 1e-8 * max(1, abs(latent[row, head]))


def test_intervals_cover_held_out_outputs(digits, distilled):
    figures = distilled.fidelity(digits.X_test)
    assert 0.92 <= figures.coverage95.mean() <= 0.98
    prediction, true = (
        distilled.predict(digits.X_test),
        digits.net(torch.from_numpy(digits.X_test)).detach().numpy(),
    )
    for level in (0.5, 0.8, 0.95):
        low, high = prediction.interval(level)
        covered = ((low <= true) & (true <= high)).mean()
        assert abs(covered - level) < 0.06, level


def test_novelty_separates_what_is_no_digit(digits, distilled):
    from sklearn.metrics import roc_auc_score

    X = digits.X_test
    h = torch.cat([b.features for b in distilled.rows.blocks()], 1)[0, :, 0].numpy()
    mean, precision = h.mean(0), np.linalg.inv(np.cov(h.T) + 1e-6 * np.trace(np.cov(h.T)) / 64 * np.eye(64))

    def gaussian(X):
        q = torch.cat([b.features for b in distilled.run(X)], 1)[0, :, 0].numpy() - mean
        return np.einsum("nd,de,ne->n", q, precision, q)

    rng = np.random.default_rng(0)
    others = {
        "shuffled": (rng.permuted(X.reshape(len(X), -1), axis=1).reshape(X.shape), 0.95),
        "noise": (noise(X), 0.95),
        "rotated": (np.ascontiguousarray(np.rot90(X, axes=(2, 3))), 0.9),
    }
    label = np.repeat([0, 1], len(X))
    inside = distilled.novelty(X)
    assert 0.3 < np.median(inside) < 3
    for name, (other, least) in others.items():
        ours = roc_auc_score(label, np.concatenate([inside, distilled.novelty(other)]))
        theirs = roc_auc_score(label, np.concatenate([gaussian(X), gaussian(other)]))
        assert ours >= least, name
        assert ours >= theirs - 0.005, name


def test_prototypes_stand_for_a_digit(digits, distilled):
    found = distilled.prototypes(20, head=3)
    assert found.r2[-1] > 0.999
    assert (digits.y[found.index[found.sign > 0]] == 3).sum() >= 3
    assert digits.y[found.index[0]] == 3


def test_without_equals_distilling_the_rest(digits, distilled):
    keep = np.arange(20, 1437)
    a = distilled.without(np.arange(20)).predict(digits.X_test)
    b = gp.distill(Probe(digits.net, "fc2"), digits.X[keep], noise=distilled.noise).predict(digits.X_test)
    assert np.abs(a.mean - b.mean).max() <= 1e-8 * np.abs(b.mean).max()
    assert np.allclose(a.variance, b.variance, rtol=1e-7)


def test_the_mean_has_the_networks_gradient(digits, distilled):
    X = digits.X_test[:20]
    made, true = distilled.mean_gradients(X, head=4), Probe(digits.net, "fc2[4]").gradients(X).numpy()
    assert made.shape == true.shape
    cosine = (made * true).sum((1, 2, 3)) / np.linalg.norm(made.reshape(20, -1), axis=1)
    cosine /= np.linalg.norm(true.reshape(20, -1), axis=1)
    assert cosine.min() > 0.999


def test_same_call_same_bytes(digits, distilled):
    again = gp.distill(Probe(digits.net, "fc2"), digits.X)
    assert again.weights.tobytes() == distilled.weights.tobytes()
    assert (
        again.predict(digits.X_test).variance.tobytes() == distilled.predict(digits.X_test).variance.tobytes()
    )


def test_training_on_does_not_change_what_was_distilled(digits, distilled):
    before = distilled.predict(digits.X_test[:5]).mean
    bias = digits.net.fc1.bias
    with torch.no_grad():
        bias.add_(1)
        after = distilled.predict(digits.X_test[:5]).mean
        bias.sub_(1)
    assert np.array_equal(before, after)
