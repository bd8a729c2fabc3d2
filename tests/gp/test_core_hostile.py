"""Odd data, odd models and odd arguments: a sensible result or an error that says what came and what to do."""

from __future__ import annotations

import copy
import resource
import signal
import warnings

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import gp
from gp.influence import influence
from interpret.errors import (
    BadInput,
    DeadUnit,
    IndexOutOfRange,
    LoadError,
    NotConverged,
    StoreError,
    TooFewPoints,
    UsageError,
)
from interpret.probe import Probe

KERNELS = [("activation", {}), ("learned", {"steps": 20, "dim": 4}), ("tangent", {"dimension": 24})]


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def plain(net, X):
    return gp.distill(net, X)


def changed(net, scale):
    """The network with its outputs multiplied one by one."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[2].weight *= torch.tensor(scale)[:, None]
        other[2].bias *= torch.tensor(scale)
    return other


def usable(d, X):
    """Everything that a user asks for is finite, and no warning is given on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        p = d.predict(X[:5])
        low, high = p.interval()
        for made in (
            p.mean,
            p.variance,
            low,
            high,
            d.novelty(X[:5]),
            d.contributions(X[0]),
            d.leave_one_out(),
        ):
            assert np.isfinite(made).all()
        assert (p.variance >= 0).all()
        assert d.neighbors(X[:2], k=3).index.shape[0] == 2 and len(d.prototypes(2).index) <= 2
        figures = d.fidelity(X[:5])
    assert np.isfinite(figures["cancellation"]).all()
    return figures


@pytest.mark.parametrize(("kernel", "options"), KERNELS)
class TestData:
    def test_one_row_is_too_few_and_two_will_do(self, net, X, kernel, options):
        with pytest.raises(TooFewPoints, match="two rows or more"):
            gp.distill(net, X[:1], kernel=kernel, **options)
        with pytest.raises(TooFewPoints, match="no rows"):
            gp.distill(net, X[:0], kernel=kernel, **options)
        usable(gp.distill(net, X[:2], kernel=kernel, **options), X)

    def test_rows_that_are_all_the_same_are_dead_two_kinds_are_not(self, net, X, kernel, options):
        with pytest.raises(DeadUnit):
            gp.distill(net, np.repeat(X[:1], 30, 0), kernel=kernel, **options)
        usable(gp.distill(net, np.repeat(X[:2], 30, 0), kernel=kernel, **options), X)

    def test_constant_heads(self, net, X, kernel, options):
        other = changed(net, [1.0, 0.0, 1.0])
        figures = usable(gp.distill(other, X, kernel=kernel, **options), X)
        assert np.isnan(figures["pearson"][1]) and figures["mae"][1] < 1e-9
        with pytest.raises(DeadUnit, match="constant over the"):
            gp.distill(Probe(other, "2[1]"), X, kernel=kernel, **options)

    def test_one_dead_feature(self, net, X, kernel, options):
        other = copy.deepcopy(net)
        with torch.no_grad():
            other[0].weight[2], other[0].bias[2] = 0, 0
        usable(gp.distill(other, X, kernel=kernel, **options), X)

    def test_scales_of_the_head_do_not_matter(self, net, X, kernel, options):
        figures = usable(gp.distill(changed(net, [1e-12, 1.0, 1e12]), X, kernel=kernel, **options), X)
        assert figures["pearson"].min() > (0.9 if kernel == "activation" else 0.5)

    def test_a_row_that_is_not_finite_is_named(self, net, X, kernel, options):
        broken = X.copy()
        broken[7] = np.nan
        with pytest.raises(BadInput, match="row 7"):
            gp.distill(net, broken, kernel=kernel, **options)
        with pytest.raises(BadInput, match="row 7"):
            gp.distill(net, X, kernel=kernel, **options).predict(broken)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, net, X, kernel, options, dtype):
        usable(gp.distill(copy.deepcopy(net).to(dtype), X, kernel=kernel, **options), X)

    def test_more_features_than_rows(self, X, kernel, options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            wide = nn.Sequential(nn.Linear(4, 200), nn.Tanh(), nn.Linear(200, 2)).eval()
        usable(gp.distill(wide, X[:20], kernel=kernel, **options), X)

    def test_batches_that_are_dicts_and_loaders_that_give_one_row_at_a_time(self, net, X, kernel, options):
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, a, b):
                return self.net(a) + 0.1 * b.sum(1, keepdim=True)

        data = {"a": torch.from_numpy(X), "b": torch.from_numpy(X[::-1].copy())}
        d = gp.distill(Two(), data, kernel=kernel, **options)
        one = {name: value[:1] for name, value in data.items()}
        assert d.contributions(one).shape == (60,) and d.neighbors(one, k=3).index.shape == (1, 3)
        rows = torch.utils.data.TensorDataset(torch.from_numpy(X))
        loader = torch.utils.data.DataLoader(rows, batch_size=1)
        made = gp.distill(net, loader, kernel=kernel, **options)
        same = gp.distill(net, X, kernel=kernel, **options)
        np.testing.assert_allclose(made.predict(X[:5]).mean, same.predict(X[:5]).mean, rtol=1e-5, atol=1e-5)

    def test_training_the_model_further_leaves_the_distillation_alone(self, net, X, kernel, options):
        other = copy.deepcopy(net)
        d = gp.distill(other, X, kernel=kernel, **options)
        before = d.predict(X[:5]).mean
        with torch.no_grad():
            other[0].weight *= 3
        assert np.array_equal(d.predict(X[:5]).mean, before)


