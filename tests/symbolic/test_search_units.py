"""Units of measurement: parsed as written, combined as physics does, and kept by the search."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import symbolic
from interpret.errors import UsageError
from symbolic import units
from symbolic.parser import parse

NAMES = ("x0", "x1", "x2")


@pytest.mark.parametrize(("text", "powers"), [
    ("", {}), ("1", {}), ("m", {"m": 1}), ("kg*m/s^2", {"kg": 1, "m": 1, "s": -2}),
    ("kg m s^-2", {"kg": 1, "m": 1, "s": -2}),
    ("1/s", {"s": -1}), ("m/m", {}), ("m^1/2", {"m": Fraction(1, 2)}), ("µg", {"µg": 1}),
])  # fmt: skip
def test_units_are_read_as_products_of_powers(text: str, powers: dict[str, Fraction]) -> None:
    assert dict(units.parse(text)) == powers


def test_what_is_no_unit_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot read the unit"):
        units.parse("m + s")
    with pytest.raises(UsageError, match="2 units for 3 inputs"):
        units.checker(("m", "s"), 3)


@pytest.mark.parametrize(("text", "fine"), [
    ("x0 + x1", True), ("x0 + x2", False), ("x0 + 2.5*x2", True), ("sin(x0)", False), ("sin(x0/x1)", True),
    ("sin(0.3*x0)", True), ("log(x2)", True), ("x0*x2 + x1*x2", True), ("x0^2 - x1^2", True), ("x0^2 - x1", False),
    ("sqrt(x0^2) + x1", True), ("1 + x0^2", False), ("1/(1 + x0/x1)", True), ("exp(x2)", False),
])  # fmt: skip
def test_units_combine_as_in_physics(text: str, fine: bool) -> None:
    check = units.checker(("m", "m", "s"), 3)
    assert check(parse(text, NAMES)) is fine


def test_formulas_respect_the_units_of_their_inputs() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 2, (200, 2))
    v = np.sin(x[:, 0]) + x[:, 1]
    g = np.column_stack([np.cos(x[:, 0]), np.ones(200)])
    words = ("+", "-", "*", "/", "^", "sin", "exp")
    plain = symbolic.fit_gradients(x, g, v, engine="eigen", operators=words)
    assert plain.expression in ("sin(x0) + x1", "x1 + sin(x0)")
    told = symbolic.fit_gradients(x, g, v, engine="eigen", operators=words, units=("m", "s"))
    check = units.checker(("m", "s"), 2)
    assert all(check(row.tree) for row in told.rows)
    assert "sin(x0)" not in told.expression
