"""Parsing and printing: the round trip, what is refused, LaTeX and MathML, rounding."""

from __future__ import annotations

import math
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import ExpressionError
from symbolic.expression import Apply, Constant, Variable, constants, evaluate
from symbolic.operators import BUILTIN, user_operator
from symbolic.parser import MAX_NESTING, is_plain_name, parse, quote, tokenize
from symbolic.printing import latex, mathml, round_constant, rounded, text

NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(lambda v: 0.0 if v == 0 else v)
NAMES = st.lists(
    st.text(min_size=1, max_size=12).filter(lambda n: "\0" not in n), min_size=3, max_size=3, unique=True
)


def trees():
    leaves = st.integers(0, 2).map(Variable) | NUMBERS.map(Constant) | st.just(Constant(math.pi))

    def grow(inner):
        return st.sampled_from(sorted(BUILTIN)).flatmap(
            lambda name: st.tuples(*[inner] * BUILTIN[name].arity).map(lambda args: Apply(name, args))
        )

    return st.recursive(leaves, grow, max_leaves=14)


@given(trees(), st.none() | NAMES)
@settings(max_examples=300, deadline=None)
def test_parsing_what_was_printed_gives_the_tree(tree, names):
    assert parse(text(tree, names), names) == tree


@given(trees(), NAMES)
@settings(max_examples=150, deadline=None)
def test_mathml_is_whole_whatever_the_names(tree, names):
    root = ElementTree.fromstring(mathml(tree, names))
    assert root.tag == "math"
    known = {"math", "mrow", "mi", "mn", "mo", "mtext", "msup", "msub", "mfrac", "msqrt", "msubsup"}
    assert {node.tag for node in root.iter()} <= known
    pairs = {"msup", "msub", "mfrac"}
    assert all(len(node) == 2 for node in root.iter() if node.tag in pairs)
    assert all(len(node) == 3 for node in root.iter() if node.tag == "msubsup")


@given(trees(), NAMES)
@settings(max_examples=150, deadline=None)
def test_latex_has_matching_braces_whatever_the_names(tree, names):
    level, skip = 0, False
    for character in latex(tree, names):
        if skip:
            skip = False
        elif character == "\\":
            skip = True
        else:
            level += {"{": 1, "}": -1}.get(character, 0)
            assert level >= 0
            assert character not in "$#%&~"
    assert level == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x0 + x1 * x2", "x0 + (x1 * x2)"),
        ("x0 - x1 - x2", "(x0 - x1) - x2"),
        ("x0 / x1 / x2", "(x0 / x1) / x2"),
        ("x0 ^ x1 ^ x2", "x0 ^ (x1 ^ x2)"),
        ("-x0 ^ 2", "-(x0 ^ 2)"),
        ("2 ^ -x0", "2 ^ (-x0)"),
        ("-x0 * x1", "(-x0) * x1"),
        ("x0 ** 2", "x0 ^ 2"),
        ("+x0", "x0"),
        ("pow(x0, 2)", "x0 ^ 2"),
        ("ln(x0)", "log(x0)"),
        ("1e-3*x0", "0.001 * x0"),
        (".5*x0", "0.5*x0"),
        ("  x0\n+\tx1 ", "x0+x1"),
    ],
)
def test_grammar(written, meant):
    assert parse(written) == parse(meant)


def test_numbers_with_signs_are_numbers():
    assert parse("-2") == Constant(-2.0)
    assert parse("-(2)") == Apply("neg", (Constant(2.0),))
    assert parse("-2^x0") == Apply("neg", (Apply("^", (Constant(2.0), Variable(0))),))
    assert parse("(-2)^x0") == Apply("^", (Constant(-2.0), Variable(0)))
    assert parse("pi") == Constant(math.pi)


