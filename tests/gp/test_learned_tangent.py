"""The tangent kernel against per-example gradients, and influence against leaving examples out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

import gp
from gp import tangent
from gp.influence import influence
from gp.kernels import FeatureMap, Options
from interpret.errors import BadInput, UsageError
from interpret.probe import Probe


def net(seed=0, double=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).eval()
    return made.double() if double else made


def rows(n=40, width=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width))


def features(model, X, dimension=5, seed=0, **probe):
    made = tangent.build(Probe(model, **probe), X, Options(seed, {"dimension": dimension}))
    return torch.cat([block.features[:, :, 0] for block in made.blocks(X)], dim=1)


def projected_jacobian(model, X, dimension, seed):
    """Every example's full gradient of every output, then the product with each direction, one by one."""
    parameters = {k: v.detach() for k, v in model.named_parameters()}
    J = vmap(jacrev(lambda p, x: functional_call(model, p, (x[None],))[0]), (None, 0))(
        parameters, torch.as_tensor(X)
    )
    directions = tangent.Directions(parameters, dimension, seed)
    columns = [
        sum((J[k].flatten(2) @ directions[j][k].flatten()) for k in parameters) for j in range(dimension)
    ]
    return torch.stack(columns, dim=-1).transpose(0, 1)


class TestFeatures:
    def test_they_are_projected_per_example_gradients(self):
        torch.testing.assert_close(
            features(net(), rows()), projected_jacobian(net(), rows(), 5, 0), rtol=1e-9, atol=1e-9
        )

    def test_products_approach_the_tangent_kernel(self):
        model, X = net(), rows(12)
        parameters = {k: v.detach() for k, v in model.named_parameters()}
        J = vmap(jacrev(lambda p, x: functional_call(model, p, (x[None],))[0]), (None, 0))(
            parameters, torch.as_tensor(X)
        )
        flat = torch.cat([v.flatten(2) for v in J.values()], dim=2)[:, 0]
        u = features(model, X, dimension=1500)[0]
        assert (u @ u.T - flat @ flat.T).norm() < 0.1 * (flat @ flat.T).norm()

    def test_batches_do_not_matter_and_directions_come_from_the_seed(self, monkeypatch):
        whole, cut = features(net(), rows()), features(net(), rows(), batch_size=7)
        torch.testing.assert_close(whole, cut, rtol=1e-12, atol=1e-12)
        monkeypatch.setattr(tangent, "CACHED", 0)
        assert torch.equal(whole, features(net(), rows()))
        assert not torch.equal(whole, features(net(), rows(), seed=1))

    def test_an_operation_that_cannot_be_differentiated_twice_goes_forward(self):
        class Square(torch.autograd.Function):
            @staticmethod
            def forward(x):
                return x * x

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.save_for_backward(*inputs)
                ctx.save_for_forward(*inputs)

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx, grad):
                return 2 * ctx.saved_tensors[0] * grad

            @staticmethod
            def jvp(ctx, tangent):
                return 2 * ctx.saved_tensors[0] * tangent

        class Odd(nn.Module):
            def __init__(self, square):
                super().__init__()
                self.inner, self.square = net(), square

            def forward(self, x):
                return self.square(self.inner(x))

        expected = features(Odd(lambda x: x * x), rows())
        torch.testing.assert_close(features(Odd(Square.apply), rows()), expected, rtol=1e-9, atol=1e-9)

    def test_units_and_layers_are_heads(self):
        model = net()
        assert features(model, rows(), address="0[2]").shape == (1, 40, 5)
        assert features(model, rows(), address="0").shape == (6, 40, 5)
        # Parameters behind the unit do not move it: only those of the first layer count.
        torch.testing.assert_close(
            features(model, rows(), address="0")[2], features(model, rows(), address="0[2]")[0]
        )

    def test_the_model_is_left_as_it_was(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)).train()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        first, again = (features(model, rows().astype(np.float32)) for _ in range(2))
        assert torch.equal(first, again) and model.training
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())

    @pytest.mark.parametrize(
        ("model", "extra", "message"),
        [
            (nn.Flatten(), {}, "no parameters, so it has no tangent kernel"),
            (nn.Linear(3, 600), {}, "600 heads, each with its own gradients"),
            (nn.Linear(3, 2), {"dimension": 0}, "dimension is a positive integer"),
            (nn.Linear(3, 2), {"depth": 1}, "takes no depth; it takes dimension"),
        ],
    )
    def test_what_it_refuses(self, model, extra, message):
        with pytest.raises(UsageError, match=message):
            tangent.build(Probe(model), rows().astype(np.float32), Options(0, extra))


