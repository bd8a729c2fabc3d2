"""What a query gives: rows, in a form that costs little until it is read.

A neuron's figures are stored twice: as columns, which conditions and sorting use, and packed as one byte
string, which is fetched far faster than thirty numbers. New figures are only ever appended, so an older
string is a shorter one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter, methodcaller
from typing import TYPE_CHECKING, Any, Protocol

from interpret.runs.schema import FIGURES, TEXTS, decoding

if TYPE_CHECKING:
    import pandas as pd

_FIRST = (
    *("address", "verdict", "formula", "alignment", "misalignment", "misalignment_low", "misalignment_high"),
    *("link_r2", "pearson", "r2", "cancellation", "complexity", "terms", "claim"),
)
#: The columns of an answer, in the order shown.
ANSWER = (*_FIRST, *(name for name in (*TEXTS, *FIGURES) if name not in _FIRST), "revision")
#: Counts are stored as floats beside the other figures and come out as whole numbers.
WHOLE = frozenset({"complexity", "terms", "examples", "points_used", "points_dropped", "seed"})
#: What is fetched of each neuron: joined texts, revision, packed figures.
FETCHED = ("texts", "revision", "figures")
_NAN = float("nan")
_SIZE = 8 * len(FIGURES)
_UNPACK = struct.Struct(f"<{len(FIGURES)}d").unpack
#: Between joined texts; within them, spelled as a space.
_MARK = "\x1f"


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection within: it would walk through rows by the hundred thousand while they are
    made.
    """
    import gc

    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def pack(figures: Mapping[str, Any]) -> bytes:
    """FIGURES as little-endian doubles; NaN where unknown."""
    values = (figures[name] for name in FIGURES)
    return struct.pack(f"<{len(FIGURES)}d", *(_NAN if v is None else float(v) for v in values))


def join(texts: Mapping[str, Any]) -> str:
    """TEXTS as one."""
    return _MARK.join(str(texts[name]).replace(_MARK, " ") for name in TEXTS)


def unpack(packed: bytes) -> dict[str, float | int | None]:
    """Figures by name; None where unknown."""
    values = struct.unpack(f"<{len(packed) // 8}d", packed)
    found: dict[str, float | int | None] = dict.fromkeys(FIGURES)
    for name, value in zip(FIGURES, values, strict=False):
        if value == value:
            found[name] = int(value) if name in WHOLE else value
    return found


#: Figures after the texts and the revision, as ``_row`` lines them up, in the order of ANSWER.
_lined_up = itemgetter(*((*TEXTS, "revision", *FIGURES).index(name) for name in ANSWER))
_WHOLE_AT = tuple(i for i, name in enumerate(FIGURES) if name in WHOLE)


def _row(fetched: tuple[Any, ...]) -> tuple[Any, ...]:
    texts, revision, packed = fetched
    parts = texts.split(_MARK)
    figures: list[Any] = [None if v != v else v for v in _UNPACK(packed.ljust(_SIZE, b"\xff"))]
    for i in _WHOLE_AT:
        if figures[i] is not None:
            figures[i] = int(figures[i])
    if len(parts) != len(TEXTS) or type(revision) is not int or len(packed) % 8:
        raise ValueError("a neuron's row lacks texts or figures")
    return _lined_up((*parts, revision, *figures))  # type: ignore[no-any-return]


class Rows(Protocol):
    """Rows under named columns."""

    @property
    def columns(self) -> Sequence[str]:
        """Names."""

    @property
    def rows(self) -> Sequence[Sequence[Any]]:
        """Values, in the order of ``columns``."""


@dataclass(frozen=True)
class Table:
    """Rows that are there."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def objects(table: Rows) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


class Answer:
    """Neurons that a query found, as they were fetched.

    ``single`` says that one literal address was asked for, ``filtered`` that something else was as well.
    """

    columns = ANSWER

    def __init__(
        self, fetched: list[tuple[Any, ...]], single: bool = False, filtered: bool = False, run: str = ""
    ) -> None:
        self._fetched, self.single, self.filtered, self._run = fetched, single, filtered, run

    def __len__(self) -> int:
        return len(self._fetched)

    @cached_property
    def rows(self) -> list[tuple[Any, ...]]:
        """One tuple per neuron, in the order of ``columns``; None where a figure is unknown.

        Raises:
            StoreDamaged: a row is not what was written.
        """
        with decoding(self._run), uncollected():
            return list(map(_row, self._fetched))

    def frame(self) -> pd.DataFrame:
        """A DataFrame with a row per neuron; NaN where a figure is unknown.

        Raises:
            StoreDamaged: a row is not what was written.
        """
        with decoding(self._run):
            return self._frame()

    def _frame(self) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        count, marks = len(self._fetched), len(TEXTS) - 1
        joined, revisions, packs = list(zip(*self._fetched, strict=True)) or [(), (), ()]
        odd = any(length % 8 for length in set(map(len, packs)))
        if odd or not set(map(methodcaller("count", _MARK), joined)) <= {marks}:
            raise ValueError("a neuron's row lacks texts or figures")
        packed = b"".join([one.ljust(_SIZE, b"\xff") for one in packs])
        figures = np.frombuffer(packed, "<f8").reshape(count, len(FIGURES))
        texts = np.array(_MARK.join(joined).split(_MARK) if count else [], dtype=object).reshape(
            count, len(TEXTS)
        )
        columns: dict[str, Any] = {name: pd.Series(texts[:, i], dtype=object) for i, name in enumerate(TEXTS)}
        columns["revision"] = np.array(revisions, dtype=np.int64)
        for i, name in enumerate(FIGURES):
            values = figures[:, i]
            whole = name in WHOLE and bool(np.isfinite(values).all())
            columns[name] = values.astype(np.int64) if whole else values
        return pd.DataFrame({name: columns[name] for name in ANSWER}, copy=False)
