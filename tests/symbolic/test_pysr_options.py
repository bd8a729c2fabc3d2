"""PySR's parameters by version, ours among them, and operators under both names."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from interpret.errors import UsageError
from symbolic.backends import pysr_options, pysr_worker
from symbolic.backends.base import Settings
from symbolic.backends.pysr import PySR
from symbolic.backends.pysr_loss import LOSS
from symbolic.backends.pysr_options import KNOWN_OPERATORS, Made, operators, plan
from symbolic.backends.pysr_parameters import (
    ESSENTIAL,
    OWN,
    PARAMETERS,
    RESERVED,
    parameters,
    parse_version,
)
from symbolic.operators import BUILTIN, user_operator


@pytest.mark.parametrize(
    ("text", "version"), [("2.7.2", (2, 7, 2)), ("2.0.0a2", (2, 0, 0)), ("1.5", (1, 5, 0)), ("3", (3, 0, 0))]
)
def test_versions_are_read(text, version):
    assert parse_version(text) == version


def test_a_version_without_numbers_is_refused():
    with pytest.raises(UsageError, match="no version"):
        parse_version("latest")


def test_the_declared_counts_are_those_of_the_signatures():
    assert [len(parameters(v)) for v in [(1, 5, 0), (1, 5, 10), (2, 0, 0), (2, 7, 2)]] == [93, 94, 106, 108]


def test_nothing_is_declared_twice_or_both_ours_and_theirs():
    everything = [name for names in PARAMETERS.values() for name in names]
    assert len(everything) == len(set(everything))
    assert not set(OWN) & set(everything)
    assert set(RESERVED) <= set(everything)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_the_backend_needs_for_itself_is_refused_with_a_reason(name):
    with pytest.raises(UsageError, match="cannot be set here"):
        plan(Settings(options={name: 1}), (2, 7, 2))


def test_every_other_parameter_of_the_version_reaches_pysr():
    for version in [(1, 5, 0), (2, 7, 2)]:
        for name in parameters(version) - set(RESERVED):
            value = 32 if name == "precision" else 1
            assert plan(Settings(options={name: value}), version).arguments[name] == value


def test_an_option_of_a_later_version_is_named_with_it():
    with pytest.raises(UsageError, match=r"PySR 1\.5\.0 has no option 'use_tracing'; it came with 2\.3\.0"):
        plan(Settings(options={"use_tracing": True}), (1, 5, 0))


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {"f": lambda: 0},
        [np.zeros(2, dtype=object)],
        {1, 2},
        Made.of("_private"),
        Made.of("os.system"),
    ],
)
def test_values_that_cannot_be_sent_are_refused(value):
    with pytest.raises(UsageError, match="another process"):
        plan(Settings(options={"constraints": value}), None)


@pytest.mark.parametrize("value", [0, -1.0, True, "fast"])
def test_our_own_options_are_checked(value):
    with pytest.raises(UsageError, match="positive number"):
        plan(Settings(options={"patience": value}), None)


def test_a_version_that_lacks_one_of_ours_says_so(monkeypatch):
    monkeypatch.setitem(PARAMETERS, (1, 5, 0), PARAMETERS[1, 5, 0] - {"input_stream"})
    monkeypatch.setitem(PARAMETERS, (2, 0, 0), PARAMETERS[2, 0, 0] | {"input_stream"})
    made = plan(Settings(), (1, 5, 0))
    assert "input_stream" not in made.arguments
    assert any("'input_stream'" in note for note in made.notes)


@pytest.mark.parametrize("name", sorted(ESSENTIAL & set(plan(Settings(), None).arguments)))
def test_a_version_that_lacks_what_the_search_needs_is_refused(name, monkeypatch):
    monkeypatch.setattr(pysr_options, "parameters", lambda version: parameters(version) - {name})
    with pytest.raises(UsageError, match=f"no option '{name}', which this backend needs"):
        plan(Settings(), (2, 7, 2))


def test_an_older_pysr_is_refused_and_the_upgrade_named(monkeypatch):
    with pytest.raises(UsageError, match=r"PySR 1\.4\.0 is older than 1\.5\.0"):
        plan(Settings(), (1, 4, 0))
    monkeypatch.setattr("symbolic.backends.pysr.installed", lambda name: True)
    monkeypatch.setattr(PySR, "version", lambda self: (1, 4, 0))
    missing = PySR().available()
    assert "1.4.0" in missing.reason
    assert missing.command == "pip install --upgrade 'twinscope[pysr]'"
    monkeypatch.setattr(PySR, "version", lambda self: (1, 5, 0))
    assert PySR().available() is None


def test_an_installation_that_lacks_what_the_search_needs_is_an_error():
    class Regressor:
        def __init__(self, niterations=1, loss_function=None):
            pass

    other = types.SimpleNamespace(PySRRegressor=Regressor, __version__="1.4.0")
    given = {"niterations": 3, "batching": False, "loss_function": LOSS}
    kept, notes = pysr_worker.accepted(given, ["loss_function"], other)
    assert kept == {"niterations": 3, "loss_function": LOSS}
    assert notes == ["the installed PySR has no option 'batching'; the search ran without it"]
    with pytest.raises(TypeError, match=r"PySR 1\.4\.0 has no option 'maxsize', which this backend needs"):
        pysr_worker.accepted(given, ["loss_function", "maxsize"], other)


@dataclass(frozen=True)
class Plugin:
    """As a class of PySR's."""

    alpha: float = 0.1


