"""Recorded searches of a real PySR, through our own parser, gradients, scoring, choice and card."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import symbolic
from symbolic.backends.base import Settings
from symbolic.backends.job import candidates
from symbolic.backends.messages import Equation
from symbolic.backends.pysr import PySR
from symbolic.backends.pysr_loss import direction_loss
from symbolic.equivalence import same_concept
from symbolic.expression import complexity, value_and_gradient
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


def test_misalignments_are_the_recorded_losses(recorded):
    points, gradients, rows = recorded
    directions = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    for row in rows:
        found = value_and_gradient(parse(row.text), points)[1]
        unit = found / np.linalg.norm(found, axis=1, keepdims=True)
        ours = 1 - abs((unit * directions).sum(1).mean())
        assert ours == pytest.approx(row.loss, abs=1e-6)
        assert direction_loss(found, directions) == pytest.approx(row.loss, abs=1e-6)


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
