"""Cheap algebra keeps values and gradients; the same concept is recognised, another is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbolic.equivalence import (
    canonical,
    cross_terms,
    drop_shift,
    group,
    same_concept,
    same_direction,
    strip_outer,
)
from symbolic.expression import (
    Apply,
    Constant,
    Variable,
    complexity,
    evaluate,
    expand_terms,
    linear,
    value_and_gradient,
    variables,
)
from symbolic.operators import BUILTIN
from symbolic.parser import parse
from symbolic.printing import text
from symbolic.simplify import multiply_out, tidy

X = np.random.default_rng(0).uniform(0.5, 2, (60, 6))


def trees(names=("+", "-", "*", "/", "^", "neg", "sin", "exp", "square", "inv", "abs", "log", "sqrt")):
    numbers = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 0.7])
    leaves = st.integers(0, 2).map(Variable) | numbers.map(Constant)

    def grow(inner):
        return st.sampled_from(names).flatmap(
            lambda name: st.tuples(*[inner] * BUILTIN[name].arity).map(lambda args: Apply(name, args))
        )

    return st.recursive(leaves, grow, max_leaves=10)


@given(trees())
@settings(max_examples=300, deadline=None)
def test_tidying_is_an_identity_where_the_original_is_finite(tree):
    same_values(tree, tidy(tree))


@given(trees(names=("+", "-", "*", "neg", "square", "cube", "sin")))
@settings(max_examples=200, deadline=None)
def test_multiplying_out_is_an_identity(tree):
    terms = multiply_out(tree)
    same_values(tree, linear([c for c, _ in terms], [feature for _, feature in terms]))
    assert len({feature for _, feature in terms}) == len(terms)


def same_values(tree, other):
    values, gradients = value_and_gradient(tree, X[:, :3])
    usable = (
        np.isfinite(values)
        & np.isfinite(gradients).all(1)
        & (np.abs(values) < 1e9)
        & (np.abs(gradients).max(1) < 1e9)
    )
    again, slopes = value_and_gradient(other, X[:, :3])
    # Sums of large terms that cancel lose digits; the scale is that of every part.
    parts = [np.abs(evaluate(node, X[:, :3])) for node in walk(tree)]
    scale = np.nanmax(np.where(np.isfinite(parts), parts, 0), axis=0)[usable] + 1
    keep = scale < 1e6
    np.testing.assert_allclose(again[usable][keep], values[usable][keep], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slopes[usable][keep], gradients[usable][keep], rtol=1e-5, atol=1e-4)


def walk(tree):
    yield tree
    for child in getattr(tree, "args", ()):
        yield from walk(child)


@pytest.mark.parametrize(
    ("written", "tidied"),
    [
        ("(x0 * x0) + (((x1 + x1) * x1) + -3.5)", "x0^2 + 2 * x1^2 - 3.5"),
        ("x0/x0 + x1", "x1 + 1"),
        ("x0 - x0", "0"),
        ("x1*x0 + x0*x1", "2 * (x0 * x1)"),
        ("square(inv(x0))*cube(x0)", "x0"),
        ("3/(x0*2)", "1.5 / x0"),
        ("log(exp(x0))", "x0"),
        ("abs(-x0)", "abs(x0)"),
        ("(x0^2)^0.5", "(x0^2)^0.5"),
        ("2*3 + sin(0)", "6"),
        ("log(-1) + x0", "log(-1) + x0"),
        ("0*sin(x0)", "0"),
    ],
)
def test_tidy(written, tidied):
    assert text(tidy(parse(written))) == tidied


def test_tidying_twice_changes_nothing():
    for written in ("(x1+x0)*(x0+x1)/x0", "exp(x0*2)*3 - -x1", "x2*x1*x0/(x1*x1)"):
        once = tidy(parse(written))
        assert tidy(once) == once


def test_multiplying_out_known_products():
    def terms(written):
        return {text(feature): c for c, feature in multiply_out(parse(written))}

    assert terms("(x0 + x1)^2") == {"x0^2": 1, "x0 * x1": 2, "x1^2": 1}
    assert terms("x0*x1 - (x2-x3)^2 - (x4-x5)^2") == {
        "x0 * x1": 1, "x2^2": -1, "x2 * x3": 2, "x3^2": -1, "x4^2": -1, "x4 * x5": 2, "x5^2": -1,
    }  # fmt: skip
    assert terms("(x0 - 1)*(x0 + 1)") == {"x0^2": 1, "1": -1}
    assert terms("sin((x0+x1)^2)/(x0+x1)") == {"sin((x0 + x1)^2) / (x0 + x1)": 1}
    # A power too large to write out stays as it is.
    assert terms("(x0+x1+x2+x3+x4)^8") == {"(x0 + x1 + x2 + x3 + x4)^8": 1}


SAME = [
    ("x0*x1", "log(x0) + log(x1)"),
    ("x0^2 + 2*x1^2", "3.5 - 0.5*x0^2 - x1^2"),
    ("x0*exp(-(x1^2 + x2^2)/2)", "log(x0) - x1^2/2 - x2^2/2"),
    ("x0/x1", "atan(x1/x0)"),
    ("exp(sin(x0) + x1)", "sin(x0) + x1"),
]
OTHER = [
    ("x0*x1", "x0*x1 + 0.01*x0"),
    ("x0", "x1"),
    ("x0^2 + x1", "x0^2 + 1.001*x1"),
    ("x0 - 1", "(x0 - 1)^2"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_monotone_functions_of_one_another_are_the_same_concept(a, b):
    assert same_concept(parse(a), parse(b), X)
    assert same_concept(parse(b), parse(a), X)


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_other_concepts_are_not(a, b):
    assert not same_concept(parse(a), parse(b), X)


def test_constants_encode_nothing():
    assert not same_concept(Constant(1.0), Constant(2.0), X)
    assert not same_concept(Constant(1.0), Variable(0), X)


def test_groups_are_in_order_of_appearance():
    trees = [parse(t) for t in ("x0*x1", "x0", "log(x0) + log(x1)", "-x0", "x2")]
    assert group(trees, X) == [[0, 2], [1, 3], [4]]


@given(st.integers(0, 1000), st.integers(2, 6))
@settings(max_examples=50, deadline=None)
def test_cross_terms_are_all_pairs(seed, d):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(3, d)), rng.normal(size=(3, d))
    pairs = sum((a[:, i] * b[:, j] - a[:, j] * b[:, i]) ** 2 for i in range(d) for j in range(i))
    expected = np.sqrt(pairs) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cross_terms(a, b), expected, rtol=1e-9, atol=1e-12)


def test_small_angles_and_large_gradients_keep_their_digits():
    angle = 1e-9
    a, b = np.array([[1.0, 0.0]]), np.array([[np.cos(angle), np.sin(angle)]])
    assert cross_terms(a, b)[0] == pytest.approx(angle, rel=1e-6)
    assert cross_terms(1e200 * a, b)[0] == pytest.approx(angle, rel=1e-6)
    assert same_direction(1e200 * a, -1e-200 * a)
    assert not same_direction(np.array([[1.0, 0], [1, 0]]), np.array([[1.0, 0], [-1, 0]]))


@pytest.mark.parametrize(
    ("written", "left", "removed"),
    [
        ("exp(3*x0 + 2)", "x0", ("exp",)),
        ("log(sqrt(x0*x1))", "x0 * x1", ("log", "sqrt")),
        ("2 - 5*tanh(x0 + x1)", "x0 + x1", ("tanh",)),
        ("(x0 + x1)^3", "x0 + x1", ("^",)),
        ("1/(x0 + x1)", "x0 + x1", ("/",)),
        ("(x0*x1)^2", "x0 * x1", ("*",)),
        ("x0^2/x1^4", "x0 / x1^2", ("/",)),
        ("x0^2*x1", "x0^2 * x1", ()),
        ("5/(x0 + 3)", "x0", ("/",)),
        ("1/(x0 - 1)", "1 / (x0 - 1)", ()),
        ("2^(x0 - x1)", "x0 - x1", ("^",)),
        ("sin(x0 + x1)", "sin(x0 + x1)", ()),
        ("(x0 - 1)^2", "(x0 - 1)^2", ()),
        ("abs(x0 - x1)", "abs(x0 - x1)", ()),
        ("3*x0*x1 - 7", "x0 * x1", ()),
    ],
)
def test_outer_functions_are_stripped(written, left, removed):
    found = strip_outer(tidy(parse(written)), X)
    assert text(found.tree) == left
    assert found.removed == removed


def test_one_sided_functions_need_points():
    tree = parse("(x0*x1)^2")
    assert strip_outer(tree).tree == tree
    assert strip_outer(parse("(x0*x1)^3")).tree == parse("x0*x1")


@given(trees(names=("+", "-", "*", "sin", "exp", "square")))
@settings(max_examples=150, deadline=None)
def test_the_canonical_form_is_the_same_concept_and_no_longer(tree):
    short = canonical(tree, X[:, :3])
    assert complexity(short) <= complexity(tidy(tree))
    gradients, others = (value_and_gradient(t, X[:, :3])[1] for t in (tree, short))
    size = np.abs(gradients).max(initial=0)
    usable = np.isfinite(gradients).all(1) & np.isfinite(others).all(1)
    usable &= (
        (np.linalg.norm(gradients, axis=1) > 1e-6 * (1 + size)) & (np.abs(others).max(1) < 1e6) & (size < 1e6)
    )
    usable &= np.abs(others).max(1) > 1e-6
    if variables(short) and usable.any():
        assert cross_terms(gradients[usable], others[usable]).max() < 1e-4


def test_dropping_the_shift_scales_the_first_coefficient_to_one():
    assert expand_terms(drop_shift(parse("4 - 2*x0 + 6*x1"))) == [(1.0, Variable(0)), (-3.0, Variable(1))]
    assert drop_shift(Constant(4.0)) == Constant(4.0)
