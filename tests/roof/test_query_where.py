"""The grammar of --where: what it means, and that no text of any kind gets past it into the database."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpret.errors import QueryError
from interpret.explanation import NeuronExplanation
from interpret.runs.where import COLUMNS, parse
from interpret.store import Run, create_run


@pytest.fixture
def run(tmp_path: Path, make: Callable[..., NeuronExplanation]) -> Run:
    """Ten neurons whose r2 is 0.0 … 0.9, of which the last two have no GP part."""
    import dataclasses

    made = create_run(tmp_path / "run")
    for i in range(10):
        e = make(
            f"fc{i % 2 + 1}[{i}]", r2=i / 10, verdict="EXACT" if i % 3 == 0 else "NONE", misalignment=i / 100
        )
        made.add(e if i < 8 else dataclasses.replace(e, examples=None))
    return made


def found(run: Run, where: str) -> set[int]:
    """The numbers of the neurons that pass."""
    rows = run.table(None, where=where).rows
    return {int(row[0].split("[")[1][:-1]) for row in rows}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("r2 > 0.45", {5, 6, 7}),
        ("r2 >= .5 and r2 < 7e-1", {5, 6}),
        ("0.2 <= r2 < 0.4", {2, 3}),
        ("0.4 > r2 >= 0.2", {2, 3}),
        ("r2 = 0.2 or r2 == 0.3", {2, 3}),
        ("not r2 < 0.6", {6, 7}),
        ("r2 != 0", {1, 2, 3, 4, 5, 6, 7}),
        ("r2 is unknown", {8, 9}),
        ("r2 is not unknown and verdict == EXACT", {0, 3, 6}),
        ("verdict in (exact, 'APPROXIMATE')", {0, 3, 6, 9}),
        ("verdict not in (EXACT)", {1, 2, 4, 5, 7, 8}),
        ('verdict != "NONE" and not (r2 < 0.5 or r2 is unknown)', {6}),
        ("address ~ 'fc1[*]' and r2 <= 0.4", {0, 2, 4}),
        ("address == 'fc2[3]'", {3}),
        ("r2 in (0.1, 0.2, -3)", {1, 2}),
        ("r2 > 0.1 and r2 < 0.3 or r2 > 0.6", {2, 7}),
        ("terms >= 2 AND complexity > 1", set(range(10))),
        ("formula ~ '*sin(x3)'", set(range(10))),
        ("alignment > misalignment", set(range(10))),
        ("revision = 1", set(range(10))),
        ("r2 > -1e308", set(range(8))),
    ],
)
def test_meaning(run: Run, where: str, expected: set[int]) -> None:
    assert found(run, where) == expected


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("", "expected a column"),
        ("r2", "expected a comparison"),
        ("r2 >", "expected a column, a number"),
        ("r2 > 0.9 terms", "expected 'and', 'or' or the end"),
        ("(r2 > 0.9", r"expected '\)'"),
        ("rr2 > 0.9", "no column 'rr2'; did you mean r2"),
        ("r2 > 'a'", "compare like with like"),
        ("verdict > 3", "compare like with like"),
        ("r2 ~ 3", "~ matches text"),
        ("r2 in (1, 'a')", "expected numbers"),
        ("r2 in (r2)", "expected numbers"),
        ("r2 > 1; DROP TABLE neuron", "cannot read this"),
        ("r2 > 1 -- x", "cannot read this"),
        ("verdict == 'unclosed", "cannot read this"),
        ("not", "expected a column"),
        ("r2 is 3", "expected 'unknown'"),
        ("(" * 60 + "r2>1" + ")" * 60, "nested more than"),
        (" or ".join(["r2 > 1"] * 300), "more than 200 comparisons"),
        ("r2 > " + "1" * 20_000, "20,005 characters"),
        ("r2\x00 > 1", "cannot read this"),
        ("and > 1", "expected a column"),
        ("r2 > 1e999", "too large\nat character 6"),
        ("r2 in (-1e999)", "too large"),
    ],
)
def test_what_does_not_parse_is_named_with_its_place(where: str, complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        parse(where)


def test_the_message_points_at_the_character() -> None:
    with pytest.raises(QueryError) as caught:
        parse("r2 > 0.9 and $")
    lines = str(caught.value).splitlines()
    assert lines[2][lines[3].index("^")] == "$"


_PIECES = st.sampled_from([
    *COLUMNS[:14], "and", "or", "not", "in", "is", "unknown", "(", ")", ",", "<", "<=", ">", "==", "!=", "~",
    "0.5", "-1e9", "'x'", '"a*"', "EXACT", ";", "--", "/*", "x'00'", "SELECT", "\x00", "ü", "'", "1e999",
    "nan",
])  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.lists(_PIECES, max_size=14).map(" ".join), st.text(max_size=60)))
def test_any_text_is_a_condition_or_a_named_error(run: Run, text: str) -> None:
    before = run.connection.total_changes
    try:
        condition = parse(text)
    except QueryError:
        return
    rows = run.connection.execute(f"SELECT count(*) FROM neuron n WHERE {condition.sql}", condition.values)
    assert 0 <= rows.fetchone()[0] <= 10
    assert run.connection.total_changes == before


@given(st.text(st.characters(codec="utf-8", exclude_characters="'\x00"), max_size=30))
@settings(max_examples=100, deadline=None)
def test_text_in_quotes_is_bound_never_run(text: str) -> None:
    condition = parse(f"claim == '{text}'")
    assert condition.values == (text,)
    assert "?" in condition.sql
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE neuron (claim TEXT)")
        connection.execute("INSERT INTO neuron VALUES (?)", (text,))
        found = connection.execute(
            f"SELECT count(*) FROM neuron n WHERE {condition.sql}", condition.values
        ).fetchone()
    assert found == (1,)


@pytest.mark.parametrize("depth", [10, 39])
def test_deep_but_allowed_nesting(run: Run, depth: int) -> None:
    assert found(run, "(" * depth + "r2 > 0.65" + ")" * depth) == {7}
