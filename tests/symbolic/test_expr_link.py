"""The link: closed forms are found, the isotonic fit stands behind them, R² is honest."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import BadInput, TooFewPoints
from symbolic.link import Link, _isotonic, fit_link, r_squared


def sigma(x):
    return 1 / (1 + np.exp(-x))


SHAPES = {
    "affine": ("affine", lambda t: 3 * t - 1),
    "falling": ("affine", lambda t: -0.5 * t + 4),
    "logit": ("logit", lambda t: sigma(2 * t - 4)),
    "tanh": ("logit", lambda t: 5 - 2 * np.tanh(t - 2)),
    "exp": ("exp", lambda t: 2 - 3 * np.exp(0.8 * t)),
    "decay": ("exp", lambda t: np.exp(-0.8 * t)),
    "log": ("log", lambda t: np.log(t + 6)),
    "log from the right": ("log", lambda t: 1 - 2 * np.log(9 - t)),
    "cube": ("power", lambda t: (t - 1) ** 3),
    "root": ("power", lambda t: np.sqrt(t + 8)),
    "no closed form": ("isotonic", lambda t: t + np.sin(t)),
}


def pair(shape, noise=0.0, count=600, seed=0):
    rng = np.random.default_rng(seed)
    t = np.clip(rng.normal(2, 1.5, count), -3, 7)
    g = shape(t) + noise * rng.normal(size=count)
    half = count // 2
    return t[:half], g[:half], t[half:], g[half:]


@pytest.mark.parametrize("name", SHAPES)
def test_the_closed_form_is_found(name):
    kind, shape = SHAPES[name]
    t, g, held_t, held_g = pair(shape)
    link = fit_link(t, g, held_t, held_g)
    assert link.kind == kind
    assert link.monotone
    assert link.r2 > (0.999 if kind == "isotonic" else 1 - 1e-8)
    assert link.increasing == (shape(np.array([3.0])) > shape(np.array([2.0])))[0]
    assert np.all(np.diff(link.levels) > 0) == link.increasing
    np.testing.assert_allclose(link.predict(held_t), held_g, atol=(0.1 if kind == "isotonic" else 1e-3))


def test_the_straight_line_is_preferred_under_noise():
    link = fit_link(*pair(lambda t: 2 * t, noise=0.1))
    assert link.kind == "affine"
    assert link.r2 == pytest.approx(1 - 0.01 / (4 * 1.5**2), abs=3e-3)


def test_r_squared_is_the_held_out_one():
    t, g, held_t, held_g = pair(lambda t: 2 * t)
    link = fit_link(t, g, held_t, -held_g)
    assert link.fitted_r2 == pytest.approx(1)
    assert link.r2 < -1


def test_what_is_not_monotone_is_not_called_so():
    link = fit_link(*pair(lambda t: t + 0.9 * np.sin(2 * t)))
    assert link.kind == "isotonic"
    assert not link.monotone
    folded = fit_link(*pair(lambda t: (t - 2) ** 2))
    assert folded.r2 < 0.9


@pytest.mark.parametrize("steepness", [4, 20, 100])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_saturated_link_is_monotone(steepness, precision):
    rng = np.random.default_rng(0)
    t = rng.uniform(-2, 2, 2_000) * rng.uniform(-2, 2, 2_000) - rng.uniform(-2, 2, 2_000)
    g = sigma(np.clip(steepness * t, -700, 700)).astype(precision).astype(np.float64)
    link = fit_link(t[:1_000], g[:1_000], t[1_000:], g[1_000:])
    assert link.monotone
    assert link.r2 > 0.999


@pytest.mark.parametrize(
    ("shape", "monotone"),
    [
        (lambda t: np.tanh(8 * t) + 0.3 * np.tanh(30 * (t - 1)), True),
        (lambda t: np.tanh(8 * t) + 0.3 * np.tanh(30 * (t + 1)) - np.tanh(20 * (t - 1.5)), False),
        (lambda t: np.maximum(t, 0), False),
        (lambda t: np.sin(3 * t), False),
    ],
)
def test_a_flat_end_is_told_from_a_fold_and_from_a_break(shape, monotone):
    t = np.random.default_rng(1).uniform(-3, 3, 2_000)
    g = shape(t)
    assert _isotonic(t[:1_000], g[:1_000]).monotone is monotone


def test_noise_without_any_relation_scores_zero():
    rng = np.random.default_rng(0)
    link = fit_link(rng.normal(size=300), rng.normal(size=300), rng.normal(size=300), rng.normal(size=300))
    assert link.r2 < 0.1


def test_closed_forms_do_not_claim_the_isotonic_fit_is_worse_than_it_is():
    # Isotonic is the best monotone fit of the fitting rows: no closed form may be accepted far below it.
    for name, (_, shape) in SHAPES.items():
        t, g, held_t, held_g = pair(shape, noise=0.02, seed=3)
        link = fit_link(t, g, held_t, held_g)
        assert link.fitted_r2 > 0.98, name


@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_adding_a_monotone_outer_function_changes_nothing_but_the_link(seed, scale, shift):
    # The same T, another unit of g: the direction and the fit stay.
    t, g, held_t, held_g = pair(np.tanh, seed=seed)
    first = fit_link(t, g, held_t, held_g)
    second = fit_link(t, scale * g + shift, held_t, scale * held_g + shift)
    assert second.kind == first.kind
    assert second.r2 == pytest.approx(first.r2, abs=1e-6)
    np.testing.assert_allclose(
        second.predict(held_t), scale * first.predict(held_t) + shift, atol=1e-3 * scale
    )


def test_rows_outside_the_domain_count_as_unexplained():
    t, g, held_t, held_g = pair(lambda t: 2 * t)
    broken = held_t.copy()
    broken[::2] = np.nan
    link = fit_link(t, g, broken, held_g)
    assert 0.3 < link.r2 < 0.7
    assert np.isnan(link.predict([np.nan, np.inf])).all()
    assert r_squared(np.ones(5), np.ones(5)) != r_squared(np.ones(5), np.ones(5))


def test_predictions_go_on_beyond_the_table():
    link = fit_link(*pair(lambda t: t + np.sin(t)))
    far = link.predict([-100.0, 100.0])
    assert far[0] < link.levels[0] and far[1] > link.levels[-1]


def test_a_constant_neuron_has_no_r_squared():
    t, _, held_t, _ = pair(np.tanh)
    link = fit_link(t, np.ones(len(t)), held_t, np.ones(len(held_t)))
    assert np.isnan(link.r2)
    assert not link.monotone


@pytest.mark.parametrize("name", SHAPES)
def test_json_round_trip(name):
    link = fit_link(*pair(SHAPES[name][1]))
    again = Link.from_plain(json.loads(json.dumps(link.to_plain(), allow_nan=False)))
    assert again == link
    assert hash(again) == hash(link)
    assert again.text == link.text
    points = np.linspace(-3, 7, 50)
    np.testing.assert_array_equal(again.predict(points), link.predict(points))


@pytest.mark.parametrize("damage", [{"kind": "magic"}, {"knots": "x"}, {"extra": 1}, {"parameters": None}])
def test_damaged_json_is_refused(damage):
    plain = fit_link(*pair(np.tanh)).to_plain() | damage
    with pytest.raises(BadInput):
        Link.from_plain(plain)


def test_bad_rows_are_named():
    t, g, held_t, held_g = pair(np.tanh)
    with pytest.raises(BadInput, match="300 formula values and 299 neuron values"):
        fit_link(t, g[1:], held_t, held_g)
    g[7] = np.nan
    with pytest.raises(BadInput, match="row 7"):
        fit_link(t, g, held_t, held_g)
    with pytest.raises(TooFewPoints, match="finite at 3"):
        fit_link([1.0, 2, 3, np.nan], [1.0, 2, 3, 4], [1.0], [1.0])


def test_the_text_is_the_function():
    assert fit_link(*pair(lambda t: 3 * t - 1)).text == "3·t - 1"
    assert fit_link(*pair(lambda t: 2 - 3 * np.exp(0.8 * t))).text == "2 - 3·exp(0.8·t)"
    assert fit_link(*pair(lambda t: np.log(t + 6))).text.endswith("1·log(t + 6)")
