"""Intervals of a formula's constants, and snapping them to numbers a reader knows, inside the interval only."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from symbolic.expression import constants, linear, with_constants
from symbolic.formula import Coefficient
from symbolic.polish import Candidate, Field, candidate, polish, resample
from symbolic.printing import text
from symbolic.rewriting import plainer
from symbolic.scoring import ROUNDING, Scored, plain, rounded, row_of, upright
from symbolic.simplify import tidy
from symbolic.targets import Targets

Array = NDArray[np.float64]

#: Intervals are never narrower than this share of the value: the printed digits end there.
NARROWEST = 2e-6
#: Numbers that are not rational and still mean something.
KNOWN = (("pi", math.pi), ("e", math.e), ("sqrt2", math.sqrt(2)))
#: A snap must be a coincidence less likely than this, given the width of the interval.
COINCIDENCE = 0.15
#: A constant below this is tried without, whatever its interval.
NOTHING = 1e-9
#: Points that intervals rest on at most.
POINTS = 2_000


def coefficients(row: Scored, targets: Targets, seed: int = 0) -> tuple[Coefficient, ...]:
    """The ratio of every coefficient to the first term's, then the inner constants, with 95 % intervals."""
    found = row.candidate
    field_ = Field(targets, targets.fit[:POINTS], found.user)
    with np.errstate(all="ignore"):
        spread = resample(found, field_, seed)
    m = len(found.coefficients)
    ratio = spread.draws[:, :m] / spread.draws[:, :1]
    centre = spread.centre[:m] / spread.centre[0]
    low, high = _widened(centre, *spread.interval(centre, ratio))
    rows = [
        Coefficient(text(tree, targets.names), float(c), float(a), float(b))
        for tree, c, a, b in zip(found.features, centre, low, high, strict=True)
    ]
    inner = spread.centre[m:]
    low, high = _widened(inner, *spread.interval(inner, spread.draws[:, m:]))
    places = [tree for tree, free in zip(found.features, found.free, strict=True) for _ in free]
    return (
        *rows,
        *(
            Coefficient(text(tree, targets.names), float(c), float(a), float(b), inner=True)
            for tree, c, a, b in zip(places, inner, low, high, strict=True)
        ),
    )


def _widened(values: Array, low: Array, high: Array) -> tuple[Array, Array]:
    least = NARROWEST * np.abs(values)
    low = np.where(np.isfinite(low), np.minimum(low, values - least), -np.inf)
    high = np.where(np.isfinite(high), np.maximum(high, values + least), np.inf)
    if len(values) and values[0] == 1.0 and low[0] >= 1 - 2 * NARROWEST:
        low[0] = high[0] = 1.0
    return low, high


def cleaned(row: Scored, targets: Targets, seed: int = 0) -> tuple[Scored, tuple[Coefficient, ...]]:
    """The row as it should be printed, and its intervals: inner constants that may be zero are dropped, the others
    snapped.
    """
    figures = coefficients(row, targets, seed)
    for _ in range(4):
        shorter = _without_idle(row, figures, targets)
        if shorter is None:
            break
        row, figures = shorter, coefficients(shorter, targets, seed)
    done = snapped(row, figures, targets)
    reworded = _reworded(done, targets)
    if reworded is None:
        return done, figures
    return reworded, coefficients(reworded, targets, seed)


def _reworded(row: Scored, targets: Targets) -> Scored | None:
    """The row in plainer words, such as a phase snapped to a quarter turn allows; None where there are none."""
    user = row.candidate.user
    features = [plainer(tree, targets.points, user or None) for tree in row.candidate.features]
    if features == list(row.candidate.features):
        return None
    again = candidate(linear(row.candidate.coefficients, features), user)
    trial = None if again is None else row_of(upright(again), targets)
    return trial if trial is not None and trial.cost <= row.cost and _no_worse(trial, row) else None


def _without_idle(row: Scored, found: tuple[Coefficient, ...], targets: Targets) -> Scored | None:
    """The row without one inner constant whose interval holds zero; None where the score needs them all."""
    m = len(row.candidate.coefficients)
    field_ = Field(targets, targets.fit, row.candidate.user)
    for k in range(m, len(found)):
        if not (found[k].low <= 0 <= found[k].high or abs(found[k].value) < NOTHING):
            continue
        changed = _replaced(row.candidate, k, m, 0.0)
        start = candidate(
            linear(changed.coefficients, [tidy(b, changed.user) for b in changed.features]), changed.user
        )
        if start is None:
            continue
        trial = row_of(plain(polish(start, field_, rounds=6)[0], field_), targets)
        if trial is not None and trial.cost < row.cost and _no_worse(trial, row):
            return trial
    return None


def _no_worse(trial: Scored, row: Scored) -> bool:
    return trial.held_out <= max(1.03 * row.held_out, row.held_out + 2 * ROUNDING)


def snapped(row: Scored, found: tuple[Coefficient, ...], targets: Targets) -> Scored:
    """The row with constants replaced by known numbers inside their intervals, where its score allows."""
    m = len(row.candidate.coefficients)
    fixed = set()
    for k in range(1, len(found)):
        value = known_number(found[k].low, found[k].high)
        if value is None or value == found[k].value:
            continue
        trial = row_of(_replaced(row.candidate, k, m, value), targets)
        if trial is not None and _no_worse(trial, row):
            row = trial
            fixed.add(k)
    return _polished_again(row, frozenset(fixed), targets) if fixed else row


def _polished_again(row: Scored, fixed: frozenset[int], targets: Targets) -> Scored:
    """The row with its other constants polished: errors of constants go together, and some are mended now."""
    better, _ = polish(row.candidate, Field(targets, targets.fit, row.candidate.user), rounds=6, fixed=fixed)
    trial = row_of(rounded(better), targets)
    return trial if trial is not None and trial.fitted <= row.fitted and _no_worse(trial, row) else row


def _replaced(found: Candidate, k: int, m: int, value: float) -> Candidate:
    """The candidate with coefficient k, or inner constant k − m, set to a value."""
    if k < m:
        changed = list(found.coefficients)
        changed[k] = value
        return replace(found, coefficients=tuple(changed))
    features, at = list(found.features), m
    for i, free in enumerate(found.free):
        if k < at + len(free):
            values = list(constants(features[i]))
            values[free[k - at]] = value
            features[i] = with_constants(features[i], values)
            break
        at += len(free)
    return replace(found, features=tuple(features))


def known_number(low: float, high: float) -> float | None:
    """The simplest rational or known number in an interval, if finding one there is no coincidence."""
    middle, width = 0.5 * (low + high), high - low
    if not (math.isfinite(width) and width < 0.5 * abs(middle)):
        return None
    for q in range(1, 13):
        p = round(middle * q)
        if p != 0 and low <= p / q <= high and width * q * q < 2 * COINCIDENCE * max(1, abs(p) ** 0.5):
            return p / q
        if q > 1 and width * q * q > 2:
            break
    for _, number in KNOWN:
        ratio = Fraction(middle / number).limit_denominator(2)
        if 0 < abs(ratio) <= 2 and low <= float(ratio) * number <= high and width < 0.01 * abs(middle):
            return float(ratio) * number
    return None
