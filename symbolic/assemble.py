"""From a search's candidates to a `Formula`: the same scoring, choice, link, controls and verdict for every
backend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from interpret.errors import InterpretError, NotConverged, TooFewPoints, UsageError
from interpret.outcome import Verdict
from symbolic import choice, controls, derivatives, intervals, judge, scoring, single
from symbolic import formula as formulas
from symbolic.backends.base import CANCELLED, Backend, SearchResult, Settings, shown
from symbolic.expression import Tree, evaluate
from symbolic.formula import Formula
from symbolic.link import Link, fit_link
from symbolic.scoring import Scored
from symbolic.simplify import tidy
from symbolic.targets import Targets

Array = NDArray[np.float64]
Redrawn = Callable[[int, NDArray[np.int64]], Array]
ENGINES = ("auto", "eigen", "pysr")


def formula(
    targets: Targets,
    settings: Settings,
    engine: str | Backend,
    started: float,
    redrawn: Redrawn | None = None,
) -> Formula:
    """Search with the engine asked for, by name or as a backend, then score, choose and judge."""
    if engine not in ENGINES if isinstance(engine, str) else not isinstance(engine, Backend):
        raise UsageError(f"engine must be one of {', '.join(ENGINES)}, or a backend, got {shown(engine)}")
    derivatives.check(settings.user_operators, targets.points[targets.fit])
    deadline = None if settings.time_limit is None else started + settings.time_limit
    first = "eigen" if engine == "auto" else engine
    found = _searched(_backend(first), targets, settings, deadline, started, redrawn)
    if engine != "auto" or found.verdict is not Verdict.NONE or found.interrupted:
        return found
    second = _backend("pysr")
    if second.available() is not None:
        return found
    try:
        other = _searched(second, targets, settings, deadline, started, redrawn)
    except InterpretError as error:
        # The second opinion is an extra: without it the first one still stands.
        return replace(found, messages=(*found.messages, str(error)))
    return other if other.verdict is not Verdict.NONE else found


def _backend(engine: str | Backend) -> Backend:
    if not isinstance(engine, str):
        return engine
    if engine == "eigen":
        from symbolic.backends.eigen import Eigen

        return Eigen()
    from symbolic.backends.pysr import shared

    return shared()


def _searched(
    backend: Backend,
    targets: Targets,
    settings: Settings,
    deadline: float | None,
    started: float,
    redrawn: Redrawn | None,
) -> Formula:
    missing = backend.available()
    if missing is not None:
        raise missing.error()
    with threadpool_limits(1), np.errstate(all="ignore"):
        # Sums differ in the last bit between one BLAS thread and two; the same seed must give the same bytes.
        if len(targets.effective_inputs) == 1 and backend.capabilities().values:
            return _by_value(targets, settings, backend.name, started)
        result = backend.search(targets, settings, deadline)
        return assemble(result, backend.name, targets, settings, started, redrawn)


def _by_value(targets: Targets, settings: Settings, engine: str, started: float) -> Formula:
    """One effective input: fitted by value, never claimed by alignment."""
    found = single.fit(targets, settings)
    at = single.choose(found)
    said = single.judge(found[at], targets)
    return Formula(
        rows=tuple(_plain(item.row) for item in found),
        chosen=at,
        names=targets.names,
        verdict=said.verdict,
        reasons=said.reasons,
        advice=said.advice,
        engine=engine,
        link=link_of(found[at].row.tree, targets, settings.user_operators),
        summary=formulas.Summary.of(targets),
        operators=settings.user_operators,
        seconds=time.monotonic() - started,
        seed=settings.seed,
        targets=targets,
    )


def assemble(
    result: SearchResult,
    engine: str,
    targets: Targets,
    settings: Settings,
    started: float,
    redrawn: Redrawn | None = None,
    contenders: int = choice.CONTENDERS,
) -> Formula:
    """Score candidates, choose a row, fit its link, run the controls, judge.

    The constants of so many ``contenders`` are snapped before the choice.
    """
    user = settings.user_operators
    # Other engines write x0*x0 + x0*x0; every row is scored as it will be printed.
    trees = tuple(dict.fromkeys(tidy(tree, user) for tree in result.candidates))
    deadline = None if settings.time_limit is None else started + settings.time_limit
    scores = scoring.score(trees, targets, user, deadline, most=(settings.max_terms, settings.max_complexity))
    if not scores.rows:
        raise NotConverged(
            "no candidate formula is finite on the points; allow more operators or terms, or pass points inside "
            "their domain"
        )
    base = Formula(
        rows=(),
        chosen=0,
        names=targets.names,
        verdict=Verdict.NONE,
        engine=engine,
        summary=formulas.Summary.of(targets),
        operators=user,
        messages=result.messages,
        interrupted=result.interrupted or scores.interrupted,
        seed=settings.seed,
        targets=targets,
    )
    try:
        found = _judged(base, scores.rows, redrawn, contenders)
    except KeyboardInterrupt:
        found = _unjudged(base, scores.rows)
    if scores.interrupted and not result.interrupted:
        found = replace(found, messages=(*found.messages, CANCELLED))
    return replace(found, seconds=time.monotonic() - started)


def _judged(base: Formula, scored: list[Scored], redrawn: Redrawn | None, contenders: int) -> Formula:
    """The formula with its chosen row, link, controls and verdict."""
    targets = base.targets
    assert targets is not None
    scored, known = _settled(scored, targets, base.seed, contenders)
    rows = choice.frontier(scored)
    at = choice.choose(rows, targets)
    chosen = rows[at]
    figures = known.get(chosen.tree) or intervals.coefficients(chosen, targets, base.seed)
    others = choice.alternatives(scored, chosen, targets)
    link = link_of(chosen.tree, targets, base.operators)
    tests = controls.run(chosen, targets, _at(redrawn, targets), base.seed)
    said = judge.judge(chosen, tests, link, targets, len(choice.rivals(others, chosen)))
    return replace(
        base,
        rows=tuple(_plain(row) for row in rows),
        chosen=at,
        verdict=said.verdict,
        reasons=said.reasons,
        advice=said.advice,
        link=link,
        coefficients=figures,
        controls=tests,
        alternative_rows=tuple(_plain(row) for row in others),
    )


def _settled(
    scored: list[Scored], targets: Targets, seed: int, contenders: int
) -> tuple[list[Scored], dict[Tree, tuple[formulas.Coefficient, ...]]]:
    """The rows with the constants snapped of those that may be chosen: a row is chosen as it will be printed.

    The intervals found on the way come by formula.
    """
    known: dict[Tree, tuple[formulas.Coefficient, ...]] = {}
    settled: dict[Tree, Scored] = {}
    for row in choice.contenders(choice.frontier(scored), targets)[:contenders]:
        done, figures = intervals.cleaned(row, targets, seed)
        settled[row.tree] = done
        known[done.tree] = figures
    rows = [settled.get(row.tree, row) for row in scored]
    return list({row.tree: row for row in rows}.values()), known


def _unjudged(base: Formula, scored: list[Scored]) -> Formula:
    """The frontier alone, where the user would not wait for the controls: nothing is claimed."""
    rows = choice.frontier(scored)
    at = min(
        range(len(rows)), key=lambda k: np.log(max(rows[k].held_out, 1e-9)) + choice.PRICE * rows[k].cost
    )
    reason = "the controls were not run, because the user interrupted; without them nothing is claimed"
    return replace(
        base,
        rows=tuple(_plain(row) for row in rows),
        chosen=at,
        reasons=(reason,),
        advice=("run again to the end",),
        messages=(*base.messages, CANCELLED),
        interrupted=True,
    )


def _at(redrawn: Redrawn | None, targets: Targets) -> Callable[[int, Array], Array] | None:
    if redrawn is None:
        return None
    return lambda seed, points: redrawn(seed, targets.rows)


def link_of(tree: Tree, targets: Targets, user: Sequence[Any] = ()) -> Link | None:
    """φ fitted on the fitting rows and scored on held-out ones; None without values."""
    if targets.everywhere is None:
        return None
    points, values = targets.everywhere
    with np.errstate(all="ignore"):
        t = evaluate(tree, points, tuple(user) or None)
    half = len(points) // 2
    try:
        return fit_link(t[:half], values[:half], t[half:], values[half:])
    except TooFewPoints:
        return None


def _plain(row: Scored) -> formulas.Row:
    return formulas.Row(row.tree, row.held_out, row.fitted, row.low, row.upper, row.mse)
