"""Many neurons by an external engine: in order, whatever the number of workers, dead units and failures apart."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from interpret.errors import BackendMissing, BadInput, NameMismatch
from symbolic import assemble
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


def interrupt_when(note):
    """Ctrl-C once the note says that the second unit's search goes on."""
    main = threading.main_thread().ident

    def watch():
        for _ in range(500):
            if note.exists() and note.read_text():
                break
            time.sleep(0.02)
        time.sleep(0.3)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_the_units_that_are_done(workers, tmp_path):
    points = np.random.default_rng(0).uniform(-1, 1, (120, 2))
    gradients = np.stack([points * [2, 4]] * 4, 1)
    note = tmp_path / "note"
    backend = PySR([sys.executable, str(FAKE), "second-endless", str(note)])
    thread = interrupt_when(note)
    found = fit_units(points, gradients, None, Settings(), workers=workers, backend=backend)
    thread.join()
    formulas = [unit for unit in found if not isinstance(unit, Skipped)]
    assert len(found) == 4
    assert sum(not formula.interrupted for formula in formulas) == 1
    assert sum(formula.interrupted for formula in formulas) == workers
    assert all("cancelled" in unit.reason for unit in found if isinstance(unit, Skipped))


def test_ctrl_c_before_anything_was_found_is_passed_on(layer, tmp_path):
    note = tmp_path / "note"
    note.write_text("now")
    thread = interrupt_when(note)
    with pytest.raises(KeyboardInterrupt):
        fit_units(*layer, Settings(), backend=fake("silent"))
    thread.join()


def test_ctrl_c_while_units_are_scored_keeps_those_before(layer, monkeypatch):
    points, gradients, _ = layer
    real, asked = assemble.assemble, []

    def interrupted(*arguments):
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(assemble, "assemble", interrupted)
    found = fit_units(points, gradients[:, [0, 2, 0]], None, Settings(), backend=fake("slow"))
    assert found[0].expression == "x0^2 + 2 * x1^2"
    assert found[1:] == [Skipped(1, "cancelled"), Skipped(2, "cancelled")]


def test_bad_gradients_skip_their_unit_alone(layer):
    points, gradients, values = layer
    broken = gradients.copy()
    broken[:, 0] = np.nan
    first, dead, last = fit_units(points, broken, values, Settings(), backend=fake("slow"))
    assert isinstance(first, Skipped)
    assert isinstance(dead, Skipped)
    assert last.expression == "x0^2 + 2 * x1^2"
    with pytest.raises(NameMismatch):
        fit_units(points, gradients, values, Settings(), names=["a", "a"], backend=fake("slow"))
    with pytest.raises(BadInput, match="points must have shape"):
        fit_units(points[:5], gradients, values, Settings(), backend=fake("slow"))


def test_bad_shapes_and_a_missing_package_are_named(layer, monkeypatch):
    points, gradients, values = layer
    with pytest.raises(BadInput, match="N, units, d"):
        fit_units(points, points, None, Settings(), backend=fake("slow"))
    with pytest.raises(BadInput, match="values must have shape"):
        fit_units(points, gradients, values[:5], Settings(), backend=fake("slow"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendMissing):
        fit_units(points, gradients, values, Settings())
