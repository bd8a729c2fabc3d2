"""Points, splits and tangent spaces: what is dropped is counted, what is asked wrongly is named."""

from __future__ import annotations

import numpy as np
import pytest

import symbolic
from interpret.errors import BadInput, DeadUnit, NameMismatch, TooFewPoints, UsageError
from interpret.outcome import Verdict
from symbolic import screening, tangents, targets


def data(n: int = 400, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, d))
    return x, 2 * x, (x**2).sum(1)


def test_directions_have_length_one_and_the_split_is_disjoint() -> None:
    x, g, v = data()
    found = targets.build(x, g, v, fit_points=100, held_out_points=50)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1)
    assert len(found.fit) == 100 and len(found.held_out) == 50
    assert not set(found.fit) & set(found.held_out)
    np.testing.assert_array_equal(found.points, x[found.rows])
    np.testing.assert_array_equal(found.values, v[found.rows])
    assert ("more than the search needs", 250 - 0) in [(why, count + 0) for why, count in found.dropped]


def test_every_dropped_row_is_counted() -> None:
    x, g, v = data(200)
    g[:7] = np.nan
    v[7] = np.inf
    g[10:14] = 0
    g[20:25] *= 1e-6
    found = targets.build(x, g, v)
    counts = dict(found.dropped)
    assert counts["not finite"] == 8
    assert counts["zero gradient"] == 4
    assert counts["gradient below 0.02 of the median"] >= 5
    assert sum(counts.values()) + len(found.points) == 200


def test_the_same_seed_gives_the_same_points() -> None:
    x, g, v = data()
    first, second = targets.build(x, g, v, seed=3), targets.build(x, g, v, seed=3)
    assert first.points.tobytes() == second.points.tobytes()
    assert first.points.tobytes() != targets.build(x, g, v, seed=4).points.tobytes()


def test_a_logit_is_looked_at_near_its_boundary() -> None:
    x, g, _ = data(4_000)
    logit = 40 * x[:, 0]
    found = targets.build(x, g, logit)
    assert np.abs(found.values).max() < 10
    assert any("decision boundary" in why for why, _ in found.dropped)
    assert np.abs(targets.build(x, g, logit, focus="all").values).max() > 30
    # A regressor that changes sign within ordinary values is looked at everywhere.
    assert np.abs(targets.build(x, g, 2 * x[:, 0]).values).max() > 1.9


def test_probabilities_are_read_through_their_logit() -> None:
    x, _, _ = data(4_000)
    logit = 40 * x[:, 0]
    p = 1 / (1 + np.exp(-logit))
    g = (p * (1 - p))[:, None] * np.array([[40.0, 4.0, 0.0]])
    found = targets.build(x, g, p)
    assert any("probabilities" in note for note in found.notes)
    assert np.abs(logit[found.rows]).max() < 10


def test_what_cannot_be_used_is_refused_by_name() -> None:
    x, g, v = data(40)
    with pytest.raises(BadInput, match=r"\(N, d\), got \(40,\)"):
        targets.build(x[:, 0], g, v)
    with pytest.raises(BadInput, match="points' shape"):
        targets.build(x, g[:, :2], v)
    with pytest.raises(BadInput, match="40 entries"):
        targets.build(x, g, v[:3])
    with pytest.raises(BadInput, match="none of the 40 rows is finite"):
        targets.build(x, np.full_like(g, np.nan), v)
    with pytest.raises(BadInput, match="numbers"):
        targets.build([["a"]], g, v)
    with pytest.raises(DeadUnit, match="zero at all 40 points"):
        targets.build(x, np.zeros_like(g), v)
    with pytest.raises(TooFewPoints, match="at least 16"):
        targets.build(x[:9], g[:9], v[:9])
    with pytest.raises(NameMismatch, match="2 names for 3 columns"):
        targets.build(x, g, v, names=["a", "b"])
    with pytest.raises(NameMismatch, match="'a' occurs twice"):
        targets.build(x, g, v, names=["a", "a", "b"])
    with pytest.raises(UsageError, match="focus"):
        targets.build(x, g, v, focus="edge")


def test_a_fixed_sum_is_projected_along_the_ones() -> None:
    x = np.random.default_rng(0).dirichlet(np.ones(4), 300)
    projector, rank, text = tangents.estimate(x)
    assert rank == 3 and "span 3 directions" in text
    np.testing.assert_allclose(projector, np.eye(4) - 0.25, atol=1e-8)


def test_a_duplicated_column_shares_its_gradient() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    projector, rank, _ = tangents.estimate(np.column_stack([x, 5 * x[:, 0]]))
    assert rank == 2
    np.testing.assert_allclose(projector @ [1, 0, 5], [1, 0, 5], atol=1e-8)
    np.testing.assert_allclose(projector @ [5, 0, -1], 0, atol=1e-8)


