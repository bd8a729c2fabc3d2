"""gp.distill(kernel="learned") from end to end: what it promises on digits, and modules that are not classifiers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp import learned
from gp.kernels import FeatureMap, Options
from interpret.errors import DeadUnit, UsageError
from interpret.probe import Probe

QUICK = {"steps": 100, "dim": 10}


def mlp(*widths, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).eval()


def rows(n=150, width=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


@pytest.fixture(scope="module")
def explained(digits):
    return gp.distill(digits.net, digits.X, kernel="learned")


class TestDigits:
    def test_the_explaining_form_matches_and_explains(self, digits, explained):
        fidelity = explained.fidelity(digits.X_test)
        assert fidelity["pearson"].mean() >= 0.9985
        assert fidelity.attrs["agreement"] >= 0.99
        assert 0.92 <= fidelity["coverage95"].mean() <= 0.98
        predicted = np.argmax(explained.predict(digits.X_test).mean, axis=1)
        ratios, classes = [], []
        for head in range(10):
            at = np.flatnonzero(predicted == head)
            c = explained.contributions(digits.X_test[at], head=head)
            ratios.extend(np.abs(c).sum(1) / np.abs(c.sum(1)))
            near = explained.neighbors(digits.X_test[at], k=10, head=head).index
            classes.extend((digits.y[near] == digits.y_test[at, None]).mean(1))
        assert np.median(ratios) <= 5
        assert np.mean(classes) >= 0.93

    def test_the_published_objective_alone_matches_more_closely_and_cancels(self, digits, explained):
        matched = gp.distill(digits.net, digits.X, kernel="learned", form="match", steps=250)
        assert matched.fidelity(digits.X_test)["pearson"].mean() >= 0.9985
        assert (
            matched.fidelity(digits.X_test)["cancellation"].mean()
            > 20 * explained.fidelity(digits.X_test)["cancellation"].mean()
        )
        assert "contributions cancel" in matched.notes[-1]

    def test_every_head_has_unit_features_of_its_own(self, digits, explained):
        features = explained.features
        assert features.shape == (10, len(digits.X), 20)
        np.testing.assert_allclose(np.linalg.norm(features, axis=2), 1, atol=1e-9)
        assert isinstance(explained.map, FeatureMap)
        assert np.abs(features[0] - features[1]).max() > 0.05

    def test_contributions_add_up(self, digits, explained):
        c = explained.contributions(digits.X_test[:5], head=3)
        latent = explained.predict(digits.X_test[:5]).latent[:, 3]
        np.testing.assert_allclose(c.sum(1), latent - explained.baseline[3], rtol=1e-8)

    def test_the_map_comes_back_from_its_state(self, digits, explained):
        config, arrays = explained.map.state()
        again = learned.restore(Probe(digits.net), config, arrays)
        one, two = (next(iter(m.blocks(digits.X_test[:50]))) for m in (explained.map, again))
        assert torch.equal(one.features, two.features) and again.trace == explained.map.trace
        assert learned.restore(None, config, arrays) is None


@pytest.mark.parametrize(("kernel", "options"), [("learned", QUICK), ("tangent", {"dimension": 16})])
def test_saved_with_its_place_in_the_model(kernel, options, tmp_path):
    net = mlp(4, 6, 2)
    d = gp.distill(Probe(net, "0[3]", batch_size=40), rows(), kernel=kernel, **options)
    d.save(tmp_path / "d.safetensors")
    again = gp.load(tmp_path / "d.safetensors", model=net)
    np.testing.assert_allclose(again.predict(rows(9)).mean, d.predict(rows(9)).mean, rtol=1e-9)
    assert again.predict(rows(9)).mean.shape == (9,)
    assert np.array_equal(again.neighbors(rows(3), k=4).index, d.neighbors(rows(3), k=4).index)


class TestOtherModules:
    def test_an_output_behind_a_softmax_is_matched_itself(self):
        net = nn.Sequential(mlp(4, 16, 3), nn.Softmax(dim=1)).eval()
        d = gp.distill(net, rows(300), kernel="learned", **QUICK)
        assert d.linear and d.fidelity(rows(100, seed=1))["pearson"].min() > 0.9

    def test_no_affine_layer_at_the_end(self):
        class Bilinear(nn.Module):
            def forward(self, x):
                return x[:, :2] * x[:, 2:]

        d = gp.distill(Bilinear(), rows(300), kernel="learned", **QUICK)
        assert any("looks at the model's input itself" in note for note in d.notes)
        assert d.fidelity(rows(100, seed=1))["pearson"].min() > 0.9

    def test_a_path_round_the_last_layer(self):
        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = mlp(4, 8, 4)

            def forward(self, x):
                return x + self.inner(x)

        d = gp.distill(Residual(), rows(200), kernel="learned", **QUICK)
        assert any("A path goes round" in note for note in d.notes)
        assert d.fidelity(rows(100, seed=1))["pearson"].min() > 0.95

    def test_one_unit_is_one_head_and_a_layer_all_of_them(self):
        net = mlp(4, 6, 2)
        unit = gp.distill(Probe(net, "0[3]"), rows(), kernel="learned", **QUICK)
        layer = gp.distill(Probe(net, "0"), rows(), kernel="learned", **QUICK)
        assert unit.predict(rows(7)).mean.shape == (7,) and layer.predict(rows(7)).mean.shape == (7, 6)

    def test_constant_heads_are_left_alone_and_said(self):
        net = mlp(4, 8, 3)
        with torch.no_grad():
            net[-1].weight[1] = 0
        d = gp.distill(net, rows(200), kernel="learned", **QUICK)
        pearson = d.map.pearson
        assert np.isnan(pearson[1]) and (pearson[[0, 2]] > 0.95).all()
        assert np.abs(d.predict(rows(9, seed=2)).mean[:, 1] - net[-1].bias[1].item()).max() < 1e-9
        with torch.no_grad():
            net[-1].weight.zero_()
        with pytest.raises(DeadUnit, match="constant over the 160 examples to train on"):
            learned.build(Probe(net), rows(200), Options())

    def test_token_ids_cannot_be_mixed_and_it_says_so(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(18, 2)).eval()
        ids = np.random.default_rng(0).integers(0, 20, (200, 3))
        d = gp.distill(net, ids, kernel="learned", **QUICK)
        assert any("integers, which cannot be mixed" in note for note in d.notes)
        assert d.fidelity(ids)["pearson"].min() > 0.95

    def test_longer_data_is_thinned_for_training_only(self, monkeypatch):
        from gp import mixtures

        monkeypatch.setattr(mixtures, "MOST_ROWS", 100)
        d = gp.distill(mlp(4, 8, 2), rows(400), kernel="learned", **QUICK)
        assert any("every 4th example" in note for note in d.notes)
        assert d.examples == 400 and d.fidelity(rows(80, seed=3))["pearson"].min() > 0.95

    def test_wide_bodies_are_folded(self, monkeypatch):
        from gp import body

        monkeypatch.setattr(body, "WIDEST", 8)
        d = gp.distill(mlp(4, 40, 2), rows(300), kernel="learned", **QUICK)
        assert d.map.coords.centre.shape == (8,)
        assert d.fidelity(rows(80, seed=3))["pearson"].min() > 0.6

    def test_the_model_is_left_as_it_was(self):
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
        before = {k: v.clone() for k, v in net.state_dict().items()}
        gp.distill(net, rows(), kernel="learned", **QUICK)
        assert net.training and net[1].training and net[2].training
        assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
        assert all(p.grad is None and p.requires_grad for p in net.parameters())

    def test_the_number_of_threads_does_not_matter_and_comes_back(self):
        made = []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                made.append(learned.build(Probe(mlp(4, 32, 3)), rows(400), Options(0, dict(QUICK))))
                assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
        assert torch.equal(made[0].maps.weight, made[1].maps.weight)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize(("kernel", "options"), [("learned", QUICK), ("tangent", {"dimension": 16})])
    def test_on_a_gpu(self, kernel, options):
        d = gp.distill(mlp(4, 8, 2).cuda(), rows(200), kernel=kernel, **options)
        assert d.fidelity(rows(80, seed=3))["pearson"].min() > 0.95

    def test_unknown_options_are_refused(self):
        with pytest.raises(UsageError, match="takes no depth; it takes anchor, batch, dim, form"):
            gp.distill(mlp(4, 6, 2), rows(), kernel="learned", depth=3)
