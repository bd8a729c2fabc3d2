"""The loss that PySR is given, run as it is written: its Julia text, line by line in Python, on arrays from 1.

Julia itself is not needed, so what is wrong with an index, a sign, a projector or a batch is seen on every machine.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from symbolic.backends.pysr_loss import LOSS, SETUP, STOP
from symbolic.expression import value_and_gradient
from symbolic.parser import parse
from symbolic.scoring import abs_misalignment, losses_of
from symbolic.targets import build

DATA = Path(__file__).parents[1] / "data" / "pysr"


class Counted:
    """An array as Julia indexes it."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __getitem__(self, index):
        return self.array[self._zero(index)]

    def __setitem__(self, index, value):
        self.array[self._zero(index)] = value

    @staticmethod
    def _zero(index):
        places = index if isinstance(index, tuple) else (index,)
        assert all(place >= 1 for place in places), "Julia counts from 1"
        return tuple(int(place) - 1 for place in places)


def line_of(text):
    """One line of the loss in Python; its indentation is Julia's."""
    text = re.sub(r"@inbounds |::Dataset\{T,L\}| where \{T,L\}", "", text)
    text = re.sub(r"(\w+)\[\]", r"\1", text.replace("; ", ", ").replace("=true", "=True"))
    text = text.replace("&&", "and").replace("^", "**").replace("Inf)", "inf)").replace("1:d", "span(d)")
    text = re.sub(r"= (.*) \? (.*) : (.*)", r"= \2 if \1 else \3", text)
    text = re.sub(r"^( *)(.*) \|\| return (.*)", r"\1if not (\2): return \3", text)
    text = re.sub(r"^( *)function (.*)", r"\1def \2:", text)
    text = re.sub(r"^( *)(for .*|if .*[^:]|else)$", r"\1\2:", text) if ": return" not in text else text
    return "" if text.strip() == "end" else text


def loss(directions, weights=None, projectors=None):
    """The function of a tree's gradient (n, d) and row numbers (n,) that the Julia text is."""
    directions = np.asarray(directions)
    blank = (
        np.zeros((0, 0, 0))
        if projectors is None
        else np.asarray(projectors).reshape(-1, *[directions.shape[1]] * 2)
    )
    names = {
        "TWINSCOPE_DIRECTIONS": Counted(directions.T),
        "TWINSCOPE_WEIGHTS": Counted(np.ones(len(directions)) if weights is None else weights),
        "TWINSCOPE_PROJECTORS": Counted(blank),
        # Values, gradients (features, points) and whether all of them are finite, as SymbolicRegression.jl gives them.
        "eval_grad_tree_array": lambda tree, X, options, variable: (
            None,
            Counted(tree.T),
            bool(np.isfinite(tree).all()),
        ),
        "size": lambda array, axis: array.array.shape[axis - 1],
        "axes": lambda array, axis: range(1, array.array.shape[axis - 1] + 1),
        "span": lambda last: range(1, last + 1),
        "zeros": lambda kind, length: Counted(np.zeros(length)),
        "isempty": lambda array: array.array.size == 0,
        "round": lambda kind, value: round(value),
        "isfinite": np.isfinite,
        "sqrt": np.sqrt,
        "abs": abs,
        "max": max,
        "L": float,
        "inf": np.inf,
        "Float64": float,
        "Int": int,
    }
    exec("\n".join(map(line_of, LOSS.splitlines())), names)

    def of(gradient, rows=None):
        y = np.arange(1.0, len(gradient) + 1) if rows is None else rows
        with np.errstate(all="ignore"):
            return names["twinscope_loss"](np.asarray(gradient), SimpleNamespace(X=None, y=Counted(y)), None)

    return of


def record(name):
    folder = DATA / name
    points, gradients = (
        np.loadtxt(folder / f"{what}.csv", delimiter=",") for what in ("points", "gradients")
    )
    with (folder / "hall_of_fame.csv").open() as file:
        return points, gradients, list(csv.DictReader(file))


@pytest.fixture
def directions():
    raw = np.random.default_rng(0).normal(size=(30, 3))
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["square", "sine"])
def test_it_computes_the_recorded_losses_and_what_our_scoring_computes(name):
    points, gradients, rows = record(name)
    targets = build(points, gradients, focus="all")
    of, everywhere = loss(targets.directions), np.arange(len(targets.points))
    for row in rows:
        tree = parse(row["Equation"])
        found = of(value_and_gradient(tree, targets.points)[1])
        assert found == pytest.approx(float(row["Loss"]), abs=1e-6)
        assert found == pytest.approx(abs_misalignment(losses_of(tree, targets, everywhere)[0]), abs=1e-6)


