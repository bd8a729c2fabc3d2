"""The result class: its public surface, JSON, the notebook card; a monotone outer function changes the link only."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbolic
from interpret.errors import BadInput, ExpressionError, IndexOutOfRange, UsageError
from interpret.outcome import Verdict
from symbolic.expression import evaluate
from symbolic.formula import Coefficient, Control, Formula, Row, Summary
from symbolic.link import fit_link
from symbolic.operators import user_operator
from symbolic.parser import parse

NAMES = ("x0", "net <b>income</b>", "x2")


def example(**changes):
    points = np.random.default_rng(0).normal(size=(200, 3))
    tree, longer = parse("x0^2 + 2*sin(x1)"), parse("x0^2 + 2.01*sin(x1) - 0.1*x2")
    t = evaluate(tree, points)
    simple = Row(parse("x0"), 0.4, 0.39, 0.3, 0.5, 0.2)
    fields = {
        "rows": (simple, Row(tree, 1e-4, 9e-5, 5e-5, math.inf, math.nan), Row(longer, 9e-5)),
        "chosen": 1,
        "names": NAMES,
        "verdict": Verdict.EXACT,
        "reasons": ("every control is beaten",),
        "advice": ("look <i>closer</i>",),
        "link": fit_link(t[:100], 3 * t[:100] + 1, t[100:], 3 * t[100:] + 1),
        "coefficients": (Coefficient("sin", 2.0, 1.9, 2.1), Coefficient("c", 1.0, -math.inf, math.inf, True)),
        "controls": (Control("best linear formula", 0.4, "x0", 2.5e-4, True),),
        "alternative_rows": (Row(parse("x0^2 + 2*x1"), 1.2e-4),),
        "summary": Summary(200, 100, 100, (("zero gradient", 3),), ("a note",), (0, 1), 3),
        "messages": ("told",),
        "seconds": 1.5,
        "seed": 7,
    }
    return Formula(**(fields | changes))


def test_the_public_surface():
    formula = example()
    points = np.random.default_rng(1).normal(size=(20, 3))
    expected = points[:, 0] ** 2 + 2 * np.sin(points[:, 1])
    assert formula.expression == "x0^2 + 2 * sin(`net <b>income</b>`)"
    assert formula.verdict is Verdict.EXACT
    assert formula.misalignment == 1e-4
    assert formula.misalignment_interval == (5e-5, math.inf)
    np.testing.assert_allclose(formula.numpy()(points), expected)
    np.testing.assert_allclose(formula.torch()(torch.tensor(points)).detach().numpy(), expected)
    np.testing.assert_allclose(formula.predict(points), 3 * expected + 1, atol=1e-9)
    assert formula.sympy(row=0) == sympy.Symbol("x0", real=True)
    assert formula.latex(row=-1).endswith(r"0.1 \, x_{2}")
    assert ElementTree.fromstring(formula.mathml()).tag == "math"
    assert formula.variables() == NAMES[:2]
    assert formula.operator_names() == ("*", "+", "^", "sin")
    assert formula.row().terms == 2 and formula.row().complexity == 8
    assert str(formula) == formula.expression + "   [EXACT, misalignment 0.0001]"


def test_the_frontier_is_a_table():
    frontier = example().frontier
    columns = [
        "complexity",
        "cost",
        "terms",
        "misalignment",
        "fitted",
        "lower",
        "upper",
        "mse",
        "expression",
        "chosen",
    ]
    assert list(frontier.columns) == columns
    assert frontier.chosen.tolist() == [False, True, False]
    assert frontier.expression[0] == "x0"
    alternatives = example().alternatives
    assert alternatives.expression.tolist() == ["x0^2 + 2 * `net <b>income</b>`"]
    assert not alternatives.chosen.any()


@pytest.mark.parametrize("row", [3, -4])
def test_a_row_that_is_not_there(row):
    with pytest.raises(IndexOutOfRange, match="frontier of 3 rows"):
        example().latex(row=row)
    with pytest.raises(IndexError):
        example().row(row)


def test_it_is_frozen_and_checked():
    with pytest.raises(FrozenInstanceError):
        example().chosen = 0
    with pytest.raises(UsageError, match="chosen row 3"):
        example(chosen=3)


def test_without_values_there_is_no_link():
    with pytest.raises(UsageError, match="pass values="):
        example(link=None).predict(np.zeros((1, 3)))


def test_json_round_trip():
    for formula in (example(), example(link=None), example(verdict=Verdict.NONE, interrupted=True)):
        text = formula.to_json()
        again = Formula.from_json(text)
        assert again.to_json() == text
        assert [row.tree for row in again.rows] == [row.tree for row in formula.rows]
        assert again.link == formula.link
        assert again.verdict is formula.verdict
        assert math.isinf(again.rows[1].upper) and math.isnan(again.rows[1].mse)
        assert again.coefficients == formula.coefficients
        assert again.controls == formula.controls
        assert again.summary == formula.summary
        json.loads(text, parse_constant=pytest.fail)


def test_json_of_user_operators_needs_them():
    bump = user_operator("bump", np.exp, np.exp)
    formula = example(rows=(Row(parse("bump(x0)", None, [bump]), 0.1),), chosen=0, operators=(bump,))
    text = formula.to_json()
    assert Formula.from_json(text, [bump]).tree == formula.tree
    with pytest.raises(ExpressionError, match="bump"):
        Formula.from_json(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [("verdict", "MAYBE"), ("rows", None), ("rows", [{"tree": {"x": 0}}]), ("names", 3), ("version", 99),
     ("link", {"kind": "affine"}),
     ("chosen", 17), ("format", "other"), ("summary", {"dropped": [], "notes": [], "effective_inputs": [], "extra": 1}),
     ("rows", [{"tree": ["__import__", "os"], "misalignment": 0}])],
)  # fmt: skip
def test_damaged_json_is_refused(key, value):
    plain = json.loads(example().to_json()) | {key: value}
    with pytest.raises((BadInput, ExpressionError, UsageError)):
        Formula.from_json(json.dumps(plain))
    for text in ("", "[]", "{}", "[" * 10000):
        with pytest.raises(BadInput):
            Formula.from_json(text)


def test_the_card_escapes_everything():
    card = example()._repr_html_()
    assert "<b>income" not in card and "<i>closer" not in card
    assert "&lt;i&gt;closer" in card
    ElementTree.fromstring(card)
    assert "not claimed" in example(verdict=Verdict.NONE)._repr_html_()
    assert "not claimed" not in card
    bundle = example()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/latex", "text/plain"}
    assert bundle["text/latex"].startswith("$")


def test_long_frontiers_are_cut_in_the_card_only():
    rows = tuple(Row(parse(f"x0 + {k}*x1"), 0.1) for k in range(1, 60))
    formula = example(rows=rows, chosen=50)
    assert formula._repr_html_().count("<tr") == 13
    assert "font-weight:bold" in formula._repr_html_()
    assert len(formula.frontier) == 59


OUTER = {
    "affine": (lambda g: 3 * g - 2, lambda g: 3 + 0 * g),
    "falling": (lambda g: 1 - g, lambda g: -1 + 0 * g),
    "exp": (lambda g: np.exp(0.4 * g), lambda g: 0.4 * np.exp(0.4 * g)),
    "atan": (np.arctan, lambda g: 1 / (1 + g**2)),
    "cubic": (lambda g: g**3 + g, lambda g: 3 * g**2 + 1),
}


def fitted(function, derivative):
    points = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    g = points[:, 0] ** 2 + 2 * points[:, 1]
    slopes = np.stack([2 * points[:, 0], 2 + 0 * g], 1)
    gradients = derivative(g)[:, None] * slopes
    return symbolic.fit_gradients(points, gradients, function(g), focus="all", seed=3, accuracy=1e-3)


@cache
def plain():
    return fitted(lambda g: g, np.ones_like)


@given(name=st.sampled_from(sorted(OUTER)), scale=st.floats(0.1, 10))
@settings(max_examples=8, deadline=None)
def test_a_monotone_outer_function_changes_nothing_but_the_link(name, scale):
    function, derivative = OUTER[name]
    first = plain()
    second = fitted(lambda g: scale * function(g), lambda g: scale * derivative(g))
    assert second.expression == first.expression == "x0^2 + 2 * x1"
    assert [row.tree for row in second.rows] == [row.tree for row in first.rows]
    assert second.coefficients == first.coefficients
    assert second.verdict is first.verdict
    assert second.link.increasing == (derivative(np.float64(0.3)) > 0)
    assert second.link.r2 > 0.998
