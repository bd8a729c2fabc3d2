"""Every kernel where the model is: on the CPU always, on a GPU where there is one; and TF32 off inside."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp.influence import influence
from gp.site import exact_products
from interpret.probe import Probe

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, CUDA])]
KERNELS = [
    ("activation", "", {}),
    ("activation", "0", {}),
    ("learned", "", {"steps": 30, "dim": 6}),
    ("learned", "0", {"steps": 30, "dim": 6}),
    ("tangent", "", {"dimension": 32}),
]


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 12), nn.ReLU(), nn.Linear(12, 3)
        ).eval()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kernel", "place", "options"), KERNELS)
def test_everything_works_where_the_model_is(net, digits, tmp_path, device, kernel, place, options):
    model, X = copy.deepcopy(net).to(device), digits.X[:80]
    d = gp.distill(Probe(model, place), X, kernel=kernel, **options)
    assert d.posterior.weights.device.type == device
    p, figures = d.predict(X[:20]), d.fidelity(X)
    assert np.isfinite(p.mean).all() and (p.variance >= 0).all() and np.isfinite(p.interval()[0]).all()
    assert np.nanmedian(figures["pearson"]) > 0.8
    c = d.contributions(X[:4])
    latent = p.latent.reshape(20, -1)[:4, d.heads.primary]
    np.testing.assert_allclose(c.sum(1) + d.baseline.reshape(-1)[d.heads.primary], latent, rtol=1e-6)
    for by in ("similarity", "contribution", "positive", "negative", "alike"):
        assert d.neighbors(X[:4], k=3, by=by).index.shape[0] == 4
    assert len(d.prototypes(3).index) and np.isfinite(d.leave_one_out()).all()
    assert d.without([1, 2]).examples == 78 and np.isfinite(d.novelty(X[:4])).all()
    assert d.suspects(digits.y[:80]).shape == (80, 4)
    assert np.isfinite(influence(d, X[:4], np.ones(80))).all()
    if kernel == "activation":
        assert d.mean_gradients(X[:4]).shape == (4, 1, 8, 8)
    d.save(tmp_path / "d.safetensors")
    again = gp.load(tmp_path / "d.safetensors", model=model)
    np.testing.assert_allclose(again.predict(X[:20]).mean, p.mean, rtol=1e-6, atol=1e-8)
    assert again.neighbors(X[:4], k=3).index.shape == (4, 3)


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize(("kernel", "place", "options"), KERNELS)
def test_a_gpu_says_what_the_cpu_says(net, digits, kernel, place, options):
    X = digits.X[:80]
    here = gp.distill(Probe(net, place), X, kernel=kernel, **options)
    there = gp.distill(Probe(copy.deepcopy(net).cuda(), place), X, kernel=kernel, **options)
    tolerance = 0.05 if kernel == "learned" else 1e-4  # training takes another path on another machine
    assert (
        np.abs(here.predict(X).mean - there.predict(X).mean).max()
        <= tolerance * np.abs(here.predict(X).mean).max()
    )


@pytest.mark.parametrize("device", DEVICES)
def test_a_network_is_fine_tuned_where_it_is(net, digits, device):
    model = copy.deepcopy(net).to(device)
    made = gp.regularize(model, gp.distill(model, digits.X[:80]), steps=3)
    assert next(made.model.parameters()).device.type == device and len(made.trace) == 3


def settings():
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return [cuda.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision]


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="an older torch")
def test_tf32_is_off_inside_and_back_after_whichever_switch_was_used():
    def flags(on):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on

    def new(word):
        torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = word

    cases = [(flags, True), (flags, False), (new, "tf32"), (flags, True)]
    found = settings()
    try:
        for change, value in cases:
            change(value)
            before = settings()
            with exact_products():
                assert "tf32" not in settings()
            assert settings() == before
    finally:
        for place, word in zip(
            (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn),
            found,
            strict=True,
        ):
            place.fp32_precision = word