class TestArguments:
    @pytest.mark.parametrize("head", ["a", 1.5, True, (0.5,)])
    def test_heads_are_integers(self, plain, X, head):
        with pytest.raises(UsageError, match="a head is an integer"):
            plain.contributions(X[0], head=head)

    @pytest.mark.parametrize("head", [3, -4, (3,), (0, 0)])
    def test_heads_out_of_range(self, plain, X, head):
        with pytest.raises(IndexOutOfRange):
            plain.contributions(X[0], head=head)

    def test_negative_heads_count_from_the_end_in_every_axis(self, digits):
        conv = nn.Conv2d(1, 3, 3).eval()
        d = gp.distill(conv, digits.X[:20])
        assert d.head(-1) == d.head((-1, -1, -1)) == d.head((2, 5, 5)) == 107
        assert d.head(np.int64(4)) == 4

    @pytest.mark.parametrize("k", [0, -1, 1.5, "a", None, True])
    def test_k(self, plain, X, k):
        for call in (lambda: plain.neighbors(X[:1], k=k), lambda: plain.prototypes(k=k)):
            with pytest.raises(UsageError, match="k is a positive integer"):
                call()

    def test_k_beyond_the_rows(self, plain, X):
        assert plain.neighbors(X[:2], k=10**9).index.shape == (2, 60)
        assert len(plain.prototypes(k=10**9).index) <= 60

    def test_queries(self, plain, X):
        with pytest.raises(BadInput, match=r"batch of queries.*pass x\[None\]"):
            plain.predict(X[0])
        with pytest.raises(TooFewPoints, match="no rows"):
            plain.neighbors(X[:0])
        np.testing.assert_allclose(plain.novelty(X[:3].astype(np.float64)), plain.novelty(X[:3]))

    @pytest.mark.parametrize("indices", [["a"], [1.5], [np.nan], None, np.arange(60) < 2])
    def test_without_takes_row_ids(self, plain, indices):
        with pytest.raises(UsageError, match="row ids, which are integers"):
            plain.without(indices)

    def test_without_all_nobody_and_twice_the_same(self, plain, X):
        with pytest.raises(TooFewPoints, match="0 of 60 rows would remain"):
            plain.without(range(60))
        with pytest.raises(IndexOutOfRange, match="row 60"):
            plain.without([60])
        assert plain.without([]).examples == 60
        one, two = plain.without([3]), plain.without([3, 3])
        assert two.examples == 59 and np.array_equal(one.predict(X[:4]).mean, two.predict(X[:4]).mean)

    @pytest.mark.parametrize("noise", [0, -1, np.nan, np.inf, None, 1j, [1.0, 2.0], "most"])
    def test_noise(self, net, X, noise):
        with pytest.raises(UsageError, match="noise is"):
            gp.distill(net, X, noise=noise)

    @pytest.mark.parametrize("seed", [-1, None, 0.5, True])
    def test_seed(self, net, X, seed):
        with pytest.raises(UsageError, match="seed is an integer from 0"):
            gp.distill(net, X, seed=seed)

    @pytest.mark.parametrize("level", [0, 1, "a", None, np.nan])
    def test_interval(self, plain, X, level):
        with pytest.raises(UsageError, match="level lies between 0 and 1"):
            plain.predict(X[:2]).interval(level)

    def test_residuals_of_influence(self, plain, X):
        for bad in (np.ones(5), np.ones((60, 2)), np.full(60, np.nan)):
            with pytest.raises(BadInput, match="residuals"):
                influence(plain, X[:2], bad)

    def test_regularize(self, net, plain):
        for changes in ({"steps": 0}, {"steps": "a"}, {"rate": np.nan}, {"task": "loss"}):
            with pytest.raises(UsageError):
                gp.regularize(net, plain, **{"steps": 2, **changes})
        with pytest.raises(NotConverged, match="smaller rate"):
            gp.regularize(net, plain, steps=20, rate=1e30)


