"""The small tools that stand in for slow imports, against the libraries they stand in for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from symbolic.isotonic import isotonic
from symbolic.neighborhood import another, nearest
from symbolic.operators import BUILTIN


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("ties", [True, False])
def test_isotonic_equals_the_reference(increasing: bool, ties: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        t = rng.integers(0, 40, 300).astype(float) if ties else rng.standard_normal(300)
        g = np.sin(t) + 0.2 * rng.standard_normal(300)
        reference = IsotonicRegression(increasing=increasing).fit_transform(t, g)
        np.testing.assert_allclose(isotonic(t, g, increasing), reference, atol=1e-12)


@pytest.mark.parametrize("count", [200, 3_000])
def test_nearest_equals_a_tree_below_and_above_the_limit(count: int) -> None:
    points = np.random.default_rng(1).standard_normal((count, 3))
    rows = np.arange(0, count, 2)
    np.testing.assert_array_equal(nearest(points, rows, 6), cKDTree(points).query(points[rows], k=6)[1])


def test_another_skips_copies_of_a_row() -> None:
    points = np.array([[0.0, 0], [0, 0], [1, 0], [5, 5], [5, 5], [5, 5]])
    assert another(points).tolist() == [2, 2, 0, 2, 2, 2]
    assert another(np.ones((4, 2))).tolist() == [0, 1, 2, 3]


def test_sigmoid_is_accurate_in_both_tails() -> None:
    x = np.linspace(-700, 700, 4_001)
    np.testing.assert_allclose(BUILTIN["sigmoid"].function(x), expit(x), rtol=1e-12)


def test_a_plain_fit_loads_neither_sklearn_nor_pandas_nor_sympy_nor_scipy_stats() -> None:
    code = """
import sys
import numpy as np
import symbolic
assert "torch" not in sys.modules
x = np.random.default_rng(0).uniform(-1, 1, (400, 2))
g = x * [2.0, 4.0]
symbolic.fit_gradients(x, g, np.tanh((x * g).sum(1)), engine="eigen")
print([name for name in ("sklearn", "pandas", "sympy", "torch", "scipy.stats", "scipy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
