"""Every form of data and model that the probe takes, the distillation takes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import gp
from interpret.errors import BadInput, NameMismatch, UsageError, WidthMismatch
from interpret.probe import Probe


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def test_frames_tensors_and_loaders_give_the_same(net, X):
    expected = gp.distill(net, X, noise=0.1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(X)), batch_size=7)
    frame = pd.DataFrame(X, columns=list("abcd"))
    for form in (torch.from_numpy(X), loader, frame):
        d = gp.distill(net, form, noise=0.1)
        assert np.allclose(d.predict(form).mean, expected.predict(X).mean, atol=1e-12)
        assert np.array_equal(d.neighbors(X[:5], 4).index, expected.neighbors(X[:5], 4).index)
    c = gp.distill(net, frame, noise=0.1).contributions(frame.iloc[3], head=1)
    assert np.allclose(c, expected.contributions(X[3], head=1), atol=1e-9)


def test_batches_of_any_size_give_the_same(net, X):
    whole = gp.distill(net, X, noise=0.1)
    small = gp.distill(Probe(net, "", batch_size=9), X, noise=0.1)
    assert np.allclose(small.predict(X).variance, whole.predict(X).variance, rtol=1e-9)


def test_several_inputs(X):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(12, 3)

        def forward(self, x, scale):
            return self.b(torch.cat([torch.tanh(self.a(x)), torch.tanh(self.a(x) * scale)], 1))

    net, data = Two().eval(), (X, X[:, :1])
    d = gp.distill(net, data, noise=1e-6)
    assert np.abs(d.predict(data).mean - net(*map(torch.from_numpy, data)).detach().numpy()).max() < 1e-4
    one = (X[3:4], X[3:4, :1])
    total = d.baseline[2] + d.contributions(one, head=2).sum()
    assert total == pytest.approx(d.predict(data).latent[3, 2], abs=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_precision(net, X, dtype):
    net = net.to(dtype)
    d = gp.distill(net, X, noise=1e-4)
    true = net.double()(torch.from_numpy(X).double()).detach().numpy()
    assert np.abs(d.predict(X).mean - true).max() < 0.02


def test_a_model_that_fixes_its_own_precision_is_run_in_it(X):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(torch.tanh(self.a(x.float())))

    d = gp.distill(Fixed().eval(), X, noise=0.1)
    assert d.fidelity(X).pearson.min() > 0.999


def test_where_no_affine_layer_ends_the_submodule_the_learned_kernel_takes_over(X):
    class Elementwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.linspace(0.5, 2, 4))

        def forward(self, x):
            return torch.sin(x * self.w).sum(1, keepdim=True)

    d = gp.distill(
        Elementwise(), X, steps=20
    )  # what the learned kernel takes, the activation kernel would refuse
    assert d.kernel == "learned"
    assert "activation kernel does not apply" in d.notes[0]


def test_bad_questions_are_named(net, X):
    with pytest.raises(UsageError, match="no kernel 'rbf'; there are 'activation'"):
        gp.distill(net, X, kernel="rbf")
    with pytest.raises(UsageError, match="one-shot iterator"):
        gp.distill(net, iter([X]))
    with pytest.raises(UsageError, match="takes no dim"):
        gp.distill(net, X, dim=3)
    X[3, 1] = np.nan
    with pytest.raises(BadInput, match="row 3"):
        gp.distill(net, X)


def test_columns_of_a_table_are_told_by_name(net, X, tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd"))
    turned = frame[list("dbca")]
    made = gp.distill(net, frame, noise=0.1)
    made.save(tmp_path / "d")
    for d in (made, gp.load(tmp_path / "d", model=net), gp.fit_features(frame, X[:, 0], noise=0.1)):
        assert np.array_equal(d.predict(turned).mean, d.predict(frame).mean)
        one, other = frame.iloc[3], turned.iloc[3]
        assert np.array_equal(d.contributions(other), d.contributions(one))
        with pytest.raises(NameMismatch, match="not those of the training table"):
            d.predict(frame.rename(columns={"c": "e"}))
        assert np.array_equal(d.predict(X).mean, d.predict(frame).mean)
    assert np.array_equal(made.mean_gradients(turned, head=1), made.mean_gradients(frame, head=1))
    assert np.isfinite(made.fidelity(turned).r2).all()


@pytest.mark.parametrize("batched", [False, True])
def test_a_shuffling_loader_is_refused(net, X, batched):
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X))
    loader = torch.utils.data.DataLoader(rows, 20, shuffle=True)
    if batched:
        loader = torch.utils.data.DataLoader(rows, batch_sampler=loader.batch_sampler)
    with pytest.raises(UsageError, match="shuffle=False"):
        gp.distill(net, loader)


@pytest.mark.parametrize("asked", ["predict", "contributions", "neighbors", "novelty"])
@pytest.mark.parametrize(
    ("queries", "error", "text"),
    [
        (np.zeros((2, 7)), WidthMismatch, "have 8 features; got 7"),
        (np.zeros((5, 1)), WidthMismatch, "have 8 features; got 1"),
        (np.zeros((2, 3, 8)), BadInput, r"shape \[2, 3, 8\]"),
        (np.zeros(()), BadInput, r"shape \[\]"),
        (np.full((3, 8), np.nan), BadInput, "not finite, first in row 0"),
        ([[1.0, 2.0], [3.0]], BadInput, "different lengths"),
    ],
)
def test_queries_that_are_no_features_are_refused_by_name(asked, queries, error, text):
    rng = np.random.default_rng(0)
    d = gp.fit_features(rng.normal(size=(50, 8)), rng.normal(size=(50, 2)), noise=1.0)
    with pytest.raises(error, match=text):
        getattr(d, asked)(queries)


class Coupled(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        y = self.net(x)
        return y - y.mean(0)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_rows_that_influence_each_other_are_said(net, X):
    with pytest.warns(UserWarning, match="rows of a batch influence each other"):
        d = gp.distill(Coupled(net).eval(), X)
    assert "influence each other" in d.notes[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`torch.jit")
        assert gp.distill(net, X).notes == ()
        assert gp.distill(nn.Sequential(net, nn.BatchNorm1d(2), nn.Dropout()).eval(), X).notes == ()


def test_fidelity_to_outputs_that_are_not_known_is_not_a_number():
    rng = np.random.default_rng(0)
    U = rng.normal(size=(50, 8))
    figures = gp.fit_features(U, rng.normal(size=(50, 2)), noise=1.0).fidelity(U)
    assert figures[["pearson", "r2", "mae", "coverage95", "loglik"]].isna().all().all()
    assert np.isnan(figures.attrs["agreement"])
    assert (figures["cancellation"] > 0).all()
