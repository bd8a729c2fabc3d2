"""Maps, coordinates, mixtures and the training loop, on small problems."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gp import matching, mixtures
from gp.matching import Problem, correlation, match, recipe
from gp.sphere import Coordinates, SphereMaps, coordinates, principal
from interpret.errors import NotConverged, UsageError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_problem(heads=2, rows=120, width=6, seed=0):
    """Outputs linear in the coordinates, standardised; queries further out than the training rows."""
    g = generator(seed)
    A = torch.randn(width, heads, generator=g, dtype=torch.float64)
    train = torch.randn(rows, width, generator=g, dtype=torch.float64)
    pool, held = (1.5 * torch.randn(n, width, generator=g, dtype=torch.float64) for n in (600, 200))
    scale = (train @ A).std(dim=0)
    return Problem(train, train @ A / scale, pool, pool @ A / scale, held, held @ A / scale)


QUICK = {"dim": 8, "steps": 150, "batch": 128}


class TestMaps:
    def test_features_have_unit_length_and_follow_the_definition(self):
        g = generator(1)
        maps = SphereMaps.start(3, 5, 4, g)
        x = torch.randn(6, 5, generator=g, dtype=torch.float64)
        u = maps(x)
        assert u.shape == (3, 6, 4)
        for head in range(3):
            for n in range(6):
                z = x[n] @ maps.weight[head] + maps.offset[head, 0]
                torch.testing.assert_close(u[head, n], z / z.norm(), rtol=1e-12, atol=1e-12)

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 1000), st.integers(3, 12), st.integers(3, 12))
    def test_coordinates_keep_half_whitened_products(self, seed, rows, width):
        h = torch.randn(rows, width, generator=generator(seed), dtype=torch.float64) @ torch.diag(
            torch.logspace(0, -1, width, dtype=torch.float64)
        )
        centre, axes = principal(h)
        z = (h - centre) @ axes
        r = h - h.mean(dim=0)
        values, vectors = torch.linalg.eigh(r.T @ r / rows)
        half = vectors @ torch.diag((values.clamp_min(0) + 1e-3 * values[-1]) ** -0.5) @ vectors.T
        gram = r @ half @ r.T  # the half-whitened kernel, whichever of rows and width is smaller
        torch.testing.assert_close(z @ z.T / z.square().sum(), gram / gram.trace(), rtol=1e-6, atol=1e-7)

    def test_wide_and_tall_bodies_agree(self):
        h = torch.randn(8, 5, generator=generator(2), dtype=torch.float64)
        padded = torch.cat([h, torch.zeros(8, 9)], dim=1)
        tall, wide = (coordinates(x, lifted=False, generator=generator())(x) for x in (h, padded))
        torch.testing.assert_close(tall @ tall.T, wide @ wide.T, rtol=1e-6, atol=1e-6)

    def test_coordinates_come_back_from_arrays(self):
        h = torch.randn(30, 4, generator=generator(3), dtype=torch.float64)
        for lifted in (False, True):
            made = coordinates(h, lifted=lifted, generator=generator(4))
            again = Coordinates.from_arrays(made.arrays())
            assert torch.equal(made(h), again(h))
            assert made.width == made(h).shape[1]


class TestTraining:
    @pytest.mark.parametrize("form", ["match", "explain"])
    def test_it_matches_a_linear_network(self, form):
        made = match(linear_problem(), recipe(form, **QUICK))
        assert (made.pearson > (0.99 if form == "match" else 0.97)).all()

    def test_the_trace_is_kept_and_falls(self):
        made = match(linear_problem(), recipe("match", **QUICK))
        steps = [row["step"] for row in made.trace]
        assert steps == sorted(steps) and steps[-1] <= QUICK["steps"]
        assert made.trace[-1]["held_loss"] < made.trace[0]["held_loss"]
        assert set(made.trace[0]) == {"first_head", "share", "step", "loss", "held_loss", "held_pearson"}

    def test_same_seed_same_maps_and_no_global_random_state(self):
        before = torch.get_rng_state()
        first, again = (match(linear_problem(), recipe("explain", **QUICK)) for _ in range(2))
        other = match(linear_problem(), recipe("explain", **QUICK, seed=1))
        assert torch.equal(first.maps.weight, again.maps.weight)
        assert not torch.equal(first.maps.weight, other.maps.weight)
        assert torch.equal(before, torch.get_rng_state())

    def test_a_head_that_falls_short_is_tried_again_with_less_noise(self):
        problem = linear_problem(heads=2)
        targets, values = problem.targets.clone(), problem.pool_values.clone()
        made = match(problem, recipe("explain", **QUICK, shares=(5.0, 1e-3)))
        assert targets.equal(problem.targets) and values.equal(problem.pool_values)
        assert (made.noise == 1e-3 * 120).any() and {row["share"] for row in made.trace} == {5.0, 1e-3}
        held = match(problem, recipe("explain", **QUICK, shares=(5.0, 1e-3), tolerance=0.0))
        assert (held.noise == 5.0 * 120).all()
        assert (made.pearson >= held.pearson).all()

    def test_heads_in_groups(self, monkeypatch):
        monkeypatch.setattr(matching, "HEADS_AT_ONCE", 2)
        made = match(linear_problem(heads=3), recipe("match", **QUICK))
        assert made.maps.weight.shape[0] == len(made.noise) == len(made.pearson) == 3
        assert {row["first_head"] for row in made.trace} == {0, 2}

    def test_rows_are_sampled_where_there_are_too_many(self, monkeypatch):
        monkeypatch.setattr(matching, "ROWS_PER_STEP", 60)
        made = match(linear_problem(), recipe("match", **QUICK))
        assert (made.pearson > 0.98).all()

    def test_it_stops_early_when_nothing_improves(self):
        keeper = matching._Keeper(SphereMaps.start(1, 3, 2, generator()), patience=2)
        better, worse = SphereMaps.start(1, 3, 2, generator(1)), SphereMaps.start(1, 3, 2, generator(2))
        score = torch.ones(1)
        assert not keeper.offer(better, score, torch.tensor([0.9]))
        assert not keeper.offer(worse, score + 1, torch.tensor([0.5]))
        assert keeper.offer(worse, score + 2, torch.tensor([0.5]))
        assert torch.equal(keeper.maps().weight, better.weight)
        assert float(keeper.pearson) == pytest.approx(0.9)

    def test_no_finite_loss_is_an_error_with_a_way_out(self):
        with pytest.raises(NotConverged, match=r"no finite held-out loss.*form='explain' or larger shares"):
            matching._Keeper(SphereMaps.start(1, 3, 2, generator()), 1).maps()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"form": "best"}, "form must be one of 'explain', 'match', not 'best'"),
            ({"form": "match", "dim": 1}, "dim must be at least 2, not 1"),
            ({"form": "match", "steps": 0}, "steps must be at least 1"),
            ({"form": "match", "shares": ()}, "shares must be above 0"),
            ({"form": "match", "shares": (-1.0,)}, "shares must be above 0"),
            ({"form": "match", "rate": 0.0}, "rate and shares must be above 0"),
        ],
    )
    def test_recipes_that_make_no_sense(self, changes, message):
        with pytest.raises(UsageError, match=message):
            recipe(**changes)

    def test_correlation_is_numpys(self):
        a, b = np.random.default_rng(0).normal(size=(2, 3, 9))
        expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(
            correlation(torch.from_numpy(a), torch.from_numpy(b)), expected, atol=1e-12
        )
        assert float(correlation(torch.ones(5), torch.arange(5.0))) == 0.0


class TestMixtures:
    def test_a_mixture_lies_on_a_line_through_two_examples(self, monkeypatch):
        monkeypatch.setattr(mixtures, "NOISE", 0.0)
        X = torch.randn(4, 3, generator=generator(5), dtype=torch.float64)
        made = torch.cat(list(mixtures.mixtures(mixtures.Inputs(X, 4, 1), 40, generator(6), chunk=16)))
        shares = []
        for x in made:
            best = (np.inf, 0.0)
            for i in range(4):
                for j in range(4):
                    way = X[i] - X[j]
                    share = float((x - X[j]) @ way / (way @ way)) if i != j else 1.0
                    best = min(best, (float((x - X[j] - share * way).norm()), share))
            assert best[0] < 1e-12
            shares.append(best[1])
        assert len(made) == 40 and -1 - 1e-9 <= min(shares) < 0 and 1 < max(shares) <= 2 + 1e-9

    def test_structure_is_kept_and_integers_are_not_mixed(self):
        batch = {
            "x": torch.randn(5, 2, generator=generator(7)),
            "ids": torch.arange(5)[:, None],
            "flag": True,
        }
        data = mixtures.Inputs(batch, 5, 1)
        assert data.mixable
        (made,) = mixtures.mixtures(data, 7, generator(8))
        assert made["x"].shape == (7, 2) and made["ids"].dtype == torch.int64 and made["flag"] is True
        assert set(made["ids"].flatten().tolist()) <= set(range(5))
        assert not mixtures.Inputs(batch["ids"], 5, 1).mixable
