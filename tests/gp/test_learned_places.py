"""The learned kernel where places share a layer: attention maps, convolutions, tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp import placed
from gp.kernels import FeatureMap
from interpret.errors import DeadUnit
from interpret.probe import Probe

QUICK = {"steps": 100, "dim": 12, "shares": (1 / 800,), "tolerance": 0.9}


class Attended(nn.Module):
    """Spatial attention over an 8 × 8 image: a softmax over positions of a score that every position computes alike."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.attention = nn.Sequential(
            nn.Conv2d(8, 6, 1), nn.Tanh(), nn.Conv2d(6, 1, 1), nn.Flatten(), nn.Softmax(-1)
        )

    def forward(self, x):
        return (self.body(x).flatten(2) * 3 * self.attention(self.body(x))[:, None]).sum(-1)


@pytest.fixture(scope="module")
def attended():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Attended().eval()
        for parameter in net.parameters():
            parameter.data *= 2
    return net


@pytest.fixture(scope="module")
def distilled(attended, digits):
    return gp.distill(
        Probe(attended, "attention"), digits.X[:400], kernel="learned", steps=150, shares=(1 / 3200,)
    )


def live_pearson(d, probe, X):
    truth, made = probe.values(X).numpy().reshape(len(X), -1), d.predict(X).mean.reshape(len(X), -1)
    live = truth.std(0) > 1e-4
    assert live.sum() > 40
    return [np.corrcoef(a, b)[0, 1] for a, b in zip(made.T[live], truth.T[live], strict=True)]


def test_an_attention_map_is_matched_position_by_position(attended, digits, distilled):
    found = live_pearson(distilled, Probe(attended, "attention"), digits.X_test)
    assert np.median(found) >= 0.99 and min(found) >= 0.9
    assert isinstance(distilled.map, FeatureMap)
    assert distilled.features.shape == (400, 64, 20)
    np.testing.assert_allclose(np.linalg.norm(distilled.features, axis=2), 1, atol=1e-9)
    assert any("shared by all places" in note for note in distilled.notes)


def test_a_neighbor_is_an_image_and_a_place_and_contributions_add_up(digits, distilled):
    found = distilled.neighbors(digits.X_test[:3], k=4, head=20)
    assert found.place.shape == (3, 4, 2) and found.place.max() < 8
    c = distilled.contributions(digits.X_test[:3], head=20, by="place")
    assert c.shape == (3, 400, 64)
    latent = distilled.predict(digits.X_test[:3]).latent.reshape(3, -1)[:, 20]
    np.testing.assert_allclose(c.sum((1, 2)), latent - distilled.baseline[20], rtol=1e-7, atol=1e-9)


def test_saved_and_loaded(attended, digits, distilled, tmp_path):
    distilled.save(tmp_path / "d.safetensors")
    again = gp.load(tmp_path / "d.safetensors", model=attended)
    assert isinstance(again.map, placed.PlacedMap)
    one, two = (d.predict(digits.X_test[:20]) for d in (distilled, again))
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-9)
    np.testing.assert_allclose(one.variance, two.variance, rtol=1e-7)


def test_a_pixel_of_a_convolution_and_the_tokens_of_a_sequence(digits):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 3)).eval()
        tokens = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 5)).eval()
    d = gp.distill(Probe(conv, "2[1,0,2]"), digits.X[:300], kernel="learned", **QUICK)
    assert d.places == () or len(d.heads) == 1
    assert d.fidelity(digits.X_test[:100])["pearson"].min() > 0.95
    d = gp.distill(Probe(tokens, ""), digits.X[:300, 0], kernel="learned", **QUICK)
    assert d.places == (8,) and d.predict(digits.X_test[:9, 0]).mean.shape == (9, 8, 5)
    assert d.map.groups == 5
    assert np.nanmedian(d.fidelity(digits.X_test[:100, 0])["pearson"]) > 0.98


def test_more_rows_than_training_holds_are_drawn_from(attended, digits, monkeypatch):
    monkeypatch.setattr(placed, "MOST_ROWS", 2000)
    d = gp.distill(Probe(attended, "attention"), digits.X[:100], kernel="learned", **QUICK)
    assert d.examples == 100 and d.passed.sums.count == 6400
    assert np.median(live_pearson(d, Probe(attended, "attention"), digits.X_test[:100])) > 0.95


def test_a_constant_score_is_a_dead_unit(attended, digits):
    import copy

    net = copy.deepcopy(attended)
    with torch.no_grad():
        net.attention[2].weight.zero_()
    with pytest.raises(DeadUnit, match="constant over the"):
        gp.distill(Probe(net, "attention"), digits.X[:50], kernel="learned", **QUICK)
