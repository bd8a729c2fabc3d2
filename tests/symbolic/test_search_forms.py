"""Forms that the grammar of depth two does not hold: a wave of a parabola, a product of two waves, exp of a wave."""

from __future__ import annotations

import numpy as np
import pytest

import symbolic
from symbolic.expression import value_and_gradient
from symbolic.parser import parse

NAMES = ("x0", "x1", "x2")


@pytest.mark.parametrize(
    ("text", "d"),
    [
        ("sin(x0^2 + x1) + 0.5*x1", 2),
        ("sin(1.7*x0*x1) + x2^2", 3),
        ("exp(sin(2.2*x0)) + x1", 2),
        ("sin(3*x0)*sin(2*x1) + x2", 3),
    ],
)
def test_nested_waves_are_found(text: str, d: int) -> None:
    x = np.random.default_rng(0).uniform(-2, 2, (1_200, d))
    value, gradient = value_and_gradient(parse(text, NAMES[:d]), x)
    formula = symbolic.fit_gradients(x, gradient, value, engine="eigen")
    assert formula.misalignment < 1e-9, formula.expression
