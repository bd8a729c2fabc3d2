"""The frontier a reader sees, the row chosen on it, what rivals it, and what is left when the user will not wait."""

from __future__ import annotations

import numpy as np
import pytest

import symbolic
from interpret.outcome import Verdict
from symbolic import assemble, choice, controls, intervals, limits, scoring, targets
from symbolic.expression import complexity, value_and_gradient
from symbolic.findings import printed_nodes
from symbolic.parser import parse
from symbolic.polish import Field, candidate, polish
from symbolic.scoring import row_of

NAMES = ("x0", "x1", "x2")


def problem(text: str, d: int = 2, n: int = 900, low: float = -1, noise: float = 0.0) -> targets.Targets:
    rng = np.random.default_rng(0)
    x = rng.uniform(low, 1.5, (n, d))
    value, gradient = value_and_gradient(parse(text, NAMES[:d]), x)
    gradient = gradient + noise * np.linalg.norm(gradient, axis=1, keepdims=True) * rng.standard_normal(
        x.shape
    )
    return targets.build(x, gradient, value)


def rows(found: targets.Targets, *texts: str) -> list[scoring.Scored]:
    listed = [row_of(candidate(parse(text, NAMES[: found.width])), found) for text in texts]
    return [row for row in listed if row is not None]


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_every_row_of_the_frontier_is_better_than_all_cheaper_ones(noise: float) -> None:
    found = problem("x0^2 + sin(1.5*x1)", noise=noise)
    formula = symbolic.fit_gradients(found.points, found.directions, found.values, engine="eigen")
    table = formula.frontier
    assert len(table) >= 3
    assert table["cost"].is_monotonic_increasing
    assert (table["misalignment"].diff().dropna() < 0).all()
    assert table["chosen"].sum() == 1


def test_where_nothing_can_be_claimed_the_row_shown_is_nearly_the_best() -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (900, 3))
    g = np.column_stack([np.sin(7 * x[:, 1]), np.cos(9 * x[:, 0] * x[:, 2]), x[:, 0] + np.sin(5 * x[:, 1])])
    formula = symbolic.fit_gradients(x, g, x.sum(1), engine="eigen", accuracy=1.5e-3)
    assert formula.verdict is Verdict.NONE
    unclaimed = formula.frontier.query("misalignment >= 0.1")["misalignment"]
    assert formula.misalignment <= choice.NEARLY_BEST * unclaimed.min()


def test_alternatives_are_other_concepts_that_fit_as_well() -> None:
    found = problem("x0^2 + 2*x1^2", noise=0.05)
    line = [
        "x0^2 + 2*x1^2",
        "exp(x0^2 + 2*x1^2)",
        "x0^2 + 2*x1^2 + 0.0001*x0",
        "x0^2 - 2.0001*(1 - x1^2)",
        "x0 + x1",
    ]
    listed = rows(found, *line[:3], "x0^2 + 2.001*x1^2", line[4])
    others = choice.alternatives(listed, listed[0], found)
    trees = {row.tree for row in others}
    assert trees == {listed[2].tree, listed[3].tree}, "an outer exp is the same concept; a plane is worse"
    assert choice.rivals(others, listed[0]) == [], "more terms, or another constant, make no rival"
    bell = rows(found, "exp(-0.0001*x0^2) - 0.0002*x1^2")
    assert choice.rivals(choice.alternatives(bell, listed[0], found), listed[0]) == bell


def test_the_verdict_says_how_many_rivals_there_are() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.3, 0.3, (900, 2))
    g = np.column_stack([2 * x[:, 0], 2 * np.sin(x[:, 1])]) + 0.02 * rng.standard_normal(x.shape)
    formula = symbolic.fit_gradients(
        x, g, x[:, 0] ** 2 - 2 * np.cos(x[:, 1]), engine="eigen", accuracy=1.5e-3
    )
    assert formula.verdict is not Verdict.NONE
    assert len(formula.alternatives) >= 1
    assert "alternatives" in formula.reasons[-1]


def test_constants_that_may_be_zero_are_dropped() -> None:
    found = problem("tanh(1.5*x0) + x1*x2", d=3)
    row = row_of(candidate(parse("tanh(1.5*x0 - 7e-18) + x1*x2", NAMES)), found)
    done, figures = intervals.cleaned(row, found)
    assert done.tree == parse("tanh(1.5*x0) + x1*x2", NAMES)
    assert len(figures) == 3