def test_precedence_against_python():
    # Python's own grammar is the reference; its evaluator is only used here, on texts written here.
    rng = np.random.default_rng(0)
    for _ in range(200):
        pieces = [rng.choice(["x0", "x1", "2.5", "(x0+x1)", "-x1", "(-x0)"])]
        for _ in range(rng.integers(1, 6)):
            pieces += [
                rng.choice(["+", "-", "*", "/", "**"]),
                rng.choice(["x0", "x1", "1.5", "(x0-3.0)", "-x0"]),
            ]
        source = " ".join(pieces)
        x0, x1 = np.float64(1.3), np.float64(0.7)
        with np.errstate(all="ignore"):
            expected = eval(source, {"x0": x0, "x1": x1})
        found = evaluate(parse(source), [[x0, x1]])[0]
        assert found == pytest.approx(expected, rel=1e-12, nan_ok=True), source


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "got 'the end'"),
        ("x0 +", "got 'the end' at character 4"),
        ("x0 x1", "expected an operator, got 'x1'"),
        ("(x0", "expected ')'"),
        ("x0)", "expected an operator"),
        ("sin x0", "unknown variable 'sin'"),
        ("sin(x0, x1)", "takes 1 arguments, got 2"),
        ("sin()", "expected a number"),
        ("foo(x0)", "unknown operator 'foo'"),
        ("y", "unknown variable 'y'"),
        ("x01", "unknown variable"),
        ("x99999999999999999999", "unknown variable"),
        ("x0 $ x1", "unexpected '$' at character 3"),
        ("__import__('os').system('true')", 'unexpected "\'"'),
        ("().__class__", "unexpected '.'"),
        ("x0.real", "unexpected '.'"),
        ("lambda: 0", "unexpected ':'"),
        ("1e999", "too large"),
        ("inf", "unknown variable"),
        ("nan", "unknown variable"),
        ("`x0", "unexpected '`'"),
        ("x0 = 1", "unexpected '='"),
        ("x0; x1", "unexpected ';'"),
        ("x0 ^", "got 'the end'"),
    ],
)
def test_what_is_no_formula_is_refused_at_the_character(written, message):
    with pytest.raises(ExpressionError) as caught:
        parse(written)
    assert message in str(caught.value)
    assert str(caught.value).splitlines()[-1].strip() == "^"


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_parsed_or_refused(written):
    try:
        tree = parse(written)
    except ExpressionError:
        return
    assert parse(text(tree)) == tree


@pytest.mark.parametrize("opening", ["(", "-", "sin(", "2^", "-("])
def test_deep_nesting_is_refused_not_crashed(opening):
    with pytest.raises(ExpressionError):
        parse(opening * 5000 + "x0")
    inside = "(" * (MAX_NESTING - 2) + "x0" + ")" * (MAX_NESTING - 2)
    assert parse(inside) == Variable(0)
    assert sys.getrecursionlimit() >= 1000


def test_long_sums_are_no_nesting():
    assert len(tokenize("x0" + " + x0" * 5000)) == 10002
    assert text(parse("x0" + " + x0" * 5000)).count("x0") == 5001


def test_names_that_are_no_plain_words_are_quoted():
    names = ["net income", "a`b", "sin", "pi", "x1", "größe", "", "1st", "</math>"]
    for index, name in enumerate(names):
        assert parse(quote(name), names) == Variable(index)
    assert is_plain_name("größe") and not is_plain_name("sin")
    assert text(parse("`net income` * x1", names), names) == "`net income` * x1"
    # A column called pi leaves the number spelled out.
    assert text(Constant(math.pi), names) == "3.141592653589793"
    assert text(Constant(math.pi)) == "pi"
    # With names given, x0 is no variable but if it is one of them.
    with pytest.raises(ExpressionError, match="unknown variable 'x0'"):
        parse("x0", names)


def test_names_that_are_missing_are_named():
    with pytest.raises(ExpressionError, match="uses variable 2 and 1 names"):
        text(Variable(2), ["a"])


def test_user_operators_are_parsed_only_where_they_are_passed():
    bump = user_operator("bump", np.exp, np.exp)
    tree = parse("bump(x0)", None, [bump])
    assert tree == Apply("bump", (Variable(0),))
    assert text(tree) == "bump(x0)"
    assert r"\operatorname{bump}" in latex(tree)
    with pytest.raises(ExpressionError, match="unknown operator 'bump'"):
        parse("bump(x0)")


