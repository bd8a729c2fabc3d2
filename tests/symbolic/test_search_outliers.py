"""Advice where a few rows spoil a formula that all the others confirm."""

from __future__ import annotations

import numpy as np
import pytest

from symbolic.outliers import hint


@pytest.mark.parametrize("sign", [1, -1])
def test_a_fifth_of_wrong_gradients_is_said(sign: int) -> None:
    rng = np.random.default_rng(0)
    cosines = np.ones(1_000)
    cosines[:200] = np.cos(rng.uniform(0, 2 * np.pi, 200))
    said = hint(sign * cosines)
    assert said is not None
    assert "outliers" in said
    share = int(said.split("%")[0])
    assert 15 <= share <= 20


def test_fields_that_agree_or_disagree_everywhere_have_no_outliers() -> None:
    rng = np.random.default_rng(0)
    assert hint(1 - 0.002 * rng.uniform(size=500)) is None
    assert hint(np.cos(rng.uniform(0, 2 * np.pi, 500))) is None
    assert hint(np.cos(0.5 * rng.standard_normal(500))) is None, "noise is everywhere, not in a few rows"
    assert hint(np.where(np.arange(500) < 245, -1.0, 1.0)) is None, "half of the rows is no outlier"
    assert hint([1.0] * 10) is None
    assert hint([np.nan] * 50) is None
