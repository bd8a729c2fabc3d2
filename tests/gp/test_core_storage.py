"""Saving and loading: same answers, no inputs inside, another model refused, damage named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import gp
from interpret.errors import LoadError, ModelNeeded, RowsNotStored
from interpret.probe import Probe


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)


def test_loaded_with_the_model_it_says_the_same(tmp_path, net, X):
    d = gp.distill(Probe(net, "2[1]"), X, noise=0.1)
    d.save(tmp_path / "unit.gp")
    e = gp.load(tmp_path / "unit.gp", net)
    for name in ("mean", "variance", "latent"):
        assert np.allclose(getattr(e.predict(X), name), getattr(d.predict(X), name), rtol=1e-12, atol=1e-12)
    assert np.allclose(e.predict(X).interval(0.7)[0], d.predict(X).interval(0.7)[0], atol=1e-12)
    assert np.allclose(e.alpha, d.alpha, atol=1e-10)
    assert np.allclose(e.contributions(X[3]), d.contributions(X[3]), atol=1e-9)
    assert np.array_equal(e.neighbors(X, 5).index, d.neighbors(X, 5).index)
    assert np.allclose(e.without([1, 2]).predict(X).mean, d.without([1, 2]).predict(X).mean, atol=1e-9)
    assert e.fidelity(X).equals(d.fidelity(X)) or np.allclose(e.fidelity(X), d.fidelity(X), rtol=1e-9)
    assert (e.notes, e.noise, e.metric) == (d.notes, d.noise, d.metric)


def test_loaded_without_the_model_features_do(tmp_path, net, X):
    d = gp.distill(net, X, noise=0.1)
    d.save(tmp_path / "all.gp")
    e = gp.load(tmp_path / "all.gp")
    H = torch.tanh(net[0](torch.from_numpy(X))).detach().numpy()
    assert np.allclose(e.predict_features(H).mean, d.predict(X).mean, atol=1e-5)
    assert np.array_equal(e.neighbors(H[:4], 3).index, d.neighbors(X[:4], 3).index)
    assert np.allclose(e.contributions(H[0], head=2), d.contributions(X[0], head=2), atol=1e-5)
    for ask in (e.predict, e.novelty, e.fidelity):
        with pytest.raises(ModelNeeded, match="model"):
            ask(X)


def test_a_known_tail_needs_no_model(tmp_path, X):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(-1)).eval()
        odd = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softsign(), nn.Tanh()).eval()
    H = torch.tanh(net[0](torch.from_numpy(X))).detach().numpy()
    d = gp.distill(net, X)
    d.save(tmp_path / "soft.gp")
    assert np.allclose(gp.load(tmp_path / "soft.gp").predict_features(H).mean, d.predict(X).mean, atol=1e-5)
    d = gp.distill(odd, X)
    d.save(tmp_path / "odd.gp")
    with pytest.raises(ModelNeeded, match="tail"):
        gp.load(tmp_path / "odd.gp").predict_features(H)
    assert np.allclose(gp.load(tmp_path / "odd.gp", odd).predict(X).mean, d.predict(X).mean, atol=1e-12)


def test_rows_may_be_left_out(tmp_path, net, X):
    d = gp.distill(net, X)
    d.save(tmp_path / "small.gp", rows=False)
    e = gp.load(tmp_path / "small.gp", net)
    assert np.allclose(e.predict(X).mean, d.predict(X).mean, rtol=1e-13)
    for ask in (
        lambda: e.neighbors(X),
        lambda: e.contributions(X[0]),
        lambda: e.alpha,
        lambda: e.without([0]),
    ):
        with pytest.raises(RowsNotStored, match="rows=False"):
            ask()
    assert not {"U", "alpha"} & load_file(tmp_path / "small.gp").keys()


def test_features_from_arrays_come_back(tmp_path, features):
    d = gp.fit_features(*features, metric="none", center=False, noise=0.3)
    d.save(tmp_path / "f.gp")
    e = gp.load(tmp_path / "f.gp")
    assert np.allclose(e.predict(features[0]).mean, d.predict(features[0]).mean, atol=1e-12)
    assert np.allclose(e.features, d.features, atol=1e-12)


def test_places_come_back(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, X = (
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2)).eval(),
            torch.randn(30, 1, 6, 6),
        )
    for address in ("2", "2[1]", "2[1,0,2]"):
        d = gp.distill(Probe(net, address), X)
        d.save(tmp_path / "conv.gp")
        e = gp.load(tmp_path / "conv.gp", net)
        assert np.allclose(e.predict(X).mean, d.predict(X).mean, atol=1e-12)
        assert np.array_equal(e.neighbors(X[:3], 3).index, d.neighbors(X[:3], 3).index)


def test_no_input_is_in_the_file(tmp_path, net, X):
    X = X * 1000 + 7
    gp.distill(Probe(net, "2"), X).save(tmp_path / "all.gp")
    arrays = load_file(tmp_path / "all.gp")
    for name, array in arrays.items():
        assert tuple(array.shape) != X.shape, name
    content = (tmp_path / "all.gp").read_bytes()
    assert X[:1].tobytes() not in content
    assert X[:1].astype(np.float64).tobytes() not in content


def test_what_does_not_fit_is_refused(tmp_path, net, X):
    path = tmp_path / "all.gp"
    gp.distill(net, X).save(path)
    other = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    with pytest.raises(LoadError, match="another model"):
        gp.load(path, other)
    with pytest.raises(LoadError, match="cannot be read"):
        gp.load(tmp_path / "none.gp")
    (tmp_path / "text.gp").write_text("no tensors")
    with pytest.raises(LoadError, match="cannot be read"):
        gp.load(tmp_path / "text.gp")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.gp")
    with pytest.raises(LoadError, match="no saved distillation"):
        gp.load(tmp_path / "foreign.gp")


def rewritten(path, change_header=lambda h: None, change_arrays=lambda a: None):
    with safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()["twinscope-gp"])
    arrays = load_file(path)
    change_header(header)
    change_arrays(arrays)
    save_file(arrays, path, metadata={"twinscope-gp": json.dumps(header)})


def test_damage_and_versions_are_named(tmp_path, net, X):
    path = tmp_path / "all.gp"
    d = gp.distill(net, X)
    d.save(path)
    rewritten(path, change_header=lambda h: h.update(format=99))
    with pytest.raises(LoadError, match="format 99, this version reads 1"):
        gp.load(path)
    d.save(path)
    rewritten(path, change_arrays=lambda a: a.update({"posterior.root": torch.zeros(1, 2, 2)}))
    with pytest.raises(LoadError, match="root has shape"):
        gp.load(path)
    d.save(path)
    rewritten(path, change_arrays=lambda a: a.pop("basis.rotation"))
    with pytest.raises(LoadError, match="damaged"):
        gp.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, net, X):
    path = tmp_path / "all.gp"
    d = gp.distill(net, X)
    d.save(path)
    before = path.read_bytes()
    gone = gp.fit_features(iter([(X, X[:, :2])]))
    with pytest.raises(RowsNotStored):
        gone.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["all.gp"]


def test_places_of_a_pooled_head_are_not_in_a_file_and_that_is_said(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)).eval()
    X = np.random.default_rng(0).random((30, 1, 6, 6))
    d = gp.distill(Probe(net, "2[1]"), X)
    assert d.contributions(X[0], by="place").shape == (30, 4)
    d.save(tmp_path / "d")
    loaded, alone = gp.load(tmp_path / "d", model=net), gp.load(tmp_path / "d")
    np.testing.assert_allclose(loaded.contributions(X[0]), d.contributions(X[0]), rtol=1e-6, atol=1e-12)
    (block,) = d.map.blocks(X[:1])
    for other, query in ((loaded, X[0]), (alone, block.features[0, 0, 0].numpy())):
        with pytest.raises(RowsNotStored, match="mean over places"):
            other.contributions(query, by="place")
