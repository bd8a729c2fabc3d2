"""Suspect labels: leave-one-out against refits, and wrong labels found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

import gp
from gp import suspects
from interpret.errors import BadInput, TooFewPoints


def blobs(n=120, classes=3, wrong=10, seed=0):
    """Clouds with their labels, some of them changed."""
    g = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = 4 * np.eye(classes, 4)
    u = centres[y] + g.normal(size=(n, 4)) * 0.8
    flipped = g.choice(n, wrong, replace=False)
    labels = y.copy()
    labels[flipped] = (labels[flipped] + 1) % classes
    return u, labels, y, flipped


def kernel_by_hand(u, sharpness=0.6):
    size = np.sqrt(((u - u.mean(0)) ** 2).sum(1).mean())
    return np.exp(-sharpness * np.linalg.norm(u[:, None] - u[None], axis=2) / size)


def test_leave_one_out_is_refitting_without_the_example():
    u, labels, _, _ = blobs(30)
    K, onehot = kernel_by_hand(u), np.eye(3)[labels]
    fit = suspects.leave_one_out(*suspects.spectrum(lambda: iter([torch.from_numpy(u)]), 0), labels, 3)
    for m in range(30):
        keep = np.arange(30) != m
        inner = K[np.ix_(keep, keep)]
        # A constant mean without a prior: the posterior mean with centred kernel and targets.
        centred = inner - inner.mean(0) - inner.mean(1)[:, None] + inner.mean()
        cross = K[m, keep] - K[m, keep].mean() - inner.mean(1) + inner.mean()
        target = onehot[keep] - onehot[keep].mean(0)
        mean = onehot[keep].mean(0) + cross @ np.linalg.solve(centred + 0.3 * np.eye(29), target)
        logits = fit.scale * mean
        expected = logits - np.log(np.exp(logits).sum())
        np.testing.assert_allclose(fit.log_probability[m].numpy(), expected, atol=1e-9)


def test_wrong_labels_come_first():
    u, labels, y, flipped = blobs()
    table = suspects.rank(u, labels)
    assert list(table.columns) == ["index", "label", "suggested", "score"]
    assert set(table["index"][:10]) == set(flipped)
    assert (table["suggested"][:10] == y[table["index"][:10]]).all()
    assert table["score"].is_monotonic_decreasing and sorted(table["index"]) == list(range(120))


def test_many_examples_use_random_features(monkeypatch):
    u, labels, _, flipped = blobs(300, wrong=20)
    exact = suspects.rank(u, labels).set_index("index")["score"]
    monkeypatch.setattr(suspects, "EXACT", 10)
    monkeypatch.setattr(suspects, "FEATURES", 512)
    table = suspects.rank(u, labels)
    again = suspects.rank(u, labels)
    pd.testing.assert_frame_equal(table, again)
    assert np.corrcoef(exact.sort_index(), table.set_index("index")["score"].sort_index())[0, 1] > 0.9
    wrong = np.isin(table["index"], flipped)
    assert roc_auc_score(wrong, table["score"]) > 0.99


def test_labels_of_any_kind_and_row_numbers():
    u, labels, _, flipped = blobs()
    names = np.array(["oak", "ash", "elm"])
    plain = suspects.rank(u, labels)
    named = suspects.rank(u, names[labels], index=np.arange(120) + 1000)
    assert set(named["index"][:10] - 1000) == set(flipped)
    assert list(names[plain["label"]]) == list(named["label"])


def test_scale_and_place_of_the_features_do_not_matter():
    u, labels, _, _ = blobs()
    pd.testing.assert_frame_equal(suspects.rank(u, labels), suspects.rank(1e3 * u + 5, labels), rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.zeros(119), BadInput, r"one for each of the 120 training examples; got shape \(119,\)"),
        (np.zeros((120, 2)), BadInput, r"got shape \(120, 2\)"),
        (np.zeros(120), BadInput, "all labels are the same"),
        (np.linspace(0, 1, 120), BadInput, "120 classes for 120 examples"),
        ([None, *np.zeros(119)], BadInput, "the label of example 0 is missing"),
    ],
)
def test_labels_that_cannot_be_used(labels, error, message):
    with pytest.raises(error, match=message):
        suspects.rank(blobs()[0], labels)


def test_too_few_examples_and_features_that_overflow():
    with pytest.raises(TooFewPoints, match="at least 3 examples, got 2"):
        suspects.rank(np.zeros((2, 3)), [0, 1])
    u, labels, _, _ = blobs()
    u[5, 1] = np.inf
    with pytest.raises(BadInput, match="not finite"):
        suspects.rank(u, labels)


def test_a_distillation_ranks_its_own_rows(digits):
    rows = np.arange(0, 600)
    labels = digits.y[rows].copy()
    flipped = np.random.default_rng(0).choice(600, 30, replace=False)
    labels[flipped] = (labels[flipped] + 3) % 10
    table = gp.distill(digits.net, digits.X[rows]).suspects(labels)
    assert roc_auc_score(np.isin(table["index"], flipped), table["score"]) > 0.99


def test_row_ids_survive_a_removal():
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    d = gp.distill(net, X).without([0, 7])
    labels = (X[:, 0] > 0).astype(int)[d.row_ids]
    assert set(d.suspects(labels)["index"]) == set(range(60)) - {0, 7}
