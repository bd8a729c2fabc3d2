"""A search recorded from a real PySR, replayed by a scripted worker, reaches the report page like any other."""

from __future__ import annotations

import csv
import html
import sys
from pathlib import Path

import numpy as np
import pytest

import symbolic
from interpret.evidence.formulas import formula_part
from interpret.evidence.verdict import judge
from interpret.explanation import NeuronExplanation, Provenance
from interpret.report import write
from symbolic.backends.pysr import PySR
from symbolic.expression import value_and_gradient

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["square", "sine"])
def test_recorded_frontier_on_the_page(name: str, tmp_path: Path) -> None:
    folder = TESTS / "data" / "pysr" / name
    points, gradients = (
        np.loadtxt(folder / f"{what}.csv", delimiter=",") for what in ("points", "gradients")
    )
    command = [
        sys.executable,
        str(TESTS / "symbolic" / "fake_worker.py"),
        "replay",
        str(folder / "hall_of_fame.csv"),
    ]
    with PySR(command) as backend:
        found = symbolic.fit_gradients(points, gradients, engine=backend)
    assert found.engine == "pysr"
    ours = value_and_gradient(found.tree, points)[1]
    cosines = (ours * gradients).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(gradients, axis=1)
    part = formula_part(found, points, gradients, ours, cosines)
    said = judge(part, None, None)
    where = Provenance(0, "", "", "2024-01-01T00:00:00+00:00", (), (), 0.0)
    neuron = NeuronExplanation(
        "out[0]",
        name,
        "recorded",
        said.verdict,
        said.claim,
        said.reasons,
        said.advice,
        part,
        None,
        None,
        where,
    )
    text = html.unescape(write([neuron], tmp_path / "r.html").read_text(encoding="utf8"))
    with (folder / "hall_of_fame.csv").open() as file:
        recorded = len(list(csv.DictReader(file)))
    assert 1 < len(part.frontier) <= recorded
    for row in part.frontier:
        assert f"{row.complexity}" in text
    assert part.expression in text
    assert text.count("<math") >= len(part.frontier)
