"""Every form of data and model that the probe takes, the distillation takes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import gp
from interpret.errors import BadInput, UsageError
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
