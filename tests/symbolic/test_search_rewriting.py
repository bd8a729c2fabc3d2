"""The plainest way to write a formula that the points allow, and no plainer."""

from __future__ import annotations

import numpy as np
import pytest

import symbolic
from symbolic import intervals, targets
from symbolic.expression import evaluate, value_and_gradient
from symbolic.parser import parse
from symbolic.polish import candidate
from symbolic.printing import text
from symbolic.rewriting import plainer
from symbolic.scoring import row_of

NAMES = ("x0", "x1", "x2", "x3")
PLAIN = {
    "cos(3*x0 + 1.5707963267948966) - sin(2*x1 - 4.71238898469)": "-sin(3*x0) - cos(2*x1)",
    "sin(3*x0 + 3.141593)": "-sin(3*x0)",
    "cos(x0 - 1.570796)": "sin(x0)",
    "exp(cos(x0 + 1.570796))": "exp(-sin(x0))",
    "exp(log(x0*x1) - 0.5*log((x2 + x3)^2))": "x0*x1/(x2 + x3)",
    "exp(2*log(x0) + x1)": "x0^2*exp(x1)",
    "exp(1.5*log(x0))": "x0^1.5",
    "exp(log(2*x0) - log(x1))": "2*(x0/x1)",
    "exp(0.5*log((-x2 - x3)^2))": "x2 + x3",
}
KEPT = (
    "sin(x0 + 1.57)",
    "cos(x0 + 0.1)",
    "sin(x0)",
    "exp(x0 + sin(x1))",
    "exp(0.5*log((x0 - x1)^2))",
    "log(x0)",
)


@pytest.mark.parametrize("given", PLAIN)
def test_a_formula_is_written_plainly_where_it_means_the_same(given: str) -> None:
    points = np.random.default_rng(0).uniform(1, 4, (200, 4))
    before = parse(given, NAMES)
    after = plainer(before, points)
    np.testing.assert_allclose(evaluate(after, points), evaluate(before, points), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(
        evaluate(after, points), evaluate(parse(PLAIN[given], NAMES), points), rtol=1e-12
    )
    assert len(text(after, NAMES)) <= len(PLAIN[given]) + 6, text(after, NAMES)


@pytest.mark.parametrize("given", KEPT)
def test_what_would_mean_another_thing_is_kept(given: str) -> None:
    points = np.random.default_rng(0).uniform(1, 4, (200, 4))
    tree = parse(given, NAMES)
    assert plainer(tree, points) == tree


def test_a_ratio_found_by_its_logarithm_is_printed_as_a_ratio() -> None:
    x = np.random.default_rng(0).uniform(1, 4, (900, 4))
    value, gradient = value_and_gradient(parse("x0*x1/(x2 + x3) + sin(x0)", NAMES), x)
    formula = symbolic.fit_gradients(x, gradient, value, engine="eigen")
    assert "log" not in formula.operator_names(), formula.expression
    assert formula.misalignment < 1e-9


def test_a_phase_snapped_to_a_quarter_turn_is_gone() -> None:
    x = np.random.default_rng(0).uniform(3, 7, (900, 2))
    value, gradient = value_and_gradient(parse("sin(3*x0) + cos(2*x1)", NAMES[:2]), x)
    aim = targets.build(x, gradient, value)
    row = row_of(candidate(parse("cos(3*x0 - 1.5707963267948966) + sin(2*x1 + 1.570796)", NAMES[:2])), aim)
    done, figures = intervals.cleaned(row, aim)
    assert text(done.tree) == "sin(3 * x0) + cos(2 * x1)"
    assert len(figures) == 4, "two coefficients and two frequencies"
