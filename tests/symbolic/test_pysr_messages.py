"""What a worker says is read whatever it is: a message, or None; frontiers grow better, never worse."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from symbolic.backends.frontier import candidates
from symbolic.backends.messages import Equation, Message, best_rows, read

SCALARS = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text()
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
ROWS = st.fixed_dictionaries({}, optional={"complexity": ANYTHING, "loss": ANYTHING, "equation": ANYTHING})
MESSAGES = st.fixed_dictionaries(
    {"event": st.sampled_from(["ready", "progress", "frontier", "done", "failed"]) | ANYTHING},
    optional={
        "job": ANYTHING,
        "rows": ANYTHING | st.lists(ROWS | ANYTHING),
        "message": ANYTHING,
        "kind": ANYTHING,
        "versions": ANYTHING,
        "notes": ANYTHING,
    },
)
EQUATIONS = st.builds(
    Equation, st.integers(1, 9), st.floats(0, 1), st.sampled_from(["x0", "x1", "x0 * x1", "sin(x0)"])
)


def whole(message: Message) -> None:
    assert message.event in ("ready", "progress", "frontier", "done", "failed")
    assert isinstance(message.job, int)
    sizes = [row.complexity for row in message.equations]
    assert sizes == sorted(set(sizes))
    assert all(size > 0 for size in sizes)
    assert all(row.loss >= 0 for row in message.equations)
    for text in (message.text, message.kind, *message.notes, *(row.text for row in message.equations)):
        text.encode("utf-8")
        assert all(char.isprintable() or char in "\n\t" for char in text)
    # Rows that are no formulas are skipped and said, whatever they are.
    trees, unread = candidates(message.equations, (), 2)
    assert len(trees) + len(unread) == len(message.equations)
    assert all(hash(tree) is not None for tree in trees)


@given(st.binary())
def test_any_bytes_are_a_message_or_none(line: bytes) -> None:
    assert read(line) is None


@given(ANYTHING | MESSAGES)
def test_any_json_is_a_whole_message_or_none(plain: object) -> None:
    message = read(json.dumps(plain).encode())
    if message is not None:
        whole(message)


@given(MESSAGES, st.integers(0, 200))
def test_half_a_line_is_a_whole_message_or_none(plain: object, cut: int) -> None:
    message = read(json.dumps(plain).encode()[:cut])
    if message is not None:
        whole(message)


@given(st.text(alphabet="x01+-*/^(). ,e9sincoxp\ud800\x00", max_size=60))
def test_any_equation_is_a_tree_or_a_note(text: str) -> None:
    trees, unread = candidates((Equation(1, 0.0, text),), (), 2)
    assert len(trees) + len(unread) == 1


def test_long_and_deep_equations_are_skipped_and_said() -> None:
    for text in ("(" * 9_000 + "x0" + ")" * 9_000, "x0" + "+x0" * 3_000, "-" * 9_000 + "x0"):
        trees, unread = candidates((Equation(1, 0.0, text),), (), 2)
        assert trees == ()
        assert "deep" in unread[0]


def test_what_broke_it() -> None:
    row = {"complexity": 3, "loss": 0.5, "equation": "x0"}
    kept = (Equation(3, 0.5, "x0"),)
    plain = {"event": "frontier", "job": 1, "rows": [row]}
    for changed in ({"notes": 5}, {"notes": {"a": 1}}, {"versions": [1]}, {"message": {}}, {"kind": None}):
        assert read(json.dumps(plain | changed).encode()).equations == kept
    infinite = read(json.dumps(plain | {"rows": [row | {"loss": 10**400}]}).encode())
    assert infinite.equations == (Equation(3, math.inf, "x0"),)
    for loss in (math.nan, -1.0, -(10**400), "0.5", None, True):
        assert read(json.dumps(plain | {"rows": [row | {"loss": loss}]}).encode()).equations == ()
    for complexity in (True, 0, -1, 10**400, 2.0, "3"):
        assert read(json.dumps(plain | {"rows": [row | {"complexity": complexity}]}).encode()).equations == ()
    assert read(json.dumps(plain | {"job": True}).encode()) is None
    assert read(b"[" * 100_000) is None


@given(st.lists(st.lists(EQUATIONS), max_size=5))
def test_a_better_row_is_never_lost(frontiers: list[list[Equation]]) -> None:
    kept: tuple[Equation, ...] = ()
    for new in frontiers:
        kept = best_rows(kept, new)
    assert len({row.complexity for row in kept}) == len(kept)
    for row in (row for new in frontiers for row in new):
        # What is gone is outdone by something no more complex.
        assert any(other.complexity <= row.complexity and other.loss <= row.loss for other in kept)


@given(st.lists(st.floats(0, 1), min_size=9, max_size=9), st.integers(0, 4))
def test_looking_more_often_does_not_change_an_undisturbed_search(losses: list[float], looks: int) -> None:
    """An engine whose best row of each size only gets better, and that shows those no simpler one outdoes."""

    def shown(worse: float) -> list[Equation]:
        rows: list[Equation] = []
        for size, loss in enumerate(losses, 1):
            if not rows or loss + worse < rows[-1].loss:
                rows.append(Equation(size, loss + worse, f"x{size}"))
        return rows

    kept: tuple[Equation, ...] = ()
    for look in range(looks, -1, -1):
        kept = best_rows(kept, shown(float(look)))
    assert kept == tuple(shown(0.0))


def test_an_equation_in_other_inputs_is_skipped_and_said() -> None:
    trees, unread = candidates((Equation(1, 0.0, "x7"),), (), 2)
    assert trees == ()
    assert "no input x7" in unread[0]
