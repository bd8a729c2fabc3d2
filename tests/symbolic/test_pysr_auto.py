"""engine="auto": eigen first, PySR only where it is there and eigen has nothing; its failure costs nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import symbolic
from interpret.errors import UsageError
from interpret.outcome import Verdict
from symbolic.backends import pysr
from symbolic.backends.base import Backend, Capabilities, Missing, SearchResult
from symbolic.parser import parse

FAKE = Path(__file__).with_name("fake_worker.py")


class Scripted:
    """A backend that says what it is told to; it counts how often it was asked."""

    def __init__(self, name, texts, missing=None):
        self.name, self.trees, self.missing, self.asked = name, tuple(map(parse, texts)), missing, 0

    def capabilities(self):
        return Capabilities(operators=frozenset("+*"))

    def available(self):
        return self.missing

    def search(self, targets, settings, deadline=None):
        self.asked += 1
        return SearchResult(self.trees, messages=(f"{self.name} was asked",))


@pytest.fixture
def fitted(monkeypatch):
    points = np.random.default_rng(0).uniform(-1, 1, (200, 2))

    def fit(first, second, engine="auto", **options):
        monkeypatch.setattr("symbolic.backends.eigen.Eigen", lambda: first)
        monkeypatch.setattr(pysr, "shared", lambda: second)
        return symbolic.fit_gradients(points, points * [2, 4], engine=engine, focus="all", **options)

    return fit


def test_a_claim_of_eigen_ends_the_search(fitted):
    good, other = Scripted("eigen", ["x0^2 + 2*x1^2"]), Scripted("pysr", ["x0"])
    assert fitted(good, other).engine == "eigen"
    assert other.asked == 0


def test_pysr_is_asked_where_eigen_has_nothing(fitted):
    poor, good = Scripted("eigen", ["x0"]), Scripted("pysr", ["x0^2 + 2*x1^2"])
    formula = fitted(poor, good)
    assert (formula.engine, good.asked) == ("pysr", 1)
    assert formula.verdict is not Verdict.NONE
    assert "pysr was asked" in formula.messages


def test_where_neither_has_anything_eigens_answer_stays(fitted):
    formula = fitted(Scripted("eigen", ["x0"]), Scripted("pysr", ["x1"]))
    assert formula.engine == "eigen"
    assert formula.verdict is Verdict.NONE


def test_without_pysr_nothing_changes(fitted):
    missing = Scripted("pysr", ["x0^2"], Missing("pysr", "not installed", "pip install it"))
    assert fitted(Scripted("eigen", ["x0"]), missing).engine == "eigen"
    assert missing.asked == 0


@pytest.mark.parametrize("mode", ["dead", "search", "unstarted"])
def test_a_failing_pysr_becomes_a_message(mode, fitted):
    with pysr.PySR([sys.executable, str(FAKE), mode]) as broken:
        formula = fitted(Scripted("eigen", ["x0"]), broken)
    assert formula.engine == "eigen"
    assert any("worker" in message or "PySR" in message for message in formula.messages)


def test_operators_that_pysr_lacks_do_not_spoil_eigens_answer(fitted):
    own = symbolic.user_operator("bump", np.exp, np.exp)
    with pysr.PySR([sys.executable, str(FAKE), "slow"]) as backend:
        formula = fitted(Scripted("eigen", ["x0"]), backend, operators=["+", "*", own])
    assert formula.engine == "eigen"
    assert any("Julia source" in message for message in formula.messages)


def test_options_reach_pysr_only(fitted):
    with pysr.PySR([sys.executable, str(FAKE), "slow"]) as backend:
        formula = fitted(Scripted("eigen", ["x0"]), backend, engine="pysr", pysr_options={"niterations": 3})
        assert formula.engine == "pysr"
        with pytest.raises(UsageError, match="did you mean niterations"):
            fitted(Scripted("eigen", ["x0"]), backend, engine="pysr", pysr_options={"niteration": 3})


def test_an_unknown_engine_is_refused(fitted):
    with pytest.raises(UsageError, match="eigen, pysr"):
        fitted(Scripted("eigen", []), Scripted("pysr", []), engine="magic")


def test_one_backend_serves_a_process(monkeypatch):
    assert isinstance(pysr.shared(), Backend)
    assert pysr.shared() is pysr.shared()
    first = pysr.shared()
    real = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: real + 1)
    assert pysr.shared() is not first