def test_projections_are_those_of_our_scoring():
    points = np.random.default_rng(0).dirichlet(np.ones(3), 80)
    targets = build(points, points * [2, 4, 6])
    assert targets.projector is not None
    of, everywhere = loss(targets.directions, projectors=targets.projector), np.arange(len(targets.points))
    for text in ("x0", "x0 * x1 + x2", "x0^2 + 2*x1^2 + 3*x2^2"):
        gradient = value_and_gradient(parse(text), targets.points)[1]
        ours = abs_misalignment(losses_of(parse(text), targets, everywhere)[0])
        assert of(gradient) == pytest.approx(ours, abs=1e-12)
        # Without them the loss is another.
        assert abs(loss(targets.directions)(gradient) - ours) > 1e-3


def test_one_projector_for_all_is_the_same_as_one_for_each(directions):
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    projector = turned @ np.diag([1, 1, 0]) @ turned.T
    gradient = np.random.default_rng(2).normal(size=(30, 3))
    inside = directions @ projector
    inside /= np.linalg.norm(inside, axis=1, keepdims=True)
    each = loss(inside, projectors=np.repeat(projector[None], 30, 0))(gradient)
    assert loss(inside, projectors=projector)(gradient) == pytest.approx(each, abs=1e-15)
    normal = turned[:, 2] * np.arange(30)[:, None]
    assert loss(inside, projectors=projector)(inside + normal) == pytest.approx(0, abs=1e-12)


def test_sign_and_length_say_nothing_and_no_direction_is_infinite(directions):
    lengths = np.random.default_rng(3).uniform(0.1, 9, size=(30, 1))
    assert loss(directions)(lengths * directions) == pytest.approx(0, abs=1e-15)
    assert loss(directions)(-lengths * directions) == pytest.approx(0, abs=1e-15)
    for value in (0.0, np.nan, np.inf):
        broken = directions.copy()
        broken[4] = value
        assert loss(directions)(broken) == np.inf


def test_weights_weigh(directions):
    mixed = np.where(np.arange(30)[:, None] < 10, directions, -directions)
    assert loss(directions, (np.arange(30) < 10).astype(float))(mixed) == pytest.approx(0, abs=1e-15)
    assert loss(directions)(mixed) == pytest.approx(1 - 10 / 30)


def test_a_batch_keeps_its_directions(directions):
    gradient = np.random.default_rng(4).normal(size=(30, 3))
    chosen = np.random.default_rng(5).permutation(30)[:12]
    alone = loss(directions[chosen])(gradient[chosen])
    # A batch slices X and y together: its rows come with their numbers, in any order.
    assert loss(directions)(gradient[chosen], chosen + 1.0) == pytest.approx(alone, abs=1e-15)
    assert abs(loss(directions)(gradient[chosen]) - alone) > 1e-3


def test_a_batch_keeps_its_weights(directions):
    weights = np.random.default_rng(6).uniform(0.1, 9, 30)
    gradient = np.random.default_rng(4).normal(size=(30, 3))
    cosines = (gradient * directions).sum(1) / np.linalg.norm(gradient, axis=1)
    # Rows past the batch's own count, so that a column's number is never its row's.
    for chosen in (np.arange(18, 30), np.random.default_rng(5).permutation(30)[:12]):
        expected = 1 - abs(np.average(cosines[chosen], weights=weights[chosen]))
        assert loss(directions, weights)(gradient[chosen], chosen + 1.0) == pytest.approx(expected, abs=1e-12)


def test_the_julia_source_is_whole():
    for source in (SETUP, LOSS):
        words = source.replace("(", " ").replace("\n", " ").split()
        assert sum(words.count(word) for word in ("begin", "function", "if", "for")) == words.count("end")
    # PySR takes three positional arguments, and one traversal gives the value and all gradients.
    assert "function twinscope_loss(tree, dataset::Dataset{T,L}, options) where {T,L}" in LOSS
    assert LOSS.count("eval_grad_tree_array") == 1
    assert "TWINSCOPE_DIRECTIONS[] = Matrix{Float64}(permutedims(directions))" in SETUP
    assert STOP.startswith("twinscope_stop(loss, complexity) =")