class TestDistilled:
    def test_distil_save_state_and_predict(self):
        model = net(double=False)
        X = rows(150).astype(np.float32)
        d = gp.distill(model, X, kernel="tangent", dimension=64)
        assert isinstance(d.map, FeatureMap) and d.kernel == "tangent"
        assert d.fidelity(rows(60, seed=1).astype(np.float32))["pearson"].min() > 0.99
        again = tangent.restore(Probe(model), *d.map.state())
        one, two = (next(iter(m.blocks(X[:9]))).features for m in (d.map, again))
        assert torch.equal(one, two)


class TestInfluence:
    def test_it_is_the_formula(self):
        X, r = rows(30), np.random.default_rng(2).normal(size=(30, 2))
        d = gp.distill(net(), X, kernel="tangent", dimension=7)
        U = d.features[1]
        Q = torch.cat([d.posterior.basis(b.features) for b in d.run(rows(5, seed=3))], dim=1)
        Q = (Q @ d.posterior.basis.turn[:, None]).numpy()[1, :, 0]
        K = U.T @ U
        expected = Q @ np.linalg.inv(K + 0.1 * np.trace(K) * np.eye(len(K))) @ U.T * r[:, 1]
        np.testing.assert_allclose(
            influence(d, rows(5, seed=3), r, head=1, ridge=0.1), expected, rtol=1e-7, atol=1e-12
        )

    def test_it_ranks_what_retraining_a_ridge_regression_does(self):
        # Features given, so retraining is exact: least squares with and without each example.
        g = np.random.default_rng(4)
        U, y, x = g.normal(size=(40, 4)), g.normal(size=40), g.normal(size=(1, 4))
        d = gp.fit_features(U, y, noise=1.0, center=False, metric="none")
        ridge = 0.05
        level = ridge * np.trace(U.T @ U)

        def fit(keep):
            A = U[keep].T @ U[keep] + level * np.eye(4)
            return x[0] @ np.linalg.solve(A, U[keep].T @ y[keep])

        everything = np.ones(40, bool)
        weights = np.linalg.solve(U.T @ U + level * np.eye(4), U.T @ y)
        change = [fit(everything) - fit(everything & (np.arange(40) != m)) for m in range(40)]
        tau = influence(d, x, y - U @ weights, ridge=ridge)[0]
        # To first order: dividing by one minus the leverage makes it exact.
        leverage = np.einsum("md,md->m", U, np.linalg.solve(U.T @ U + level * np.eye(4), U.T).T)
        np.testing.assert_allclose(tau / (1 - leverage), change, rtol=1e-8, atol=1e-12)

    def test_residuals_of_another_length(self):
        d = gp.distill(net(), rows(30), kernel="tangent", dimension=4)
        with pytest.raises(BadInput, match="one for each of the 30 training examples; got 29"):
            influence(d, rows(2), np.zeros(29))


class Attending(nn.Module):
    """A transformer layer as it runs in eval mode, and attention whose weights nobody asks for."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.last = layer, nn.Linear(8, 2)

    def forward(self, x):
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.last(self.layer(x, x, x, need_weights=False)[0][:, 0])
        return self.last(self.layer(x).mean(1))


@pytest.mark.parametrize("kind", ["encoder", "attention"])
def test_attention_in_eval_mode_has_its_plain_gradients(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = (
            nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
            if kind == "encoder"
            else nn.MultiheadAttention(8, 2, batch_first=True)
        )
        model = Attending(layer).double().eval()
    X = np.random.default_rng(0).normal(size=(6, 4, 8))
    found = features(model, X, dimension=3)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = projected_jacobian(model, X, 3, 0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kernel", "options"), [("tangent", {"dimension": 32}), ("learned", {"steps": 60})])
def test_contributions_add_up_to_a_prediction_made_in_another_batch(kernel, options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)
        ).eval()
    rng = np.random.default_rng(0)
    X, queries = rng.normal(size=(2, 200, 10)).astype(np.float32)
    d = gp.distill(model, X, kernel=kernel, **options)
    latent = d.predict(queries[:40]).latent[:, 1]
    alone = np.array([d.contributions(x, head=1).sum() + d.baseline[1] for x in queries[:40]])
    assert np.abs(alone - latent).max() <= 1e-8 * np.abs(latent).min()