class TestLabels:
    def test_types_that_compare(self, plain):
        y = np.random.default_rng(0).integers(0, 3, 60)
        for labels in (y.astype(str), y > 0, y.tolist(), torch.from_numpy(y), np.r_[[9], np.zeros(59, int)]):
            assert plain.suspects(labels).shape == (60, 4)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.zeros(60), "all labels are the same"),
            (np.zeros(5), "one for each of the 60"),
            (np.array([1, "a"] * 30, dtype=object), "several types"),
            (np.where(np.arange(60) == 4, np.nan, 1.0), "example 4 is missing"),
            (np.array(["a", "b", None] * 20, dtype=object), "example 2 is missing"),
            (np.linspace(0, 1, 60), "continuous values"),
            (None, "one for each of the 60"),
        ],
    )
    def test_labels_that_cannot_be_used(self, plain, labels, message):
        with pytest.raises(BadInput, match=message):
            plain.suspects(labels)


class TestArrays:
    @pytest.mark.parametrize(
        ("U", "V", "message"),
        [
            (np.ones((5, 3)), np.ones(4), "5 rows of features and 4 of targets"),
            (np.ones(5), np.ones(5), r"features are \(n, D\)"),
            (np.ones((5, 0)), np.ones(5), r"features are \(n, D\)"),
            (np.array([["a"]] * 5), np.ones(5), "numbers"),
            (np.full((5, 2), np.inf), np.ones(5), "not finite"),
            (np.eye(5) * 1e200, np.ones(5), "squares overflow"),
        ],
    )
    def test_arrays_that_cannot_be_used(self, U, V, message):
        with pytest.raises(BadInput, match=message):
            gp.fit_features(U, V)

    def test_chunks_of_other_widths_and_of_no_rows(self, features):
        U, V = features
        with pytest.raises(BadInput, match="from row 40 has 4 and 2"):
            gp.fit_features([(U, V), (U[:, :4], V)])
        empty = (U[:0], V[:0])
        d = gp.fit_features([empty, (U[:30], V[:30]), empty, (U[30:], V[30:])], noise=0.1)
        e = gp.fit_features(U, V, noise=0.1)
        np.testing.assert_allclose(d.predict_features(U).mean, e.predict_features(U).mean, atol=1e-10)

    def test_features_that_are_not_finite(self, plain):
        with pytest.raises(BadInput, match="not finite"):
            plain.predict_features(np.full((1, 8), np.nan))


@pytest.fixture
def saved(plain, tmp_path):
    path = tmp_path / "d.safetensors"
    plain.save(path)
    return path


def rewritten(path, arrays=None, header=None):
    """The file with some of its arrays and its header changed."""
    with safe_open(str(path), "pt") as file:
        metadata, kept = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, change in (arrays or {}).items():
        kept[name] = change(kept[name])
    save_file(kept, str(path), metadata={name: (header or str)(text) for name, text in metadata.items()})


class TestFiles:
    def test_every_array_of_another_shape_is_noticed(self, saved, net):
        whole = saved.read_bytes()
        with safe_open(str(saved), "pt") as file:
            names = list(file.keys())
        assert len(names) > 20
        for name in names:
            rewritten(saved, {name: lambda t: t[:-1].clone()})
            with pytest.raises(LoadError, match="damaged"):
                gp.load(saved, model=net)
            saved.write_bytes(whole)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("posterior.weights", torch.Tensor.half),
            ("U", lambda t: t * torch.nan),
            ("heads.channel", lambda t: t + 50),
            ("heads.channel", torch.Tensor.double),
        ],
    )
    def test_values_that_cannot_be(self, saved, name, change):
        rewritten(saved, {name: change})
        with pytest.raises(LoadError, match="the file is damaged"):
            gp.load(saved)

    @pytest.mark.parametrize("header", ["{", "[1]", "{}"])
    def test_headers_that_cannot_be(self, saved, header):
        rewritten(saved, header=lambda _: header)
        with pytest.raises(LoadError, match=r"damaged|format"):
            gp.load(saved)

    def test_cut_files_and_models_that_are_none(self, saved):
        with pytest.raises(UsageError, match="got str"):
            gp.load(saved, model="net")
        whole = saved.read_bytes()
        for length in (0, 5, len(whole) // 2, len(whole) - 3):
            saved.write_bytes(whole[:length])
            with pytest.raises(LoadError, match="cannot be read"):
                gp.load(saved)

    def test_places_that_cannot_be_written(self, plain, tmp_path):
        with pytest.raises(StoreError, match="is no file"):
            plain.save(tmp_path)
        with pytest.raises(StoreError, match="cannot be written"):
            plain.save(tmp_path / "nowhere" / "d.safetensors")

    def test_a_full_disk_leaves_the_old_file(self, plain, saved):
        before, limits = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            with pytest.raises(StoreError, match="nothing was changed"):
                plain.save(saved)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert saved.read_bytes() == before
        assert [p.name for p in saved.parent.iterdir()] == [saved.name]
