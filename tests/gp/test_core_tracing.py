"""The last affine layer is found however it is written; patches are what a convolution multiplies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import gp
from gp.patches import Convolution
from gp.site import Runner, find, sample
from interpret.errors import DeadUnit, IndexOutOfRange, NotTraceable
from interpret.probe import Probe


class Body(nn.Module):
    """(N, 6) to whatever ``last`` makes of (N, 8) tanh features."""

    def __init__(self, last):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Linear(6, 8)
        self.W = nn.Parameter(torch.randn(8, 4, generator=generator))
        self.b = nn.Parameter(torch.randn(4, generator=generator))
        with torch.no_grad():
            self.first.weight.copy_(torch.randn(8, 6, generator=generator))
            self.first.bias.copy_(torch.randn(8, generator=generator))
        self.last = last

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)), self.W, self.b)


WAYS = {
    "F.linear": lambda h, W, b: F.linear(h, W.T, b),
    "@": lambda h, W, b: h @ W + b,
    "rmatmul": lambda h, W, b: (W.T @ h.T).T + b,
    "mm": lambda h, W, b: torch.mm(h, W),
    "addmm": lambda h, W, b: torch.addmm(b, h, W),
    "einsum": lambda h, W, b: torch.einsum("nd,dc->nc", h, W) * 2 - 1,
    "matvec": lambda h, W, b: h @ W[:, 0],
    "conv1d": lambda h, W, b: F.conv1d(h[:, :, None], W.T[:, :, None], b)[:, :, 0],
    "keywords": lambda h, W, b: F.linear(input=h, weight=W.T, bias=b),
    "in-place after": lambda h, W, b: F.linear(h, W.T, b).mul_(3).add_(1),
    "scaled and reshaped": lambda h, W, b: (h @ W).reshape(-1, 2, 2) / 7,
    "loop of rows": lambda h, W, b: torch.stack([h @ W[:, i] for i in range(2)], 1).sum(1),
}


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(80, 6)).astype(np.float32), rng.normal(size=(30, 6)).astype(np.float32)


@pytest.mark.parametrize("way", [w for w in WAYS if w != "loop of rows"])
def test_linear_ends_are_folded_however_written(inputs, way):
    net = Body(WAYS[way]).eval()
    X, X_test = inputs
    d = gp.distill(net, X, noise=1e-8)
    assert d.kernel == "activation"
    assert d.linear
    made, true = d.predict(X_test), net(torch.from_numpy(X_test)).detach().numpy()
    assert made.mean.shape == true.shape
    assert np.abs(made.mean - true).max() <= 1e-5 * np.abs(true).max()
    head = len(d.heads) - 1
    c = d.contributions(X_test[4], head=head)
    assert c.shape == (80,)
    assert d.baseline[head] + c.sum() == pytest.approx(made.latent.reshape(30, -1)[4, head], abs=1e-8)


def test_the_last_of_several_parallel_layers_has_a_path_round_it(inputs):
    d = gp.distill(Body(WAYS["loop of rows"]).eval(), inputs[0])
    assert "A path round the explained layer" in d.notes[0]


TAILS = {
    "softmax": lambda z: torch.softmax(z, -1),
    "log_softmax": lambda z: F.log_softmax(z, dim=1),
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "gelu": F.gelu,
    "exp": lambda z: z.exp(),
    "unknown": lambda z: torch.sin(z) + z.abs().sum(1, keepdim=True),
}


@pytest.mark.parametrize("tail", TAILS)
def test_nonlinear_tails_are_applied_to_the_latent_mean(inputs, tail):
    net = Body(lambda h, W, b: TAILS[tail](F.linear(h, 0.3 * W.T, b))).eval()
    X, X_test = inputs
    d = gp.distill(net, X)
    assert not d.linear
    assert (d.tail is None) == (tail == "unknown")
    made = d.predict(X_test)
    latent = (torch.tanh(net.first(torch.from_numpy(X_test))) @ net.W * 0.3 + net.b).detach().numpy()
    assert made.latent.shape == latent.shape
    assert np.corrcoef(made.latent.ravel(), latent.ravel())[0, 1] > 0.9999
    expected = TAILS[tail](torch.from_numpy(made.latent))
    assert np.abs(made.mean - expected.numpy()).max() < 1e-9
    truth = net(torch.from_numpy(X_test)).detach().numpy()
    assert np.abs(made.mean - truth).max() < 0.02 * np.abs(truth).max()
    low, high = made.interval(0.95)
    assert (low <= high).all()
    assert np.array_equal(low, made.interval(0.95)[0])
    c = d.contributions(X_test[0], head=2)
    assert d.baseline[2] + c.sum() == pytest.approx(made.latent[0, 2], abs=1e-8)


def test_a_unit_behind_an_elementwise_tail_has_one_latent(inputs):
    net = Body(lambda h, W, b: torch.sigmoid(h @ W))
    d = gp.distill(Probe(net, "[2]"), inputs[0])
    assert d.heads.shape == ()
    assert d.predict(inputs[1]).mean.shape == (30,)
    soft = gp.distill(Probe(Body(lambda h, W, b: torch.softmax(h @ W, -1)), "[2]"), inputs[0])
    assert soft.heads.shape == (4,)
    assert soft.heads.primary == 2
    assert np.allclose(soft.contributions(inputs[1][0]), soft.contributions(inputs[1][0], head=2))


class Block(nn.Module):
    """A residual block, batch-normalised, as in ResNets."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 8)
        self.inner, self.norm, self.second = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return torch.relu(x + self.norm(self.second(torch.relu(self.inner(x)))))


