"""The linear heart against slow references written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh

from symbolic import arrays, gram, supports


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    v = rng.standard_normal((n, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@given(seed=st.integers(0, 10_000), d=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_turning_keeps_lengths_and_puts_the_direction_first(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    u, g = unit(rng, 9, d), rng.standard_normal((3, 9, d))
    turned = gram.turn(g, u)
    np.testing.assert_allclose(turned[..., 0], np.einsum("knd,nd->kn", g, u), atol=1e-12)
    np.testing.assert_allclose((turned**2).sum(-1), (g**2).sum(-1), rtol=1e-12)
    inner = np.einsum("knd,lnd->kln", turned, turned)
    np.testing.assert_allclose(inner, np.einsum("knd,lnd->kln", g, g), atol=1e-11)


def test_a_direction_along_the_first_axis_is_no_special_case() -> None:
    g = np.arange(6.0).reshape(1, 2, 3)
    for sign in (1.0, -1.0):
        u = np.tile([sign, 0.0, 0.0], (2, 1))
        np.testing.assert_allclose(gram.turn(g, u)[..., 0], sign * g[..., 0])


def slow_misalignment(field: np.ndarray, u: np.ndarray) -> float:
    cosines = [v @ w / np.linalg.norm(v) for v, w in zip(field, u, strict=True)]
    return 1 - abs(sum(cosines) / len(cosines))


def test_misalignment_is_its_definition_and_keeps_digits_near_zero() -> None:
    rng = np.random.default_rng(0)
    u, g = unit(rng, 50, 3), rng.standard_normal((50, 3))
    assert gram.misalignment(gram.turn(g[None], u))[0] == pytest.approx(slow_misalignment(g, u), rel=1e-12)
    side = np.cross(u, unit(rng, 50, 3))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    for angle in (1e-4, 1e-8, 1e-12):
        near = np.cos(angle) * u + np.sin(angle) * side
        assert gram.misalignment(gram.turn(near[None], u))[0] == pytest.approx(
            2 * np.sin(angle / 2) ** 2, rel=1e-3
        )
        assert gram.misalignment(gram.turn(-near[None], u))[0] == pytest.approx(
            2 * np.sin(angle / 2) ** 2, rel=1e-3
        )


def test_overflow_and_zero_fields_never_pass_for_aligned() -> None:
    u = np.tile([1.0, 0.0], (5, 1))
    for size in (1e200, 0.0):
        assert gram.misalignment(np.full((1, 5, 2), size))[0] > 0.5
    assert u.shape == (5, 2)


def test_the_smallest_eigenpair_is_scipys() -> None:
    rng = np.random.default_rng(1)
    for m in (1, 2, 5):
        features = rng.standard_normal((4, m, 30, 3))
        w = rng.uniform(0.5, 2, (4, 30))
        a, b = gram.pencil(features, w)
        found, vectors = gram.smallest(a, b)
        for k in range(4):
            slow_b = sum(w[k, n] * features[k, :, n] @ features[k, :, n].T for n in range(30))
            along = features[k, :, :, 0]
            slow_a = slow_b - (along * w[k]) @ along.T
            values, best = eigh(slow_a, slow_b)
            assert found[k, 0] == pytest.approx(values[0], abs=1e-10)
            cosine = abs(vectors[k, 0] @ slow_b @ best[:, 0]) / np.sqrt(
                vectors[k, 0] @ slow_b @ vectors[k, 0]
            )
            assert cosine == pytest.approx(1, abs=1e-7)


def test_dependent_features_do_not_fake_a_zero_eigenvalue() -> None:
    # x0x1, (x0+x1)² and (x0−x1)²: one combination has no gradient at all, and λ = 0/0.
    rng = np.random.default_rng(2)
    x, u = rng.uniform(-1, 1, (60, 2)), unit(rng, 60, 2)
    product = x[:, ::-1]
    plus = 2 * (x.sum(1))[:, None] * np.ones((60, 2))
    minus = 2 * (x[:, :1] - x[:, 1:]) * np.array([1.0, -1.0])
    turned = gram.turn(np.array([product, plus, minus]), u)
    solved = gram.solve(turned[None])
    assert solved.misalignment[0] > 0.2


def test_an_exact_combination_is_recovered_with_its_coefficients() -> None:
    rng = np.random.default_rng(3)
    basis = rng.standard_normal((3, 80, 4))
    truth = np.array([1.0, -0.3, 2.5])
    field = np.einsum("k,knd->nd", truth, basis)
    turned = gram.turn(basis, field / np.linalg.norm(field, axis=1, keepdims=True))
    solved = gram.solve(turned[None])
    assert solved.misalignment[0] < 1e-20
    np.testing.assert_allclose(solved.coefficients[0] / solved.coefficients[0, 0], truth, rtol=1e-8)


def test_pairs_in_closed_form_are_the_general_solution() -> None:
    rng = np.random.default_rng(4)
    turned = rng.standard_normal((12, 40, 3))
    first, second = np.triu_indices(12, 1)
    losses, coefficients = gram.solve_pairs(turned, first, second, rounds=3)
    slow = gram.solve(turned[np.stack([first, second], 1)], rounds=3)
    np.testing.assert_allclose(losses, slow.misalignment, atol=1e-9)
    assert coefficients.shape == (66, 2)


def test_the_secular_equation_gives_the_bordered_eigenvalue() -> None:
    rng = np.random.default_rng(5)
    alpha = np.sort(rng.uniform(0, 1, 3))
    border, corner = 0.2 * rng.standard_normal((20, 3)), rng.uniform(0, 1, 20)
    found = supports.secular(alpha, border, corner, rounds=60)
    for k in range(20):
        full = np.diag([*alpha, corner[k]])
        full[:3, 3] = full[3, :3] = border[k]
        assert found[k] == pytest.approx(np.linalg.eigvalsh(full)[0], abs=1e-9)


def test_additions_rank_as_solving_every_bordered_problem_does() -> None:
    rng = np.random.default_rng(6)
    turned = rng.standard_normal((10, 60, 3))
    search = supports.Search(turned, np.ones(10))
    w = rng.uniform(0.5, 2, 60)
    score = search._additions((1, 4), None, w)
    for k in set(range(10)) - {1, 4}:
        a, b = gram.pencil(turned[None, [1, 4, k]], w[None])
        assert score[k] == pytest.approx(gram.smallest(a, b)[0][0, 0], abs=1e-4)
    assert np.isinf(score[[1, 4]]).all()


def test_backward_elimination_finds_what_forward_steps_miss() -> None:
    # A signed sum of squares: no pair of squares says much, all six together are exact.
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 1, (300, 6))
    signs = np.array([1, -1, 1, -1, 1, -1.0])
    field = 2 * signs * x
    u = field / np.linalg.norm(field, axis=1, keepdims=True)
    pieces = [np.where(np.arange(6) == i, 2 * x, 0.0) for i in range(6)]
    pieces += [np.zeros((300, 6)) for _ in range(15)]
    at = 6
    for i in range(6):
        for j in range(i + 1, 6):
            pieces[at][:, i], pieces[at][:, j] = x[:, j], x[:, i]
            at += 1
    search = supports.Search(gram.turn(np.array(pieces), u), np.ones(21), supports.Effort(backward=0))
    pool = search.run([list(range(21))])
    support, loss, coefficients = pool.best(6, 1)[0]
    assert support == (0, 1, 2, 3, 4, 5)
    assert loss < 1e-12
    np.testing.assert_allclose(coefficients / coefficients[0], signs, rtol=1e-6)


def test_a_vector_that_points_both_ways_is_not_taken_for_aligned() -> None:
    # û flips sign with x0: the eigenproblem is blind to it, |mean cos| is not.
    rng = np.random.default_rng(8)
    x = rng.uniform(-1, 1, (200, 2))
    u = np.sign(x[:, :1]) * np.array([[1.0, 0.0]])
    turned = gram.turn(np.tile([1.0, 0.0], (1, 200, 1)), u)
    assert gram.solve(turned[None]).misalignment[0] > 0.8


def test_asked_for_the_best_few_the_others_are_not_bisected_to_the_end() -> None:
    rng = np.random.default_rng(7)
    search = supports.Search(rng.standard_normal((120, 60, 3)), np.ones(120))
    w = rng.uniform(0.5, 2, 60)
    full, few = search._additions((1, 4), None, w), search._additions((1, 4), None, w, count=6)
    best = np.argsort(full, kind="stable")[:6]
    assert (np.argsort(few, kind="stable")[:6] == best).all()
    assert (few[best] == full[best]).all()
    assert np.isinf(few).sum() > 60


@pytest.mark.parametrize("width", [0, 1, 2, 4, 7, 8, 11])
def test_sums_and_medians_are_those_of_numpy_to_the_bit(width: int) -> None:
    rng = np.random.default_rng(width)
    values = rng.standard_normal((3, 50, width))
    assert (arrays.total(values) == values.sum(-1)).all()
    for count in (1, 2, 7, 50):
        few = rng.standard_normal(count)
        assert arrays.middle(few) == np.median(few)
    assert np.isnan(arrays.middle(np.array([1.0, np.nan, 2.0, 3.0])))