@pytest.mark.parametrize(
    ("bent", "straight"),
    [
        ("x0^2 + 5000*exp(-0.0002*x1^2)", "x0^2 - x1^2"),
        ("sin(3*x0) + 0.5463025*cos(3*x0) + x1^2", "1.139493927*sin(3*x0 + 0.5) + x1^2"),
    ],
)
def test_a_formula_is_written_as_what_it_has_become(bent: str, straight: str) -> None:
    found = problem(straight)
    field = Field(found, found.fit)
    start, loss = polish(candidate(parse(bent, NAMES[:2])), field)
    shorter, new = limits.settle(start, field, loss)
    assert len(shorter.features) == 2
    assert new <= max(1.05 * loss, 1e-12)
    assert scoring.cost(shorter.tree) < scoring.cost(start.tree)


def test_a_bent_function_stays() -> None:
    found = problem("exp(-0.7*x0^2) + x1")
    field = Field(found, found.fit)
    start, loss = polish(candidate(parse("exp(-0.7*x0^2) + x1", NAMES[:2])), field)
    assert limits.settle(start, field, loss)[0].tree == start.tree


@pytest.mark.parametrize("seed", [0, 5, 6])
def test_a_control_that_leaves_its_domain_still_counts_as_a_number(seed: int) -> None:
    text, names = "log(0.4 + x0^2 + x1^2) - 0.6*x2*x3", (*NAMES, "x3")
    x = np.random.default_rng(0).uniform(-1.5, 1.5, (900, 4))
    value, gradient = value_and_gradient(parse(text, names), x)
    found = targets.build(x, gradient, value)
    row = row_of(candidate(parse(text, names)), found)
    tests = controls.run(row, found, seed=seed)
    assert all(np.isfinite(control.misalignment) and control.beaten for control in tests)


def test_an_interrupt_while_scoring_keeps_the_frontier(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problem("x0^2 + sin(1.5*x1)")
    calls = iter(range(1_000))

    def polished(*args: object, **kwargs: object) -> object:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return polish(*args, **kwargs)

    monkeypatch.setattr(scoring, "polish", polished)
    formula = symbolic.fit_gradients(found.points, found.directions, found.values, engine="eigen")
    assert formula.interrupted
    assert any("cancelled" in message for message in formula.messages)
    assert len(formula.frontier) >= 3


@pytest.mark.parametrize("stage", ["controls", "intervals", "link_of"])
def test_an_interrupt_after_scoring_claims_nothing_and_keeps_the_frontier(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    places = {
        "controls": (controls, "run"),
        "intervals": (intervals, "cleaned"),
        "link_of": (assemble, "link_of"),
    }
    monkeypatch.setattr(*places[stage], stop)
    found = problem("x0^2 + 2*x1^2")
    formula = symbolic.fit_gradients(found.points, found.directions, found.values, engine="eigen")
    assert formula.interrupted
    assert formula.verdict is Verdict.NONE
    assert formula.misalignment < 1e-6
    assert "controls" in formula.reasons[0]


def test_coefficients_that_will_vanish_do_not_count_against_the_length() -> None:
    tree = parse("0.31*x0^2 + 0.62*x1^2 + 0.3100001*x2^2", NAMES)
    assert printed_nodes(tree) == complexity(parse("x0^2 + 2*x1^2 + x2^2", NAMES))
    assert printed_nodes(parse("x0", NAMES)) == 1


def test_a_long_sum_on_symmetric_matrices_is_found_whole() -> None:
    rng = np.random.default_rng(0)
    m = rng.standard_normal((1_000, 3, 3))
    m = 0.5 * (m + np.swapaxes(m, 1, 2))
    noise = rng.standard_normal((1_000, 3, 3))
    g = (2 * m + 2 * (noise - np.swapaxes(noise, 1, 2))).reshape(1_000, 9)
    formula = symbolic.fit_gradients(m.reshape(1_000, 9), g, (m**2).sum((1, 2)), engine="eigen")
    assert formula.verdict is Verdict.EXACT
    assert formula.misalignment < 1e-6
