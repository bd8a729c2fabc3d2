"""Filters, patterns, order and similar concepts over a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret.commands import terminal
from interpret.errors import ExpressionError, QueryError, UnknownNeuron
from interpret.explanation import NeuronExplanation
from interpret.runs.answers import ANSWER
from interpret.runs.query import glob, matcher
from interpret.runs.schema import FIGURES, TEXTS
from interpret.store import Run, create_run
from symbolic.expression import to_json
from symbolic.parser import parse

Make = Callable[..., NeuronExplanation]


def with_formula(e: NeuronExplanation, text: str, names: tuple[str, ...]) -> NeuronExplanation:
    assert e.formula is not None
    from symbolic.expression import operators_in, variables

    tree = parse(text, names)
    part = dataclasses.replace(
        e.formula,
        expression=text,
        tree=to_json(tree),
        names=names,
        variables=tuple(names[i] for i in variables(tree)),
        operators=operators_in(tree),
    )
    return dataclasses.replace(e, formula=part)


FORMULAS = {
    "fc1[0]": "x0*x1",
    "fc1[1]": "log(x0) + log(x1)",
    "fc1[2]": "2.001*x0^2 + x1^2",
    "fc1[3]": "sin(x3) + x0",
    "fc1[10]": "exp(x0*x1 + 3)",
    "fc2[0]": "x1^2 + 2*x0^2",
    "fc2[1]": "x0*x1 + x0",
    "conv[3, 4]": "x0/x1",
}


@pytest.fixture
def run(tmp_path: Path, make: Make) -> Run:
    made = create_run(tmp_path / "run")
    for i, (address, text) in enumerate(FORMULAS.items()):
        e = make(address, r2=i / 10, misalignment=i / 100, verdict="EXACT" if i % 2 else "NONE")
        made.add(with_formula(e, text, ("x0", "x1", "x2", "x3")))
    return made


def found(run: Run, pattern: str | None = None, **filters: Any) -> list[str]:
    return [row[0] for row in run.table(pattern, **filters).rows]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("fc1[1]", ["fc1[1]"]),
        ("fc1[*]", ["fc1[0]", "fc1[1]", "fc1[2]", "fc1[3]", "fc1[10]"]),
        ("fc?[0]", ["fc1[0]", "fc2[0]"]),
        ("fc1[1:4]", ["fc1[1]", "fc1[2]", "fc1[3]"]),
        ("fc1[2:]", ["fc1[2]", "fc1[3]", "fc1[10]"]),
        ("fc1[:2]", ["fc1[0]", "fc1[1]"]),
        ("fc1[:]", ["fc1[0]", "fc1[1]", "fc1[2]", "fc1[3]", "fc1[10]"]),
        ("conv[3,4]", ["conv[3, 4]"]),
        ("conv[ 3 , 4 ]", ["conv[3, 4]"]),
        ("conv[:,4]", ["conv[3, 4]"]),
        ("conv[:, 5:]", []),
        ("*", ["conv[3, 4]", "fc1[0]", "fc1[1]", "fc1[2]", "fc1[3]", "fc1[10]", "fc2[0]", "fc2[1]"]),
        ("nothing*", []),
        ("fc[1]", []),
    ],
)
def test_patterns(run: Run, pattern: str, expected: list[str]) -> None:
    assert found(run, pattern) == expected


def test_one_address_that_is_not_there(run: Run) -> None:
    with pytest.raises(UnknownNeuron, match=r"fc1\[1\]"):
        run.query("fc1[11]")
    assert len(run.query("fc1[1]", where="r2 > 2")) == 0


def test_a_pattern_of_many_stars_is_not_slow() -> None:
    assert matcher("*" * 5000 + "b")("a" * 5000) is False
    stars = "*e" * 12 + "*z"
    assert matcher(stars)("e" * 160) is False and matcher(stars)("e" * 160 + "z") is True
    assert glob(stars)("e" * 160) is False and glob(stars)("e" * 160 + "z") is True


def test_a_condition_of_many_stars_is_not_slow(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        run.add(make("e" * 160 + "[0]"))
        assert found(run, where='address ~ "' + "*e" * 12 + '*z"') == []
        assert len(found(run, where='address ~ "' + "*e" * 12 + '*[0]"')) == 1
        assert found(run, "*e" * 12 + "*z") == []
        assert len(found(run, where="address ~ address")) == 1


@given(st.text("ab[,0?*", max_size=7), st.text("ab[,0", max_size=9))
def test_patterns_match_as_their_regular_expression(pattern: str, value: str) -> None:
    form = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    expected = re.fullmatch(form, value) is not None
    assert glob(pattern)(value) == expected
    assert matcher(pattern)(value) == expected


@given(
    st.integers(0, 1200),
    st.integers(0, 1200),
    st.integers(0, 2),
    st.lists(st.integers(0, 12_000), max_size=9),
)
def test_ranges_count(low: int, width: int, zeros: int, units: list[int]) -> None:
    high = low + width
    for unit in {*units, low, max(low - 1, 0), max(high - 1, 0), high, high + 1, low * 10}:
        address = f"fc[{'0' * zeros}{unit}]"
        assert matcher(f"fc[{low}:{high}]")(address) == (low <= unit < high)
        assert matcher(f"*[0{low}:]")(address) == (low <= unit)
        assert matcher(f"*c[:{high}]")(address) == (unit < high)


def test_a_range_behind_stars_is_looked_for_in_every_place() -> None:
    match = matcher("*[0:5]*[7:]")
    assert match("a[9].b[3].c[8]") and match("a[1].b[9].c[8]")
    assert not match("a[9].b[8]") and not match("a[1].b[2]")
    assert matcher("*[0:5]")("a[9].b[3]") and not matcher("*[0:5]")("a[3].b[9]")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x0 + x1", "x0 + 1.05*x1", False),
        ("x0 + x1", "x0 + 1.1*x1", False),
        ("x0 + x1", "x0 + 1.2*x1", False),
        ("x0^2 + x1^2", "x0^2 + 1.05*x1^2", False),
        ("x0 + x1", "x0 + 1.000001*x1", True),
        ("3.14159265*x0 + sin(x1)", "3.141593*x0 + sin(x1)", True),
        ("x0*x1", "x0*x1 + x2 - x2", True),
        ("x0*x1", "x0*x1 + 0*x2", True),
        ("x0*x1", "x0*x1 + 0.2*x2", False),
    ],
)
def test_concepts_are_the_same_up_to_rounding(
    tmp_path: Path, make: Make, one: str, other: str, same: bool
) -> None:
    with create_run(tmp_path) as run:
        for stored, asked in ((one, other), (other, one)):
            address = f"fc[{len(run)}]"
            run.add(with_formula(make(address), stored, ("x0", "x1", "x2")))
            assert (address in found(run, like=asked)) == same


def test_filters(run: Run) -> None:
    assert found(run, uses="x3") == ["fc1[3]"]
    assert found(run, has="exp") == ["fc1[10]"]
    assert found(run, uses=["x0", "x1"], has=["log"]) == ["fc1[1]"]
    assert found(run, has="sqrt") == [], "an operator of the engine that no formula here has"
    assert len(found(run, verdict="exact")) == 4
    assert len(found(run, verdict=["EXACT", "NONE"])) == 8
    assert found(run, "fc1[*]", min_alignment=0.985) == ["fc1[0]", "fc1[1]"]
    assert found(run, where="0.1 < r2 < 0.35", verdict="NONE") == ["fc1[2]"]


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"uses": "x33"}, "no neuron of this run has an input 'x33'; there are 'x3'"),
        ({"uses": "x0'; DROP TABLE neuron; --"}, "has an input"),
        ({"uses": ["x0", "Gewicht"]}, "'Gewicht'"),
        ({"like": "x0*x7"}, "no neuron of this run has an input 'x7'; there are"),
        ({"has": "sine"}, "no formula has an operator 'sine'; there is 'sin' (of 11)"),
        ({"model": "another"}, "the run holds no network 'another'"),
        ({"model": "mmm"}, "the run holds no network 'mmm'"),
        ({"data": "ee"}, "was explained from data 'ee'"),
        ({"data": ""}, "was explained from data ''"),
        ({"model": "x" * 10_000}, "the run holds no network 'xxx"),
        ({"colour": "red"}, "query has no filter 'colour'"),
        ({"limit": -1}, "0 or more"),
    ],
)
def test_a_name_that_the_run_does_not_have_is_an_error(run: Run, filters: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=re.escape(said)) as raised:
        run.table(None, **filters)
    assert len(str(raised.value)) < 400


def test_inputs_that_no_formula_uses_are_no_error(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        assert not len(run.table(None, uses="x1")), "an empty run has no names to be near to"
        one = make("fc1[0]")
        assert one.formula is not None
        run.add(replace(one, formula=replace(one.formula, variables=("x0",))))
        assert not len(run.table(None, uses="x1"))
        assert not len(run.table(None, like="x0*x1"))
        assert len(run.table(None, uses="x0")) == 1


def test_data_and_weights_tell_mixed_neurons_apart(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        assert run.mixed("net:model", "d" * 16, "m" * 16) == ""
        for address in ("fc1[0]", "fc1[1]"):
            run.add(make(address))
        assert run.mixed("net:model", "d" * 16, "m" * 16) == ""
        assert run.mixed("other:model", "e" * 16, "m" * 16) == ""
        said = run.mixed("net:model", "e" * 16, "m" * 16)
        assert "2 neurons of 'net:model' explained from other data." in said and "--data eeeeeeee" in said
        assert "other data and other weights" in run.mixed("net:model", "e" * 16, "n" * 16)
        run.add(make("fc1[1]", data="e" * 16))
        assert found(run) == ["fc1[0]", "fc1[1]"]
        assert found(run, data="e") == ["fc1[1]"]
        assert found(run, data="dddd") == ["fc1[0]", "fc1[1]"], "though a later one from other data exists"
        assert found(run, "fc1[1]", data="dddd", model="mmmm") == ["fc1[1]"]
        assert found(run, where=f'data_hash = "{"e" * 16}"') == ["fc1[1]"]
        frame = run.query(data="dd")
        assert set(frame.data_hash) == {"d" * 16} and set(frame.model_hash) == {"m" * 16}
        assert list(frame.revision) == [1, 1]
        table = terminal.markdown(run.table()).replace("\\_", "_")
        assert "data_hash" in table and "eeeeeeee" in table and "model_hash" not in table
        assert "hash" not in terminal.markdown(run.table(None, data="d"))


def test_order_and_limit(run: Run) -> None:
    by_r2 = [row[ANSWER.index("r2")] for row in run.table(None, sort="r2").rows]
    assert by_r2 == sorted(by_r2, reverse=True)
    assert found(run, sort="r2", descending=False, limit=2) == ["fc1[0]", "fc1[1]"]
    assert found(run, sort="address", limit=3) == ["conv[3, 4]", "fc1[0]", "fc1[1]"]
    assert found(run, sort="address", descending=True, limit=1) == ["fc2[1]"]
    assert found(run, limit=0) == []


def test_unknown_figures_come_last(run: Run, make: Make) -> None:
    run.add(dataclasses.replace(make("z[0]"), examples=None))
    assert found(run, sort="r2")[-1] == "z[0]"
    assert found(run, sort="r2", descending=False)[-1] == "z[0]"


@pytest.mark.parametrize(
    ("like", "expected"),
    [
        # Where logarithms are defined, a sum of them is a monotone function of the product.
        ("x0*x1", {"fc1[0]", "fc1[1]", "fc1[10]"}),
        ("3*(x1*x0)^3 - 7", {"fc1[0]", "fc1[1]", "fc1[10]"}),
        ("log(x0*x1)", {"fc1[0]", "fc1[1]", "fc1[10]"}),
        ("2*x0^2 + x1^2", {"fc1[2]", "fc2[0]"}),
        ("-exp(2*x0^2 + x1^2)", {"fc1[2]", "fc2[0]"}),
        ("x0 + sin(x3)", {"fc1[3]"}),
        ("x0 + 2*sin(x3)", set()),
        ("x0", set()),
        ("x1/x0", {"conv[3, 4]"}),
    ],
)
def test_like_finds_the_concept_in_other_words(run: Run, like: str, expected: set[str]) -> None:
    assert set(found(run, like=like)) == expected


@pytest.mark.parametrize("like", ["x0 +", "nosuch*x0", "3", "__import__('os')", "x0.__class__", "log(0*x0)"])
def test_like_refuses_what_is_no_formula(run: Run, like: str) -> None:
    with pytest.raises(ExpressionError):
        run.table(None, like=like)


def test_bad_filters_are_named(run: Run) -> None:
    with pytest.raises(QueryError, match="no verdict 'MAYBE'"):
        run.query(verdict="maybe")
    with pytest.raises(QueryError, match="did you mean pearson"):
        run.query(sort="pearsn")
    with pytest.raises(QueryError, match="no filter 'colour'"):
        run.query(colour="red")
    with pytest.raises(QueryError, match="limit"):
        run.query(limit=-1)


def test_a_frame_has_every_column(run: Run) -> None:
    frame = run.query()
    assert set(frame.columns) == {*TEXTS, *FIGURES, "revision"}
    assert frame.address.tolist() == run.addresses()
    assert frame.terms.dtype == np.int64 and frame.r2.dtype == np.float64
    assert run.query("nothing*").empty
    assert list(run.query("nothing*").columns) == list(frame.columns)


def test_packed_figures_are_the_columns(run: Run) -> None:
    """What is fetched packed is what conditions compare, also for strings of fewer figures."""
    from interpret.runs.answers import Answer, join, pack, unpack

    columns = ", ".join(FIGURES)
    stored = [dict(row) for row in run.connection.execute(f"SELECT {columns} FROM neuron ORDER BY sort")]
    rows = [dict(zip(ANSWER, row, strict=True)) for row in run.table().rows]
    assert [{name: row[name] for name in FIGURES} for row in rows] == stored
    packed = pack(stored[0])
    assert unpack(packed) == stored[0]
    assert unpack(packed[:-8])[FIGURES[-1]] is None
    shorter = Answer([(join(dict.fromkeys(TEXTS, "a\x1fb")), 1, packed[:-8])])
    assert shorter.rows[0][0] == "a b"
    assert np.isnan(shorter.frame()[FIGURES[-1]][0]) and shorter.frame().r2[0] == stored[0]["r2"]
