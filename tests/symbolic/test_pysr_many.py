"""Many neurons by an external engine: in order, whatever the number of workers, dead units and failures apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from interpret.errors import BackendMissing, BadInput
from symbolic.backends.base import Settings
from symbolic.backends.pysr import PySR
from symbolic.external import fit_units
from symbolic.many import Skipped

FAKE = Path(__file__).with_name("fake_worker.py")


@pytest.fixture(scope="module")
def layer():
    points = np.random.default_rng(0).uniform(-1, 1, (120, 2))
    gradients = np.stack([points * [2, 4], 0 * points, -points * [2, 4]], 1)
    g = (points**2) @ [1.0, 2.0]
    return points, gradients, np.stack([g, 0 * g, -g], 1)


def fake(mode):
    return PySR([sys.executable, str(FAKE), mode])


def test_units_come_in_order_for_any_number_of_workers(layer):
    found = {
        workers: fit_units(*layer, Settings(), workers=workers, backend=fake("slow")) for workers in (1, 3)
    }
    for formulas in found.values():
        first, dead, last = formulas
        assert first.expression == last.expression == "x0^2 + 2 * x1^2"
        assert first.engine == "pysr"
        assert first.link.increasing and not last.link.increasing
        assert isinstance(dead, Skipped)
        assert dead.unit == 1 and "zero" in dead.reason
    assert [f.rows for f in found[1][::2]] == [f.rows for f in found[3][::2]]


def test_failures_stay_with_their_unit(layer):
    found = fit_units(*layer, Settings(), workers=2, backend=fake("search"))
    assert all(isinstance(unit, Skipped) for unit in found)
    assert "no such operator" in found[0].reason
    crashed = fit_units(*layer, Settings(), backend=fake("crash"))
    assert crashed[0].interrupted
    assert any("something broke" in message for message in crashed[0].messages)


def test_bad_shapes_and_a_missing_package_are_named(layer, monkeypatch):
    points, gradients, values = layer
    with pytest.raises(BadInput, match="N, units, d"):
        fit_units(points, points, None, Settings(), backend=fake("slow"))
    with pytest.raises(BadInput, match="values must have shape"):
        fit_units(points, gradients, values[:5], Settings(), backend=fake("slow"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendMissing):
        fit_units(points, gradients, values, Settings())
