"""The demonstration does what the README says of it, from the command line to the last figure."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gp
import interpret
import symbolic
from interpret import demo
from interpret.demo import Case, digits, ellipse


def twinscope(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from interpret.cli import run; run()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_says_what_it_does_and_where_the_report_is(demo_run: Path) -> None:
    told = (demo_run.parents[1] / "demo.txt").read_text()
    for step in ("training the digits CNN", "explaining breast-cancer out[0]", "writing the report"):
        assert step in told
    assert str(demo_run / "report.html") in told
    assert (demo_run / "report.html").stat().st_size < 5_000_000


def test_three_units_of_each_network_by_both_engines(demo_run: Path) -> None:
    with interpret.open_run(demo_run) as run:
        neurons = list(run.explanations())
    assert sorted(n.model for n in neurons) == sorted(["digits", "ellipse", "breast-cancer"] * 3)
    for neuron in neurons:
        assert neuron.failures == (), neuron.title
        assert neuron.formula is not None
        assert neuron.examples is not None
        assert neuron.examples.pearson > 0.999, neuron.title


def test_the_hidden_rule_is_found(demo_run: Path) -> None:
    with interpret.open_run(demo_run) as run:
        neuron = run.load("out[0]", model="ellipse")
    assert neuron.verdict == "EXACT"
    assert neuron.formula is not None
    assert 1.9 <= _ratio(neuron.formula.expression) <= 2.1
    assert neuron.formula.link is not None
    assert neuron.formula.link.r2 > 0.99


def _ratio(expression: str) -> float:
    """b/a of a·x0² + b·x1²."""
    parts = re.fullmatch(r"(?:([\d.]+) \* )?x0\^2 \+ (?:([\d.]+) \* )?x1\^2", expression)
    assert parts, expression
    return float(parts[2] or 1) / float(parts[1] or 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_hidden_rule_is_found_whatever_the_seed(seed: int) -> None:
    trained = ellipse(seed=seed)
    found = symbolic.fit(interpret.Probe(trained.model, "out[0]"), trained.X)
    assert 1.9 <= _ratio(found.expression) <= 2.1
    assert found.verdict == "EXACT"


def test_breast_cancer_rows_carry_their_names(demo_run: Path) -> None:
    with interpret.open_run(demo_run) as run:
        neuron = run.load("out[0]", model="breast-cancer")
    assert neuron.examples is not None
    assert all(t.kind == "row" and "worst radius" not in t.label for t in neuron.examples.thumbnails)
    assert {name for t in neuron.examples.thumbnails for name in t.names} <= set(neuron.formula.names)  # type: ignore[union-attr]


def test_one_neuron_is_asked_for(demo_run: Path) -> None:
    done = twinscope("query", str(demo_run), "out[3]", "--json")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert (answer["address"], answer["model"]) == ("out[3]", "digits")
    assert answer["pearson"] > 0.9999


@pytest.fixture(scope="module")
def case() -> Case:
    return digits(seed=0)


@pytest.fixture(scope="module")
def distilled(case: Case) -> gp.Distillation:
    return gp.distill(case.model, case.X, seed=0)


def test_every_head_of_the_digits_is_predicted(case: Case, distilled: gp.Distillation) -> None:
    assert case.accuracy > 0.95
    assert distilled.fidelity(case.X_test)["pearson"].min() >= 0.9999


def test_contributions_explain_and_add_up(case: Case, distilled: gp.Distillation) -> None:
    latent = distilled.predict(case.X_test).latent
    predicted = latent.argmax(1)
    share, agreement = [], []
    for row, head in enumerate(predicted):
        image = case.X_test[row : row + 1]
        contributions = np.asarray(distilled.contributions(image, head=int(head))).reshape(-1)
        share.append(np.abs(contributions).sum() / abs(contributions.sum()))
        total = distilled.baseline[head] + contributions.sum()
        assert abs(total - latent[row, head]) <= 1e-8 * max(1.0, abs(latent[row, head]))
        near = distilled.neighbors(image, k=10, head=int(head)).index[0]
        agreement.append(np.mean(case.y[near] == head))
    assert np.median(share) <= 2
    assert np.mean(agreement) >= 0.95


def test_networks_are_trained_on_one_thread_and_the_callers_number_is_restored() -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    seen: list[int] = []
    torch.set_num_threads(2)
    try:
        demo.train(demo.table_network(2, 4), X, (X[:, 0] > 0).astype(np.int64), steps=2, seed=0,
                   progress=lambda share: seen.append(torch.get_num_threads()))  # fmt: skip
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
