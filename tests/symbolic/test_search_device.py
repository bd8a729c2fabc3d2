"""The Gram matrices on torch: the same numbers as NumPy's, on the CPU here and on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import symbolic
from interpret.errors import UsageError
from symbolic import arrays, gram, supports
from symbolic.expression import value_and_gradient
from symbolic.parser import parse

NAMES = ("x0", "x1", "x2")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def turned(count: int = 12, n: int = 101, d: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((n, d))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    return gram.turn(rng.standard_normal((count, n, d)) + u, u)


@pytest.mark.parametrize("device", DEVICES)
def test_gram_functions_agree_to_rounding(device: str) -> None:
    features = turned()
    there = arrays.to_device(features, device)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(arrays.host(gram.misalignment(there)), gram.misalignment(features), **close)
    np.testing.assert_allclose(arrays.host(gram.mean_cosine(there)), gram.mean_cosine(features), **close)
    w, w_there = gram.weights(features), gram.weights(there)
    np.testing.assert_allclose(arrays.host(w_there), w, **close)
    for mine, other in zip(
        gram.pencil(features[None], w[:1]), gram.pencil(there[None], w_there[:1]), strict=True
    ):
        np.testing.assert_allclose(arrays.host(other), mine, **close)
    trios = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    for several in (False, True):
        mine, other = (gram.solve(a[trios], several=several) for a in (features, there))
        np.testing.assert_allclose(arrays.host(other.misalignment), mine.misalignment, **close)
        np.testing.assert_allclose(arrays.host(other.coefficients), mine.coefficients, rtol=1e-9, atol=1e-11)
    first, second = np.triu_indices(12, 1)
    for mine, other in zip(
        gram.solve_pairs(features, first, second), gram.solve_pairs(there, first, second), strict=True
    ):
        np.testing.assert_allclose(arrays.host(other), mine, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_overflow_and_zero_fields_are_judged_alike(device: str) -> None:
    fields = turned(4)
    fields[1] = 0
    fields[2] *= 1e200
    fields[3, ::2] = 0
    with np.errstate(all="ignore"):
        mine = gram.misalignment(fields)
    np.testing.assert_allclose(
        arrays.host(gram.misalignment(arrays.to_device(fields, device))), mine, atol=1e-12
    )


@pytest.mark.parametrize("device", DEVICES)
def test_a_support_search_finds_the_same_supports(device: str) -> None:
    features = turned(20)
    pools = [
        supports.Search(features, np.ones(20), device=where).run([list(range(10))])
        for where in (None, device)
    ]
    assert pools[0].sizes == pools[1].sizes
    for size in pools[0].sizes:
        here, there = (pool.best(size, 3) for pool in pools)
        assert [row[0] for row in here] == [row[0] for row in there]
        np.testing.assert_allclose([row[1] for row in there], [row[1] for row in here], atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_a_fit_gives_the_same_formula(device: str) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    value, gradient = value_and_gradient(parse("x0^2 + sin(2*x1)", NAMES[:2]), x)
    words = ("+", "-", "*", "^", "sin")
    here, there = (
        symbolic.fit_gradients(
            x, gradient, value, engine="eigen", operators=words, accuracy=1e-6, device=where
        )
        for where in (None, device)
    )
    assert here.expression == there.expression
    assert here.verdict is there.verdict


def test_a_device_that_is_not_there_is_refused() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    with pytest.raises(UsageError, match="leave device out"):
        symbolic.fit_gradients(x, x, device="warp:9")
