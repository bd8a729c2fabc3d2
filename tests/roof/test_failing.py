"""The region in which a formula fails is found in the inputs' own names, and only when there is one."""

from __future__ import annotations

import numpy as np
import pytest

from interpret.evidence.failing import failing_region, middle, satisfies


def square(n: int = 900, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (n, d))


@pytest.mark.parametrize("seed", range(5))
def test_a_half_space_is_named_with_its_threshold(seed: int) -> None:
    X = square(seed=seed)
    cosines = np.where(X[:, 2] > 0.5, 0.4, 1.0)
    region = failing_region(X, cosines, ["mass", "speed", "charge"])
    assert region is not None
    assert region.rule.startswith("charge > ")
    assert 0.45 <= float(region.rule.split()[-1]) <= 0.55
    assert region.misalignment_inside == pytest.approx(0.6, abs=0.05)
    assert region.misalignment_outside < 0.05
    assert region.share == pytest.approx((X[:, 2] > 0.5).mean(), abs=0.05)


def test_a_corner_needs_two_conditions() -> None:
    X = square(2000, 2)
    cosines = np.where((X[:, 0] > 0.6) & (X[:, 1] < 0.3), -1.0, 1.0)
    region = failing_region(X, cosines, ["a", "b"])
    assert region is not None
    assert len(region.conditions) == 2
    assert {column for column, _, _ in region.conditions} == {0, 1}


def test_no_region_where_the_misfit_is_everywhere_or_nowhere() -> None:
    X, rng = square(), np.random.default_rng(1)
    assert failing_region(X, np.ones(900), ["a", "b", "c"]) is None
    assert failing_region(X, 1 - 0.3 * rng.random(900), ["a", "b", "c"]) is None
    assert failing_region(X[:40], np.where(X[:40, 0] > 0.5, 0.0, 1.0), ["a", "b", "c"]) is None


def test_the_nearest_rows_lie_inside() -> None:
    X = square()
    region = failing_region(X, np.where(X[:, 0] < 0.25, 0.0, 1.0), ["a", "b", "c"])
    assert region is not None
    rows = middle(region, X)
    assert len(rows) == 5
    assert satisfies(X[list(rows)], region.conditions).all()
