"""The verdicts of thirty prepared neurons, and of a concept that holds in one region only."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from interpret.evidence.crosscheck import crosscheck
from interpret.evidence.explainer import Explainer, Settings
from interpret.evidence.verdict import judge
from interpret.outcome import Verdict


def _cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "verdict_cases", Path(__file__).with_name("verdict_cases.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_prepared_neurons_get_the_verdict_they_were_made_for() -> None:
    cases = _cases().all_cases()
    labels = Counter(case.label for case in cases)
    assert len(cases) == 30
    assert labels["EXACT"] >= 10
    assert labels["NONE"] >= 10
    wrong = []
    for case in cases:
        settings = Settings(engine=case.engine, search="eigen", title=case.name)
        found = Explainer(case.model, case.X, settings=settings).explain("[0]")
        assert not (case.label == "NONE" and found.verdict is Verdict.EXACT), case.name
        if found.verdict != case.label:
            wrong.append((case.name, case.label, str(found.verdict), found.reasons))
    assert len(wrong) <= 2, wrong


class Piecewise(nn.Module):
    """x0·x1 where x2 > 0.5, else x0 + x1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 2] > 0.5, x[:, 0] * x[:, 1], x[:, 0] + x[:, 1])[:, None]


@pytest.mark.parametrize("seed", range(3))
def test_a_concept_of_one_region_is_not_exact_and_the_region_is_named(seed: int) -> None:
    X = np.random.default_rng(seed).uniform(-1, 1, (4000, 3))
    X[:, 2] = (X[:, 2] + 1) / 2
    found = Explainer(
        Piecewise(), X, settings=Settings(engine="symbolic", search="eigen", seed=seed)
    ).explain("[0]")
    assert found.verdict in (Verdict.APPROXIMATE, Verdict.NONE)
    assert found.formula is not None
    region = found.formula.failing
    assert region is not None
    assert region.conditions[0][0] == 2
    assert 0.45 <= region.conditions[0][2] <= 0.55
    assert any("x2" in reason for reason in found.reasons)
    assert len(region.nearest) == 5


def test_without_a_formula_the_verdict_is_none_and_says_why() -> None:
    said = judge(None, None, None)
    assert said.verdict is Verdict.NONE
    assert said.advice


def test_crosscheck_counts_only_rows_with_a_direction() -> None:
    network = np.array([[1.0, 0.0], [0.0, 1.0], [1e-9, 1e-9]])
    check = crosscheck(network, network * 3.0, -network)
    assert check.formula_network == pytest.approx(1.0)
    assert check.gp_network == pytest.approx(1.0)
