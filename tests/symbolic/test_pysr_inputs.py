"""Settings and options of any kind: what a search cannot use is said by name, before it starts."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import numpy as np
import pytest

import symbolic
from interpret.errors import UsageError
from symbolic.backends.base import Settings
from symbolic.backends.pysr_options import Made, plan
from symbolic.inputs import options_of, settings_of

LOOP: list = []
LOOP.append(LOOP)
DEEP: list = []
for _ in range(10_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({5: 1}, "must be text, got 5"),
        ({None: 1}, "must be text, got None"),
        ({"constraints": LOOP}, "holds itself"),
        ({"constraints": {"^": LOOP}}, "holds itself"),
        ({"constraints": DEEP}, "nested more than"),
        ({"niterations": 10**5000}, "'niterations' holds"),
        ({"guesses": [-(10**5000)]}, "'guesses' holds"),
        ({"patience": 10**400}, "'patience' must be a positive number"),
        ({"patience": 10**5000}, "'patience' must be a positive number"),
        ({"patience": np.array([1.0, 2.0])}, "'patience' must be a positive number"),
        ({"precision": np.array([16, 32])}, "precision is 32 or 64"),
        ({"precision": "16"}, "precision is 32 or 64"),
        ({"precision": True}, "precision is 32 or 64"),
        ({"plugins": Made(5)}, "'plugins' must be a number"),
        ({"plugins": Made("X", (1, 2))}, "'plugins' must be a number"),
        ({"plugins": Made("X", ((1, 2),))}, "'plugins' must be a number"),
    ],
)
def test_options_that_cannot_be_sent_are_named(options, words):
    with pytest.raises(UsageError, match=words):
        plan(Settings(options=options), (2, 7, 2))


def test_the_same_list_twice_is_not_a_list_in_itself():
    pair = [9, 1]
    made = plan(Settings(options={"constraints": {"^": (pair, pair)}, "precision": np.int64(32)}), (2, 7, 2))
    assert json.dumps(made.arguments["constraints"]) == '{"dict": [["^", {"tuple": [[9, 1], [9, 1]]}]]}'
    assert made.arguments["precision"] == 32


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        *(
            ({"memory_limit": value}, "memory_limit must be")
            for value in ("1G", math.nan, -5, 0, True, math.inf)
        ),
        *(({"time_limit": value}, "time_limit must be") for value in ("5", math.nan, 0, -1, True, [1])),
        *(({"seed": value}, "seed must be") for value in (-1, 1.5, "a", True, None)),
        *(({"max_terms": value}, "max_terms must be at least 1") for value in (0, 1.5, "3", None)),
        ({"max_complexity": 0}, "max_complexity must be at least 1"),
        ({"operators": []}, "operators is empty"),
        ({"operators": [5]}, "operators must be names"),
        ({"operators": 5}, "operators must be names"),
        ({"engine": 5}, "engine must be one of"),
        ({"engine": None}, "engine must be one of"),
        ({"engine": "PySR"}, "engine must be one of"),
        ({"pysr_options": [1]}, "pysr_options must be a dictionary"),
        ({"pysr_options": "x"}, "pysr_options must be a dictionary"),
        ({"pysr_options": []}, "pysr_options must be a dictionary"),
        ({"pysr_options": {"niterations": 5}, "engine": "eigen"}, "pysr_options are for engine='pysr'"),
    ],
)
def test_settings_that_are_none_are_named(fields, words):
    points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    with pytest.raises(UsageError, match=words):
        symbolic.fit_gradients(points, points * [2, 4], **fields)


def test_settings_are_taken_as_they_come():
    made = settings_of(["+"], memory_limit=1.5e9, time_limit=np.float32(2), seed=np.int64(3))
    assert (made.memory_limit, made.time_limit, made.seed) == (1_500_000_000, 2.0, 3)
    assert type(made.memory_limit) is int
    assert settings_of(["+"], time_limit=math.inf).time_limit is None
    given = {"niterations": 5}
    assert options_of(MappingProxyType(given), "auto") == given
    assert options_of(None, "eigen") == options_of({}, "eigen") == {}
