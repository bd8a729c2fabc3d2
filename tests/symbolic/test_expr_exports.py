"""SymPy, NumPy and torch say the same as the tree; modules train, script and export."""

from __future__ import annotations

import io
import pickle
import warnings

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import ExpressionError, NameMismatch
from symbolic.exports import to_numpy, to_sympy, to_torch
from symbolic.expression import Apply, Constant, Variable, evaluate, value_and_gradient
from symbolic.operators import BUILTIN, user_operator
from symbolic.parser import parse

FORMULAS = [
    "x0^2 + 2*sin(2.3*x1) - exp(-0.7*x0)/x2",
    "sqrt(x0^2 + x1^2) - x2",
    "log(1 + x0*x1)/3 + pi*x2",
    "tanh(x0 - x1)*abs(x2 - 1) + 0.3333333333333333",
    "sigmoid(x0) + erf(x1) + inv(x2) + square(x0) + cube(x1)",
    "asin(x0/9) + acos(x1/9) + atan(x2) + sinh(x0) + cosh(x1) + tan(x2/9) + cos(-x0)",
    "x0^x1 + 2^x2",
    "3",
    "x1",
]
BUMP = user_operator(
    "bump",
    lambda x: np.exp(-(x**2)),
    lambda x: -2 * x * np.exp(-(x**2)),
    sympy=lambda x: sympy.exp(-(x**2)),
    torch=lambda x: torch.exp(-(x**2)),
)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).uniform(0.2, 2, (40, 3))


def test_a_table_wider_than_the_names_is_refused(X):
    found = to_numpy(parse("x0 + x1^2"), ["x0", "x1"])
    np.testing.assert_array_equal(found(X[:, :2]), X[:, 0] + X[:, 1] ** 2)
    for call in (found, found.gradient, pickle.loads(pickle.dumps(found))):
        with pytest.raises(NameMismatch, match="3 columns, and the formula's inputs are 2"):
            call(X)


@pytest.mark.parametrize("formula", FORMULAS)
def test_all_exports_agree(formula, X):
    tree = parse(formula)
    values, gradients = value_and_gradient(tree, X)
    callable_ = to_numpy(tree)
    np.testing.assert_array_equal(callable_(X), values)
    np.testing.assert_array_equal(callable_.gradient(X), gradients)
    inputs = torch.tensor(X, requires_grad=True)
    module = to_torch(tree)
    np.testing.assert_allclose(module(inputs).detach().numpy(), values, rtol=1e-12)
    if formula != "3":
        (slopes,) = torch.autograd.grad(module(inputs).sum(), inputs)
        np.testing.assert_allclose(slopes.numpy(), gradients, rtol=1e-10, atol=1e-12)
    expression = to_sympy(tree, ["a", "b", "c"])
    symbols = [sympy.Symbol(name, real=True) for name in "abc"]
    for row, value in zip(X[:5], values[:5], strict=True):
        assert float(expression.subs(dict(zip(symbols, row, strict=True)))) == pytest.approx(value, rel=1e-10)


def test_every_operator_has_all_forms(X):
    for name, op in BUILTIN.items():
        inner = (Apply("/", (Variable(0), Constant(3.0))), Variable(1))[: op.arity]
        tree = Apply(name, inner)
        expected = evaluate(tree, X)
        np.testing.assert_allclose(to_torch(tree)(torch.tensor(X)).detach().numpy(), expected, rtol=1e-12)
        found = to_sympy(tree).subs(
            {sympy.Symbol("x0", real=True): X[0, 0], sympy.Symbol("x1", real=True): X[0, 1]}
        )
        assert float(found) == pytest.approx(expected[0], rel=1e-12)


def test_sympy_is_built_without_reading_text():
    # A name that sympify would run.
    name = "__import__('os').system('echo ran')"
    expression = to_sympy(Variable(0), [name])
    assert expression == sympy.Symbol(name, real=True)


