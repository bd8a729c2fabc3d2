"""Trees: values and gradients against autograd, sums taken apart and put together, JSON."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import BadInput, ExpressionError
from symbolic.exports import to_torch
from symbolic.expression import (
    MAX_DEPTH,
    Apply,
    Constant,
    Variable,
    complexity,
    constants,
    depth,
    evaluate,
    expand_terms,
    from_json,
    linear,
    operators_in,
    substitute,
    to_json,
    value_and_gradient,
    variables,
    with_constants,
)
from symbolic.operators import BUILTIN, Operator, lookup, table, user_operator
from symbolic.parser import parse
from symbolic.sensitivity import gradient_by_constants

UNARY = sorted(name for name, op in BUILTIN.items() if op.arity == 1)
BINARY = sorted(name for name, op in BUILTIN.items() if op.arity == 2)
NUMBERS = st.floats(-1e3, 1e3, allow_nan=False).map(lambda v: v + 0.0)


def trees(width=3, numbers=NUMBERS, unary=UNARY, binary=BINARY):
    leaves = st.integers(0, width - 1).map(Variable) | numbers.map(Constant)

    def grow(inner):
        one = st.tuples(st.sampled_from(unary), inner).map(lambda p: Apply(p[0], (p[1],)))
        two = st.tuples(st.sampled_from(binary), inner, inner).map(lambda p: Apply(p[0], (p[1], p[2])))
        return one | two

    return st.recursive(leaves, grow, max_leaves=12)


# Where every operator is smooth and finite: (low, high) of its argument.
DOMAIN = {
    "log": (0.1, 5),
    "sqrt": (0.1, 5),
    "asin": (-0.9, 0.9),
    "acos": (-0.9, 0.9),
    "tan": (-1.4, 1.4),
    "inv": (0.2, 5),
}


@pytest.mark.parametrize("name", UNARY)
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_the_gradient_of_every_unary_operator_is_autograds(name, data):
    low, high = DOMAIN.get(name, (-5, 5))
    x = data.draw(st.floats(low, high).filter(lambda v: name != "abs" or v != 0))
    # The chain rule too: the operator of a scaled input.
    tree = Apply(name, (Apply("*", (Constant(1.0), Variable(1))),))
    agree(tree, np.array([[0.3, x]]))


@pytest.mark.parametrize("name", BINARY)
@given(st.floats(0.1, 4), st.floats(0.1, 4))
@settings(max_examples=25, deadline=None)
def test_the_gradient_of_every_binary_operator_is_autograds(name, a, b):
    agree(Apply(name, (Variable(0), Variable(1))), np.array([[a, b]]))


@given(trees(numbers=st.floats(-3, 3)), st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_gradients_of_whole_trees_are_autograds(tree, seed):
    agree(tree, np.random.default_rng(seed).uniform(0.2, 2, (5, 3)))


def agree(tree, X):
    values, gradients = value_and_gradient(tree, X)
    inputs = torch.tensor(X, requires_grad=True)
    theirs = to_torch(tree, trainable=False)(inputs)
    (slopes,) = torch.autograd.grad(theirs.sum() + 0 * inputs.sum(), inputs)
    expected, slopes = theirs.detach().numpy(), slopes.numpy()
    # Beyond the range of float64, or outside a domain, conventions differ; where all is finite they must not.
    usable = np.isfinite(expected) & np.isfinite(slopes).all(1) & np.isfinite(gradients).all(1)
    usable &= (np.abs(slopes).max(1) < 1e12) & (np.abs(expected) < 1e12)
    scale = 1 + np.abs(slopes[usable]).max(initial=0) + np.abs(expected[usable]).max(initial=0)
    np.testing.assert_allclose(values[usable], expected[usable], rtol=1e-8, atol=1e-9 * scale)
    np.testing.assert_allclose(gradients[usable], slopes[usable], rtol=1e-7, atol=1e-8 * scale)


def test_most_random_trees_are_usable():
    # The property above would hold of nothing at all if every row were skipped.
    X = np.random.default_rng(0).uniform(0.2, 2, (5, 3))
    for name in UNARY + BINARY:
        op = BUILTIN[name]
        tree = Apply(name, (Apply("/", (Variable(0), Constant(3.0))), Variable(1))[: op.arity])
        values, gradients = value_and_gradient(tree, X)
        assert np.isfinite(values).all() and np.isfinite(gradients).all(), name


def test_a_known_formula():
    tree = parse("x0^2 + 2*sin(2.3*x1) - x2/x0")
    X = np.random.default_rng(0).uniform(0.5, 2, (50, 4))
    x0, x1, x2, _ = X.T
    values, gradients = value_and_gradient(tree, X)
    np.testing.assert_allclose(values, x0**2 + 2 * np.sin(2.3 * x1) - x2 / x0, rtol=1e-14)
    expected = np.stack([2 * x0 + x2 / x0**2, 4.6 * np.cos(2.3 * x1), -1 / x0, 0 * x0], 1)
    np.testing.assert_allclose(gradients, expected, rtol=1e-13)
    assert values.dtype == gradients.dtype == np.float64
    assert complexity(tree) == 14
    assert depth(tree) == 6
    assert variables(tree) == (0, 1, 2)
    assert operators_in(tree) == ("*", "+", "-", "/", "^", "sin")
    assert np.array_equal(evaluate(tree, X), values)


def test_outside_the_domain_is_nan_without_a_warning(recwarn):
    X = np.array([[-1.0], [0.0], [2.0]])
    values, gradients = value_and_gradient(parse("log(x0)"), X)
    assert np.isnan(values[0]) and np.isnan(gradients[0, 0])
    assert values[1] == -np.inf
    assert gradients[2, 0] == 0.5
    assert not recwarn.list


@pytest.mark.parametrize("text", ["x0^2", "square(x0)", "cube(x0)", "x0^3", "x0^1", "x0^0 + x0"])
def test_powers_are_differentiable_at_zero(text):
    _, gradients = value_and_gradient(parse(text), np.zeros((1, 1)))
    assert np.isfinite(gradients).all()


def test_constants_and_variables_alone():
    X = np.ones((4, 2))
    values, gradients = value_and_gradient(Constant(3.0), X)
    assert values.tolist() == [3.0] * 4
    assert gradients.tolist() == [[0.0, 0.0]] * 4
    _, gradients = value_and_gradient(Variable(1), X)
    assert gradients.tolist() == [[0.0, 1.0]] * 4
    empty = value_and_gradient(parse("x0+1"), np.zeros((0, 2)))
    assert empty[0].shape == (0,) and empty[1].shape == (0, 2)


def test_a_sum_of_thousands_does_not_exhaust_the_stack():
    tree = linear(
        np.arange(1.0, 3001.0),
        [Apply("sin", (Apply("*", (Constant(1 + k), Variable(0))),)) for k in range(3000)],
    )
    values, _ = value_and_gradient(tree, np.zeros((2, 1)))
    assert values.tolist() == [0.0, 0.0]
    assert len(expand_terms(tree)) == 3000


@given(
    trees(numbers=st.floats(0.5, 2), unary=["sin", "exp", "tanh", "sqrt", "abs", "sigmoid"]),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_gradients_by_constants_are_central_differences(tree, seed):
    X = np.random.default_rng(seed).uniform(0.5, 1.5, (4, 3))
    values = np.array(constants(tree))
    found = gradient_by_constants(tree, X)
    assert found.shape == (4, 3, len(values))
    for k in range(len(values)):
        h = np.zeros(len(values))
        h[k] = 1e-5
        up = value_and_gradient(with_constants(tree, values + h), X)[1]
        down = value_and_gradient(with_constants(tree, values - h), X)[1]
        expected = (up - down) / 2e-5
        usable = np.isfinite(expected) & (np.abs(up) < 1e4)
        np.testing.assert_allclose(
            found[:, :, k][usable],
            expected[usable],
            rtol=1e-3,
            atol=1e-3 * (1 + np.abs(up[usable]).max(initial=0)),
        )


def test_gradients_by_constants_are_exact():
    X = np.random.default_rng(0).uniform(0.5, 2, (20, 1))
    found = gradient_by_constants(parse("sin(2.3*x0)"), X)[:, 0, 0]
    x = X[:, 0]
    np.testing.assert_allclose(found, np.cos(2.3 * x) - 2.3 * x * np.sin(2.3 * x), rtol=1e-14, atol=1e-15)


def test_gradients_by_constants_of_user_operators_are_by_differences():
    bump = user_operator(
        "bump", lambda x: np.exp(-(np.real(x) ** 2)), lambda x: -2 * np.real(x) * np.exp(-(np.real(x) ** 2))
    )
    X = np.random.default_rng(0).uniform(0.5, 2, (20, 1))
    found = gradient_by_constants(parse("bump(0.7*x0)", None, [bump]), X, [bump])[:, 0, 0]
    exact = gradient_by_constants(parse("exp(-(0.7*x0)^2)"), X)[:, 0, 0]
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)


@given(
    st.lists(
        st.tuples(st.floats(-9, 9).filter(lambda c: c != 0), st.integers(0, 5)),
        min_size=1,
        max_size=6,
        unique_by=lambda p: p[1],
    )
)
def test_linear_and_expand_terms_are_inverse(terms):
    pool = [parse(t) for t in ("x0", "x0*x1", "sin(x1)", "exp(x0)/x1", "x2^2", "1/x0")]
    c, b = [c for c, _ in terms], [pool[k] for _, k in terms]
    assert expand_terms(linear(c, b)) == list(zip(c, b, strict=True))


def test_expanding_merges_like_terms_and_signs():
    terms = {feature: c for c, feature in expand_terms(parse("2*x0 - (x1 - 3*x0)/2 + -(x2*4) + 5 - 1"))}
    assert terms == {parse("x0"): 3.5, parse("x1"): -0.5, parse("x2"): -4.0, Constant(1.0): 4.0}
    assert expand_terms(parse("x0 - x0")) == []


def test_linear_refuses_unequal_lengths_and_drops_zeros():
    with pytest.raises(ExpressionError, match="2 coefficients for 1 features"):
        linear([1, 2], [Variable(0)])
    assert linear([0.0, 0.0], [Variable(0), Variable(1)]) == Constant(0.0)
    assert linear([0.0, 2.0], [Variable(0), Variable(1)]) == parse("2*x1")


def test_constants_are_replaced_in_order():
    tree = parse("2*x0 + 3^x1 - 4")
    assert constants(tree) == (2.0, 3.0, 4.0)
    assert with_constants(tree, [5, 6, 7]) == parse("5*x0 + 6^x1 - 7")
    with pytest.raises(ExpressionError, match="3 constants, got 1"):
        with_constants(tree, [1.0])


def test_variables_are_replaced_by_trees():
    assert substitute(parse("x0*x1"), {0: parse("x2+1")}) == parse("(x2+1)*x1")


@given(trees())
@settings(max_examples=200, deadline=None)
def test_json_round_trip(tree):
    text = to_json(tree)
    assert from_json(text) == tree
    assert to_json(from_json(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "true",
        "null",
        '"x0"',
        '{"x": -1}',
        '{"x": true}',
        '{"x": 0, "y": 1}',
        '{"x": 1.5}',
        "[]",
        "NaN",
        "Infinity",
        '["sin"]',
        '["sin", 1, 2]',
        '["system", 1]',
        "[1, 2]",
        '["+", 1, [[]]]',
        "[" * 5000,
    ],
)
def test_damaged_json_is_refused(text):
    with pytest.raises(ExpressionError):
        from_json(text)


def test_json_of_what_it_cannot_hold_is_refused():
    with pytest.raises(ExpressionError, match="nan"):
        to_json(Constant(math.nan))
    deep = Variable(0)
    for _ in range(MAX_DEPTH):
        deep = Apply("sin", (deep,))
    with pytest.raises(ExpressionError, match="nested"):
        to_json(deep)
    nested = json.dumps({"x": 0})
    for _ in range(MAX_DEPTH):
        nested = f'["sin", {nested}]'
    with pytest.raises(ExpressionError, match="nested"):
        from_json(nested)


def test_bad_points_are_named():
    tree = parse("x0 + x3")
    with pytest.raises(BadInput, match="columns 0 to 1"):
        value_and_gradient(tree, np.zeros((3, 2)))
    with pytest.raises(BadInput, match="two axes"):
        value_and_gradient(tree, np.zeros(3))
    with pytest.raises(BadInput, match="table of numbers"):
        value_and_gradient(tree, [["a"]])


def test_operators_are_data():
    assert lookup("ln").name == "log"
    assert lookup("**").name == "^"
    with pytest.raises(ExpressionError, match="unknown operator 'gamma'"):
        lookup("gamma")
    with pytest.raises(ExpressionError, match="unknown operator"):
        evaluate(Apply("gamma", (Variable(0),)), np.zeros((1, 1)))
    with pytest.raises(ExpressionError, match="takes 1 arguments"):
        evaluate(Apply("sin", (Variable(0), Variable(0))), np.zeros((1, 1)))
    with pytest.raises(TypeError):
        BUILTIN["gamma"] = BUILTIN["sin"]


def test_user_operators_are_checked():
    bump = user_operator("bump", np.exp, np.exp)
    assert table([bump])["bump"] is bump
    assert "bump" not in BUILTIN
    for name in ("sin", "pow", "a b", "", "größe"):
        with pytest.raises(ExpressionError):
            user_operator(name, np.exp, np.exp)
    with pytest.raises(ExpressionError, match="derivatives"):
        Operator("f", 2, np.add, (np.exp,))
    with pytest.raises(ExpressionError, match="arity"):
        Operator("f", 3, np.add, (np.exp, np.exp, np.exp))
    with pytest.raises(ExpressionError, match="user_operator"):
        table(["sin"])


def test_some_constants_alone_move_gradients_as_among_all():
    X = np.random.default_rng(0).uniform(0.5, 2, (20, 2))
    tree = parse("1.3 * exp(0.7 * x0 - 0.2) / (x1 + 0.4)")
    found = gradient_by_constants(tree, X)
    assert (gradient_by_constants(tree, X, at=(3, 1)) == found[:, :, [3, 1]]).all()
    assert gradient_by_constants(tree, X, at=()).shape == (20, 2, 0)


def test_what_a_tree_remembers_is_no_part_of_it():
    tree = parse("sin(2.3 * x0) + x1^2")
    fresh = pickle.dumps(tree)
    hash(tree), complexity(tree), constants(tree), variables(tree)
    assert pickle.dumps(tree) == fresh
    assert pickle.loads(fresh) == copy.deepcopy(tree) == tree
    moved = with_constants(tree, [1.1, 3.0])
    assert (constants(moved), constants(tree)) == ((1.1, 3.0), (2.3, 2.0))
    assert (complexity(moved), variables(moved)) == (complexity(tree), variables(tree)) == (8, (0, 1))
    assert hash(moved) != hash(tree) and moved != tree