def test_a_curved_surface_has_a_tangent_space_at_every_point() -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(-np.pi, np.pi, 3_000)
    x = np.column_stack([np.cos(angle), np.sin(angle), rng.uniform(-1, 1, 3_000)])
    projector, rank, text = tangents.estimate(x)
    assert rank == 2 and "curved" in text and projector.shape == (3_000, 3, 3)
    radial = np.column_stack([x[:, :2], np.zeros(3_000)])
    left = np.linalg.norm(np.einsum("nd,nde->ne", radial, projector), axis=1)
    assert np.median(left) < 0.05


def test_ordinary_data_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    for x in (rng.uniform(-1, 1, (2_000, 3)), rng.standard_normal((500, 8)), rng.standard_normal((30, 100))):
        assert tangents.estimate(x)[0] is None


def test_effective_inputs_leave_out_what_does_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, 4))
    g = np.column_stack([2 * x[:, 0], np.zeros(300), np.ones(300), 1e-9 * x[:, 1]])
    assert targets.effective(x, g / np.linalg.norm(g, axis=1, keepdims=True)) == (0, 2)


@pytest.mark.parametrize("tied", [False, True])
def test_compressing_to_a_few_inputs_keeps_every_cosine(tied: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.ones(6), 200) if tied else rng.uniform(-1, 1, (200, 6))
    found = targets.build(x, rng.standard_normal((200, 6)))
    small = screening.compressed(found, (1, 4))
    assert small.points.shape[1] == 3
    wide = np.zeros((200, 6))
    wide[:, [1, 4]] = rng.standard_normal((200, 2))
    wide = wide[: len(found.points)]
    narrow = np.column_stack([wide[:, [1, 4]], np.zeros(len(wide))])
    a, b = found.project(wide[None])[0], small.project(narrow[None])[0]
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1), atol=1e-9)
    np.testing.assert_allclose((a * found.directions).sum(1), (b * small.directions).sum(1), atol=1e-9)


@pytest.mark.parametrize("kind", ["0..2", "0..9", "flag beside others", "rounded"])
def test_columns_of_few_values_are_no_curved_set(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1_000, 3))
    if kind == "rounded":
        x = np.round(x, 1)
    elif kind == "flag beside others":
        x[:, 0] = rng.integers(0, 2, 1_000)
    else:
        x = rng.integers(0, int(kind[-1]) + 1, (1_000, 3)).astype(float)
    g = np.column_stack([x[:, 1], x[:, 0], 2 * x[:, 2]])
    found = targets.build(x, g, x[:, 0] * x[:, 1] + x[:, 2] ** 2)
    assert found.projector is None
    formula = symbolic.fit_gradients(x, g, x[:, 0] * x[:, 1] + x[:, 2] ** 2, engine="eigen", accuracy=1.5e-3)
    assert formula.expression == "x0 * x1 + x2^2"
    assert formula.verdict is Verdict.EXACT


def test_a_curved_set_given_twice_is_still_curved() -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(-np.pi, np.pi, 4_000)
    x = np.column_stack([np.cos(angle), np.sin(angle), rng.uniform(-1, 1, 4_000)])
    x = np.concatenate([x, x])
    found = targets.build(x, np.column_stack([np.ones(8_000), np.zeros(8_000), 2 * x[:, 2]]))
    assert found.manifold_dimension == 2
    radial = np.column_stack([found.points[:, :2], np.zeros(len(found.points))])
    left = np.einsum("nd,nde->ne", radial, found.projector)
    assert np.median(np.linalg.norm(left, axis=1)) < 0.1


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e6, 1e12])
@pytest.mark.parametrize("length", [1e-200, 1e200])
def test_inputs_and_gradients_may_be_of_any_size(size: float, length: float) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    g = np.column_stack([2 * x[:, 0] - x[:, 2], 4 * x[:, 1], -x[:, 0]])
    v = x[:, 0] ** 2 + 2 * x[:, 1] ** 2 - x[:, 0] * x[:, 2]
    formula = symbolic.fit_gradients(size * x, length * g, v, engine="eigen", accuracy=1.5e-3)
    assert formula.expression == "x0^2 - x0 * x2 + 2 * x1^2"
    assert formula.verdict is Verdict.EXACT


def test_few_held_out_points_are_not_enough_for_exact() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (40, 2))
    formula = symbolic.fit_gradients(x, x * [2.0, 4.0], x[:, 0] ** 2 + 2 * x[:, 1] ** 2, engine="eigen")
    assert formula.verdict is Verdict.APPROXIMATE
    assert any("held out" in reason for reason in formula.reasons)