def test_sympy_numbers_are_exact_where_they_were_snapped():
    assert to_sympy(parse("0.3333333333333333*x0")) == sympy.Rational(1, 3) * sympy.Symbol("x0", real=True)
    assert to_sympy(parse("pi")) == sympy.pi
    assert to_sympy(parse("-2")) == sympy.Integer(-2)
    assert to_sympy(parse("2.3")) == sympy.Float(2.3)
    assert to_sympy(parse("0.1234")) == sympy.Float(0.1234)


def test_user_operators_export_with_their_forms(X):
    tree = parse("bump(x0) + x1", None, [BUMP])
    expected = np.exp(-(X[:, 0] ** 2)) + X[:, 1]
    np.testing.assert_allclose(to_numpy(tree, None, [BUMP])(X), expected)
    np.testing.assert_allclose(to_torch(tree, [BUMP])(torch.tensor(X)).detach().numpy(), expected)
    assert "exp" in str(to_sympy(tree, None, [BUMP]))
    bare = user_operator("bare", np.exp, np.exp)
    for export, form in ((to_torch, "torch"), (lambda t, o: to_sympy(t, None, o), "SymPy")):
        with pytest.raises(ExpressionError, match=f"no {form} form"):
            export(parse("bare(x0)", None, [bare]), [bare])
    with pytest.raises(ExpressionError, match="unknown operator"):
        to_numpy(tree)


def test_a_module_can_be_trained():
    X = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (200, 2)))
    target = X[:, 0] ** 2 + 2 * torch.sin(1.7 * X[:, 1])
    module = to_torch(parse("x0^2 + 1.5*sin(1.5*x1)"))
    names = dict(module.named_parameters())
    # The exponent is no parameter: its derivative does not exist at negative bases.
    assert len(names) == 2
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = ((module(X) - target) ** 2).mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert sorted(p.item() for p in module.parameters()) == pytest.approx([1.7, 2.0], abs=1e-4)


def test_a_frozen_module_has_buffers_only():
    module = to_torch(parse("2*x0 + 1"), trainable=False)
    assert not list(module.parameters())
    assert len(list(module.buffers())) == 2


@pytest.mark.parametrize("formula", FORMULAS)
def test_modules_are_exported(formula, X):
    module = to_torch(parse(formula)).eval()
    inputs = torch.tensor(X)
    exported = torch.export.export(module, (inputs,)).module()
    torch.testing.assert_close(exported(inputs), module(inputs))


def test_modules_are_scripted_and_saved(X):
    module = to_torch(parse(" + ".join(FORMULAS)))
    with warnings.catch_warnings():
        # torch announces that export will replace scripting one day.
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(module)
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer)
        buffer.seek(0)
        loaded = torch.jit.load(buffer)
    inputs = torch.tensor(X)
    torch.testing.assert_close(loaded(inputs), module(inputs))


def test_modules_keep_dtype_shape_and_device(X):
    module = to_torch(parse("2*x0 + sin(x1)"))
    assert module(torch.tensor(X, dtype=torch.float32)).dtype == torch.float32
    assert module(torch.zeros(2, 5, 3)).shape == (2, 5)
    assert to_torch(parse("3"))(torch.zeros(4, 3, dtype=torch.float64)).tolist() == [3.0] * 4


def test_callables_travel():
    callable_ = to_numpy(parse("x0*x1"), ["a", "b"])
    again = pickle.loads(pickle.dumps(callable_))
    assert again([[2.0, 3.0]]).tolist() == [6.0]
    assert str(again) == "a * b"
    with pytest.raises(Exception, match="two axes"):
        callable_([1.0, 2.0])


def test_constants_that_are_no_numbers_are_refused():
    with pytest.raises(ExpressionError, match="not finite"):
        to_torch(Constant(float("nan")))


@given(st.integers(0, 2), st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_module_state_loads_back(index, value):
    tree = Apply("*", (Constant(value), Variable(index)))
    module, other = to_torch(tree), to_torch(Apply("*", (Constant(0.0), Variable(index))))
    other.load_state_dict(module.state_dict())
    points = torch.ones(2, 3, dtype=torch.float64)
    assert other(points).tolist() == module(points).tolist()
