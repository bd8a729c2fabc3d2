"""Functions that no slope leads to, or whose scale only the user knows: kinks, and operators of the user's own."""

from __future__ import annotations

import numpy as np
import pytest

import symbolic
from symbolic import kinks, scoring, targets
from symbolic.expression import value_and_gradient
from symbolic.parser import parse
from symbolic.polish import Field, candidate, polish

NAMES = ("x0", "x1", "x2")
BUMP = symbolic.user_operator("bump", lambda a: 1 / (1 + a**4), lambda a: -4 * a**3 / (1 + a**4) ** 2)


def field(text: str, d: int, n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).uniform(-2, 2, (n, d))
    value, gradient = value_and_gradient(parse(text, NAMES[:d], [BUMP]), x, [BUMP])
    return x, gradient, value


@pytest.mark.parametrize("start", [-1.5, 0.3, 1.9])
@pytest.mark.parametrize("truth", ["abs(x0 - 0.7) + x1^2", "x1*abs(0.7 - x0) + 2*x1"])
def test_a_kink_is_moved_to_its_gap_from_anywhere(start: float, truth: str) -> None:
    x, gradient, value = field(truth, 2)
    found = Field(aim := targets.build(x, gradient, value), aim.fit)
    text = truth.replace("x0 - 0.7", f"x0 + {-start}").replace("0.7 - x0", f"{start} + (-1)*x0")
    before, loss = polish(candidate(parse(text, NAMES[:2])), found)
    assert loss > 1e-2, "no slope leads there"
    _, loss = kinks.settle(before, found, loss)
    assert loss < 1e-12


def test_a_formula_without_kinks_is_left_alone() -> None:
    x, gradient, value = field("x0^2 + x1", 2)
    found = Field(aim := targets.build(x, gradient, value), aim.fit)
    start = candidate(parse("abs(x0) + tanh(x1 + 0.3)", NAMES[:2]))
    assert kinks.settle(start, found, 0.5) == (start, 0.5)


@pytest.mark.parametrize("truth", ["abs(x0 - 0.7) + x1^2", "abs(x0 - 0.731)*x1 + x2"])
def test_a_concept_with_a_kink_off_the_origin_is_named(truth: str) -> None:
    d = 3 if "x2" in truth else 2
    x, gradient, value = field(truth, d)
    formula = symbolic.fit_gradients(
        x, gradient, value, engine="eigen", operators=("+", "-", "*", "/", "^", "exp", "abs")
    )
    assert formula.misalignment < 1e-9, formula.expression


@pytest.mark.parametrize("twin", [0.0, 1e-3, 0.5])
def test_a_kink_moves_to_a_place_that_its_twin_has_held(twin: float) -> None:
    x, gradient, value = field("abs(x0 - 0.7) + x1^2", 2)
    aim = targets.build(x, gradient, value)
    tree = parse(f"x1^2 + abs(x0 - 0.68) + {twin} * abs(x0 - 0.7)", NAMES[:2])
    (row,) = scoring.score([tree], aim).rows
    assert row.held_out < 1e-9, row.tree


@pytest.mark.parametrize("inside", ["1.5*x0", "5*x0", "2*x0 - 1.3"])
def test_an_operator_of_the_users_own_has_inner_constants(inside: str) -> None:
    x, gradient, value = field(f"bump({inside}) + x1^2", 2)
    formula = symbolic.fit_gradients(
        x, gradient, value, engine="eigen", operators=("+", "-", "*", "^", "sin", BUMP)
    )
    assert formula.misalignment < 1e-9, formula.expression