def crossed(value):
    """An option's value as PySR gets it, on the other side of JSON."""
    sent = plan(Settings(options={"constraints": value}), None).arguments["constraints"]
    offered = types.SimpleNamespace(Plugin=Plugin, jl=object(), __version__="2.7.2")
    return pysr_worker.rebuilt(json.loads(json.dumps(sent)), offered)


@pytest.mark.parametrize(
    "value",
    [
        {"pow": (-1, 1), "sin": 9},
        {1: ["sin"], 2: ["+", "*"]},
        [(1, 2), [3, (4,)], {}],
        {"sin": {"sin": 0, "cos": 1}},
        {"tuple": [1], "dict": 2, "made": "jl"},
        None,
        "text",
        float("inf"),
    ],
)
def test_values_arrive_as_they_were(value):
    assert crossed(value) == value
    assert type(crossed(value)) is type(value)


def test_numpys_values_arrive_as_plain_ones():
    assert crossed([np.int64(3), np.float32(0.5), np.bool_(True), np.str_("a")]) == [3, 0.5, True, "a"]
    assert crossed(np.arange(3)) == [0, 1, 2]
    assert crossed(Path("trace") / "a.jsonl") == "trace/a.jsonl"
    assert plan(Settings(options={"patience": np.float64(3)}), None).own["patience"] == 3.0


def test_objects_of_pysrs_own_are_made_on_the_other_side():
    assert crossed([Made.of("Plugin", alpha=0.5)]) == [Plugin(0.5)]
    assert crossed({Made.of("Plugin"): 2.0}) == {Plugin(): 2.0}
    for name in ("Missing", "jl"):
        with pytest.raises(TypeError, match=f"no class '{name}'"):
            crossed(Made.of(name))


def test_the_users_heap_size_counts_and_ours_is_a_default():
    def heap(**options):
        return plan(Settings(memory_limit=1000, options=options), (2, 7, 2)).arguments[
            "heap_size_hint_in_bytes"
        ]

    assert heap() == 600
    assert heap(heap_size_hint_in_bytes=123) == 123


def test_a_precision_that_cannot_hold_the_row_numbers_is_refused():
    with pytest.raises(UsageError, match="row numbers"):
        plan(Settings(options={"precision": 16}), None)
    assert plan(Settings(options={"precision": 32}), None).arguments["precision"] == 32


def test_every_parameter_is_passed_on_or_refused_with_what_to_use():
    for name in parameters((2, 7, 2)):
        # The precision is one of two numbers.
        if name not in (*RESERVED, "precision"):
            assert plan(Settings(options={name: (1, {2: 3})}), (2, 7, 2)).arguments[name] != (1, {2: 3})
    assert all(RESERVED.values())
    # Named here too, so that the list cannot grow unseen.
    assert len(parameters((2, 7, 2)) - set(RESERVED)) == 82
    document = (Path(__file__).parents[2] / "docs" / "pysr.md").read_text(encoding="utf-8")
    assert [name for name in RESERVED if f"`{name}`" not in document] == []


@pytest.mark.pysr
@pytest.mark.skipif(importlib.util.find_spec("pysr") is None, reason="PySR is not installed")
def test_the_declared_parameters_are_those_of_the_installed_signature():
    code = (
        "import inspect, json, pysr; names = inspect.signature(pysr.PySRRegressor.__init__).parameters;"
        "print(json.dumps([pysr.__version__, sorted(set(names) - {'self', 'kwargs'})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    installed, names = json.loads(done.stdout.splitlines()[-1])
    assert parameters(parse_version(installed)) == set(names)


def test_a_small_complexity_is_raised_and_said():
    made = plan(Settings(max_complexity=3), (2, 7, 2))
    assert made.arguments["maxsize"] == 7
    assert any("raised to 7" in note for note in made.notes)


def test_batching_can_be_turned_on():
    assert plan(Settings(), None).arguments["batching"] is False
    assert plan(Settings(options={"batching": True, "batch_size": 50}), None).arguments["batching"] is True


def test_all_our_operators_have_a_name_there():
    assert set(BUILTIN) <= KNOWN_OPERATORS
    binary, unary, custom = operators(BUILTIN)
    assert binary == ["+", "-", "*", "/", "^"]
    assert len(binary) + len(unary) == len(BUILTIN)
    assert custom == ("sigmoid",)


def test_an_unknown_operator_is_named():
    with pytest.raises(UsageError, match="no operator 'gamma'"):
        operators(["+", "gamma"])


@pytest.mark.parametrize("julia", [None, "exp(-x^2)", "other(x) = x", "bump(x, y) = x", "f; rm(x) = x"])
def test_user_operators_need_their_own_julia_definition(julia):
    bump = user_operator("bump", np.exp, np.exp, julia=julia)
    with pytest.raises(UsageError, match="Julia source"):
        operators(["bump"], [bump])