@pytest.mark.parametrize(
    ("written", "typeset"),
    [
        ("x0 + -2*x1", r"x_{0} - 2 \, x_{1}"),
        ("x0 - -2", r"x_{0} + 2"),
        ("x0 - (x1 + x2)", r"x_{0} - \left(x_{1} + x_{2}\right)"),
        ("x0*(x1 + x2)", r"x_{0} \, \left(x_{1} + x_{2}\right)"),
        ("x0*2", r"x_{0} \cdot 2"),
        ("-(x0+x1)*x2", r"-\left(x_{0} + x_{1}\right) \, x_{2}"),
        ("(x0+1)^2", r"{\left(x_{0} + 1\right)}^{2}"),
        ("(-2)^x0", r"{\left(-2\right)}^{x_{0}}"),
        ("exp(-x0)", r"e^{-x_{0}}"),
        ("sqrt(x0)/abs(x1)", r"\frac{\sqrt{x_{0}}}{\left|x_{1}\right|}"),
        ("square(x0) + cube(x1) + inv(x2)", r"x_{0}^{2} + x_{1}^{3} + \frac{1}{x_{2}}"),
        ("asin(x0)", r"\arcsin\left(x_{0}\right)"),
        ("1.5e-7*x0", r"1.5 \cdot 10^{-7} \, x_{0}"),
        ("pi*x0", r"\pi \, x_{0}"),
        ("6.283185307179586*x0", r"2 \, \pi \, x_{0}"),
        ("0.3333333333333333*x0", r"\frac{1}{3} \, x_{0}"),
        ("0.25*x0", r"0.25 \, x_{0}"),
    ],
)
def test_latex(written, typeset):
    assert latex(parse(written)) == typeset


def test_names_are_escaped_in_latex_and_mathml():
    names = ["50% of $a_b", "<script>alert(1)</script>"]
    tree = Apply("+", (Variable(0), Variable(1)))
    assert r"\text{50\% of \$a\_b}" in latex(tree, names)
    markup = mathml(tree, names)
    assert "<script>" not in markup
    assert "&lt;script&gt;" in markup
    assert "a" in mathml(Variable(0), ["a\x01\nb"]) and "\x01" not in mathml(Variable(0), ["a\x01\nb"])


def test_mathml_of_a_small_formula():
    assert mathml(parse("x0^2")) == (
        '<math display="inline"><mrow><msubsup><mi>x</mi><mn>0</mn><mrow><mn>2</mn></mrow></msubsup></mrow></math>'
    )
    assert "<msup><mrow><mi>a</mi></mrow>" in mathml(parse("x0^2"), ["a"])


def test_two_words_have_a_dot_between_them():
    names = ["net income", "rate"]
    assert latex(parse("`net income`*rate", names), names) == r"\text{net income} \cdot \text{rate}"
    assert latex(parse("2*rate", names), names) == r"2 \, \text{rate}"
    assert "<mo>·</mo>" in mathml(parse("`net income`^2*rate", names), names)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_constants_that_are_no_numbers_are_not_printed(value):
    for printer in (text, latex, mathml):
        with pytest.raises(ExpressionError, match="cannot be printed"):
            printer(Constant(value))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.123456, 0.1235), (123456.7, 123500.0), (2.0, 2.0), (1234567.0, 1235000.0), (math.pi, math.pi),
     (1 / 3, 1 / 3), (-1e-9 / 3, -3.333e-10), (0.0, 0.0), (math.inf, math.inf)],
)  # fmt: skip
def test_rounding(value, shown):
    assert round_constant(value) == shown


@given(st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1e-6), st.floats(1e-9, 0.5))
@settings(deadline=None)
def test_rounding_inside_an_interval_stays_inside_and_is_shortest(value, width):
    low, high = value - width * abs(value), value + width * abs(value)
    shown = round_constant(value, low=low, high=high)
    assert low <= shown <= high
    if shown != value:
        digits = len(f"{abs(shown):.17g}".replace(".", "").partition("e")[0].strip("0"))
        assert digits <= 17


def test_a_rounded_tree_is_what_is_printed():
    tree = rounded(parse("2.0112345*x0 + sin(0.49999*x1) - 3"))
    assert constants(tree) == (2.011, 0.5, 3.0)
    assert constants(parse(text(tree))) == constants(tree)
    assert text(tree) == "2.011 * x0 + sin(0.5 * x1) - 3"