def test_residual_blocks_take_the_exact_value_of_the_path_round(inputs):
    with torch.random.fork_rng():
        net = Block().eval()
    X, X_test = inputs
    d = gp.distill(net, X)
    assert "carries" in d.notes[0] and "%" in d.notes[0]
    made = d.predict(X_test)
    with torch.no_grad():
        x = torch.relu(net.first(torch.from_numpy(X_test)))
        expected = torch.relu(x + net.norm(torch.from_numpy(made.latent).float()))
        inner = net.second(torch.relu(net.inner(x)))
    assert np.abs(made.mean - expected.numpy()).max() < 1e-5
    assert np.corrcoef(made.latent.ravel(), inner.numpy().ravel())[0, 1] > 0.9999
    share = float(d.notes[0].split("carries ")[1].split("%")[0]) / 100
    assert 0 < share < 1


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer_layers(batch_first):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0.1).eval()
        X = torch.randn(60, 5, 8)
    X_in = X
    forward = None
    if not batch_first:
        forward = lambda model, batch: model(batch.transpose(0, 1)).transpose(0, 1)  # noqa: E731
    probe = Probe(layer, "", forward=forward)
    d = gp.distill(probe, X_in)
    assert d.places == (5,)
    assert "A path round the explained layer" in d.notes[0]
    made, true = d.predict(X_in[:10]).mean, probe.values(X_in[:10]).numpy()
    assert made.shape == (10, 5, 8)
    assert np.corrcoef(made.ravel(), true.ravel())[0, 1] > 0.9999
    found = d.neighbors(X_in[:3], k=4, head=(2, 1))
    assert found.index[:, 0].tolist() == [0, 1, 2]
    assert found.place[:, 0].tolist() == [[2]] * 3


def test_multi_head_attention_is_seen_from_inside():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, X = Attend().eval(), torch.randn(50, 4, 8)
    d = gp.distill(net, X, noise=1e-6)
    assert d.linear
    assert np.abs(d.predict(X).mean - net(X).detach().numpy()).max() < 1e-4


CONVOLUTIONS = {
    "plain": (1, lambda: nn.Conv2d(3, 4, 3, padding=1)),
    "strided": (1, lambda: nn.Conv2d(3, 4, 2, stride=2, padding=1)),
    "dilated": (1, lambda: nn.Conv2d(3, 4, 3, dilation=2, padding="same")),
    "circular": (1, lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")),
    "grouped": (3, lambda: nn.Conv2d(3, 6, 3, groups=3)),
    "transposed": (1, lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_share_one_kernel_over_positions(kind):
    groups, make = CONVOLUTIONS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), make()).eval()
        X = torch.randn(40, 1, 6, 6)
    d = gp.distill(Probe(net, "2"), X, noise=1e-6)
    true = net(X).detach().numpy()
    made = d.predict(X[:8])
    assert made.mean.shape == true[:8].shape
    assert np.abs(made.mean - true[:8]).max() < 1e-4 * np.abs(true).max()
    assert len(d.posterior.weights) == groups
    head = (3, 1, 2)
    c = d.contributions(X[5], head=head, by="place")
    assert c.shape == (40, int(np.prod(d.places)))
    total = d.baseline[np.ravel_multi_index(head, d.heads.shape)] + c.sum()
    assert total == pytest.approx(made.latent[5][head], abs=1e-8 * np.abs(c).sum())
    found = d.neighbors(X[:2], k=3, head=head)
    assert found.index[:, 0].tolist() == [0, 1]
    assert found.place[:, 0].tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_pooled_channels_fold_into_the_features(reduce):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 2)).eval()
        X = torch.randn(60, 1, 6, 6)
    d = gp.distill(Probe(net, "2[1]", reduce=reduce), X, noise=1e-7)
    true = getattr(net(X)[:, 1], reduce)((1, 2)).detach().numpy()
    assert d.linear
    assert d.heads.shape == ()
    assert d.places == ()
    assert np.abs(d.predict(X).mean - true).max() < 1e-4 * np.abs(true).max()
    c, by_place = d.contributions(X[3]), d.contributions(X[3], by="place")
    assert by_place.shape == (60, 9)
    assert np.allclose(by_place.sum(1), c, atol=1e-9 * np.abs(c).max())


