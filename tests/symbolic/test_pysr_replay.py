"""Recorded searches of a real PySR, through our own parser, gradients, scoring, choice and card."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import symbolic
from symbolic import scoring
from symbolic.backends.base import Settings
from symbolic.backends.frontier import candidates
from symbolic.backends.messages import Equation
from symbolic.backends.pysr import PySR
from symbolic.equivalence import same_concept
from symbolic.expression import complexity
from symbolic.parser import parse
from symbolic.targets import build

DATA = Path(__file__).parents[1] / "data" / "pysr"
FAKE = Path(__file__).with_name("fake_worker.py")


def record(name):
    folder = DATA / name
    points = np.loadtxt(folder / "points.csv", delimiter=",", ndmin=2)
    gradients = np.loadtxt(folder / "gradients.csv", delimiter=",", ndmin=2)
    with (folder / "hall_of_fame.csv").open() as file:
        rows = [Equation(int(r["Complexity"]), float(r["Loss"]), r["Equation"]) for r in csv.DictReader(file)]
    return points, gradients, rows


@pytest.fixture(scope="module", params=["square", "sine"])
def recorded(request):
    return record(request.param)


def test_every_recorded_row_parses_with_the_complexity_pysr_counted(recorded):
    _, _, rows = recorded
    trees, unread = candidates(tuple(rows))
    assert unread == ()
    assert [complexity(tree) for tree in trees] == [row.complexity for row in rows]


def scored(monkeypatch, texts, points, gradients):
    """Production scoring of formulas as they stand, on every point: a clock that has just passed the deadline."""
    targets = build(points, gradients, focus="all")
    everywhere = np.arange(len(targets.points))
    monkeypatch.setattr(scoring, "time", SimpleNamespace(monotonic=lambda: 100.1))
    targets = replace(targets, fit=everywhere, held_out=everywhere)
    return [scoring.score([parse(text)], targets, deadline=100.0).rows for text in texts]


def test_misalignments_are_the_recorded_losses(recorded, monkeypatch):
    points, gradients, rows = recorded
    found = scored(monkeypatch, [row.text for row in rows], points, gradients)
    for row, (ours,) in zip(rows, found, strict=True):
        assert ours.fitted == pytest.approx(row.loss, abs=1e-6)
        assert ours.held_out == pytest.approx(row.loss, abs=1e-6)


def test_other_gradients_have_other_misalignments(recorded, monkeypatch):
    points, gradients, rows = recorded
    found = scored(monkeypatch, [rows[-1].text], points, gradients[::-1])
    assert abs(found[0][0].fitted - rows[-1].loss) > 1e-3


def searched(name, points, gradients, **options):
    targets = build(points, gradients, focus="all")
    command = [sys.executable, str(FAKE), "replay", str(DATA / name / "hall_of_fame.csv")]
    with PySR(command) as backend:
        return backend.search(targets, Settings(**options))


def test_the_frontier_comes_back_from_a_worker_as_recorded():
    for name in ("square", "sine"):
        points, gradients, rows = record(name)
        result = searched(name, points, gradients)
        assert result.candidates == tuple(parse(row.text) for row in rows)
        assert not result.interrupted


@pytest.mark.parametrize(
    ("name", "chosen"), [("square", "x0^2 + 2*x1^2"), ("sine", "0.7262093882572701/exp(x0) + sin(x1 + x2)")]
)
def test_the_chosen_formula_is_the_recorded_one(name, chosen):
    points, gradients, rows = record(name)
    command = [sys.executable, str(FAKE), "replay", str(DATA / name / "hall_of_fame.csv")]
    with PySR(command) as backend:
        formula = symbolic.fit_gradients(points, gradients, engine=backend, focus="all")
    assert formula.engine == "pysr"
    assert same_concept(formula.tree, parse(chosen), points, tolerance=0.02)
    assert formula.misalignment < 5e-4
    best = min(row.loss for row in rows)
    assert formula.misalignment < 2 * best + 1e-4
    assert math.isfinite(formula.row().upper)
    assert chosen.count("sin") == formula.expression.count("sin")
    if name == "square":
        assert formula.expression == "x0^2 + 2 * x1^2"
    assert formula.mathml() in formula._repr_html_()
