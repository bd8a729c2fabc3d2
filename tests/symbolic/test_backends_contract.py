"""One list of checks for every search backend: `eigen` always, `pysr` where it is installed (``pytest -m pysr``)."""

from __future__ import annotations

import importlib.util
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from interpret.errors import UsageError
from symbolic.backends.base import Backend, Capabilities, Progress, SearchResult, Settings
from symbolic.equivalence import same_concept
from symbolic.expression import complexity, operators_in, value_and_gradient, variables
from symbolic.operators import BUILTIN
from symbolic.parser import parse
from symbolic.targets import build

HAS_PYSR = importlib.util.find_spec("pysr") is not None


def eigen():
    from symbolic.backends.eigen import Eigen

    return Eigen()


def pysr():
    from symbolic.backends.pysr import PySR

    return PySR()


def fake():
    """The PySR backend with a scripted worker: the parent's side of the contract, on every machine."""
    from symbolic.backends.pysr import PySR

    return PySR([sys.executable, str(Path(__file__).with_name("fake_worker.py")), "slow"])


BACKENDS = [
    pytest.param(eigen, id="eigen"),
    pytest.param(fake, id="pysr-scripted"),
    pytest.param(
        pysr,
        id="pysr",
        marks=[
            pytest.mark.pysr,
            pytest.mark.skipif(not HAS_PYSR, reason="PySR is not installed: pip install 'twinscope[pysr]'"),
        ],
    ),
]


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    made = request.param()
    yield made
    if hasattr(made, "close"):
        made.close()


def settings(backend, **changes):
    options = {"niterations": 10, "patience": 20.0} if backend.name == "pysr" else {}
    fields = {"operators": ("+", "-", "*", "/", "sin", "exp"), "max_terms": 4, "options": options}
    return Settings(**(fields | changes))


@pytest.fixture(scope="module")
def square():
    points = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    return build(points, points * [2, 4], names=["a b", "</script>"])


@pytest.fixture(scope="module")
def found(backend, square):
    return backend.search(square, settings(backend))


def test_it_is_a_backend(backend):
    assert isinstance(backend, Backend)
    assert backend.name in ("eigen", "pysr")
    assert backend.available() is None


def test_capabilities_are_declared(backend):
    able = backend.capabilities()
    assert isinstance(able, Capabilities)
    assert able.operators <= set(BUILTIN)
    assert {"+", "*", "sin", "exp"} <= able.operators


def test_a_search_gives_trees_over_the_inputs_and_operators(found, backend, square):
    assert isinstance(found, SearchResult)
    assert found.candidates
    for tree in found.candidates:
        assert set(variables(tree)) <= {0, 1}
        assert set(operators_in(tree)) <= set(BUILTIN)
        assert value_and_gradient(tree, square.points)[1].shape == square.points.shape


def test_the_concept_is_among_the_candidates(found, square):
    concept = parse("x0^2 + 2*x1^2")
    assert any(same_concept(tree, concept, square.points, tolerance=1e-2) for tree in found.candidates)


def test_candidates_keep_to_the_complexity(found, backend):
    assert min(complexity(tree) for tree in found.candidates) <= 7
    small = backend.search(
        build(np.random.default_rng(1).uniform(-1, 1, (100, 2)), np.ones((100, 2)) * [1, 2]),
        settings(backend, max_complexity=9),
    )
    assert all(complexity(tree) <= 12 for tree in small.candidates)


def test_the_same_seed_gives_the_same_candidates(found, backend, square):
    assert backend.search(square, settings(backend)).candidates == found.candidates


def test_results_travel_between_processes(found):
    assert pickle.loads(pickle.dumps(found)).candidates == found.candidates


def test_the_deadline_is_kept(backend, square):
    # Long enough to find something, much shorter than a full search; the worker of an external engine runs already.
    started = time.monotonic()
    result = backend.search(square, settings(backend, operators=tuple(BUILTIN)), deadline=started + 3)
    assert time.monotonic() - started < 30
    assert result.candidates


def test_progress_is_told(backend, square):
    seen = []
    backend.search(square, settings(backend, progress=seen.append))
    assert seen
    assert all(isinstance(step, Progress) and step.backend == backend.name for step in seen)


def test_operators_it_does_not_have_are_refused(backend, square):
    with pytest.raises(UsageError, match="zeta"):
        backend.search(square, settings(backend, operators=("+", "zeta")))


def test_the_settings_and_targets_are_left_alone(backend, square):
    before = square.directions.copy(), square.points.copy()
    state = np.random.get_state()[1].copy()
    backend.search(square, settings(backend))
    assert np.array_equal(square.directions, before[0])
    assert np.array_equal(square.points, before[1])
    assert np.array_equal(np.random.get_state()[1], state)