def test_one_position_of_a_channel_finds_its_match_anywhere():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 2)).eval()
        X = torch.randn(60, 1, 6, 6)
    X[7] = torch.roll(X[3], shifts=(1, 1), dims=(1, 2))
    d = gp.distill(Probe(net, "2[1,0,0]"), X)
    assert d.places == (3, 3)
    assert d.predict(X[:5]).mean.shape == (5,)
    found = d.neighbors(X[3], k=2)
    places = dict(zip(found.index[0].tolist(), found.place[0].tolist(), strict=True))
    assert places == {3: [0, 0], 7: [1, 1]}


def test_dense_pooling_layers_keep_a_pool_for_each_output():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.AvgPool2d(3)
        ).eval()
        X = torch.randn(60, 1, 6, 6)
    d = gp.distill(net, X, noise=1e-7)
    assert d.linear
    assert d.places == (4,)
    assert np.abs(d.predict(X).mean - net(X).detach().numpy()).max() < 1e-4


def test_models_are_left_as_found(inputs):
    net = Body(WAYS["@"])
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    gp.distill(net, inputs[0]).predict(inputs[1])
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(not m._forward_hooks for m in net.modules())
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_what_cannot_be_followed_is_named(inputs):
    class Elementwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(6))

        def forward(self, x):
            return torch.sin(x * self.w).sum(1)

    probe = Probe(Elementwise(), "")
    batch, rows = sample(probe, inputs[0], 8)
    with pytest.raises(NotTraceable, match="no affine layer leads to"):
        find(Runner(probe), batch, rows)
    dead = Body(lambda h, W, b: torch.relu(h @ W - 1e4))
    with pytest.raises(DeadUnit, match="does not move"):
        gp.distill(dead, inputs[0])
    with pytest.raises(IndexOutOfRange):
        gp.distill(Probe(Body(WAYS["@"]), "[4]"), inputs[0])


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.integers(1, 2),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_patches_times_weights_are_the_convolution(
    dims, kernel, stride, padding, dilation, groups, transposed
):
    generator = torch.Generator().manual_seed(0)
    channels_in, channels_out = 2 * groups, 3 * groups
    x = torch.randn(2, channels_in, *[6] * dims, generator=generator, dtype=torch.float64)
    shape = (channels_in, channels_out // groups) if transposed else (channels_out, channels_in // groups)
    weight = torch.randn(*shape, *[kernel] * dims, generator=generator, dtype=torch.float64)
    name = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
    settings_ = {
        "stride": stride,
        "padding": min(padding, dilation * (kernel - 1)),
        "dilation": dilation,
        "groups": groups,
    }
    y = getattr(F, name)(x, weight, **settings_)
    operation = Convolution.of(weight, transposed, **settings_)
    patches = operation.features(x)
    if transposed:
        weight = weight.reshape(
            groups, channels_in // groups, channels_out // groups, *weight.shape[2:]
        ).transpose(1, 2)
        weight = weight.flip(list(range(3, weight.ndim)))
    rows = weight.reshape(groups, channels_out // groups, -1)
    made = torch.einsum("...gd,gcd->...gc", patches, rows).flatten(-2)
    assert torch.allclose(made, operation.channels_last(y), atol=1e-10)
    assert torch.equal(operation.original(operation.channels_last(y), y), y)
