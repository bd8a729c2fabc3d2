"""What the command line prints: tables, lines of JSON, messages, and progress when a person is looking.

Text from data, models and formulas is made safe here: control characters, which a terminal would obey, are
shown as "�", and nothing is read as markup.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from interpret.commands import streams
from interpret.runs.schema import TEXTS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from interpret.runs.answers import Rows

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def safe(text: object) -> str:
    """Text that a terminal prints and does not obey; lone surrogates, which cannot be encoded, are
    replaced.
    """
    return _CONTROL.sub("�", str(text)).encode("utf-8", "replace").decode("utf-8")


#: Where our own lines go while standard output is kept for them (see ``kept``); None: standard output.
_ours: Any = None


@contextmanager
def kept() -> Iterator[None]:
    """Standard output holds our lines alone: what a user's model prints meanwhile goes to standard error."""
    global _ours
    before, stream = sys.stdout, _duplicate(sys.stdout)
    _ours, sys.stdout = stream or before, sys.stderr
    try:
        yield
    finally:
        _ours, sys.stdout = None, before
        if stream is not None:
            with suppress(OSError):
                stream.flush()
            os.dup2(stream.fileno(), 1)


def _duplicate(stdout: Any) -> Any:
    """A stream on what descriptor 1 was, which is standard error from now on; None where stdout is no descriptor."""
    try:
        if stdout.fileno() != 1 or sys.stderr.fileno() != 2:
            return None
        stdout.flush()
        copy = os.fdopen(os.dup(1), "w", encoding=stdout.encoding, errors=stdout.errors)
        os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):
        return None
    return copy


def out(text: str) -> None:
    """A line on standard output, whatever its encoding can show."""
    _write(_ours or sys.stdout, text)


def told(text: str) -> None:
    """A line on standard output of work that goes on though nobody reads it any more."""
    try:
        out(text)
    except BrokenPipeError:
        streams.discard_output(_ours or sys.stdout)


def message(text: str) -> None:
    """A line on standard error; that nobody reads it changes nothing."""
    try:
        _write(sys.stderr, safe(text))
    except BrokenPipeError:
        streams.discard_output(sys.stderr)


def _write(stream: Any, text: str) -> None:
    if stream is None:  # closed before we were started
        return
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:
        stream.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")
    stream.flush()


def console(stderr: bool = False) -> Console:
    """A console that takes text as it is: no markup, no highlighting."""
    from rich.console import Console

    return Console(file=None if stderr else _ours, stderr=stderr, markup=False, highlight=False, emoji=False)


#: Columns that are read as a whole: never cut into two lines while there is room.
_WHOLE = frozenset({"verdict", "kind", "error", "data_hash", "model_hash"})
#: Columns of addresses, which may be of any length: folded where they can be read, never cut.
_PLACES = frozenset({"address", "path", "neuron"})
#: Characters that a folded column has at least, while there are lesser columns to leave out.
_ROOMY = 22
#: Between two columns.
_GAP = 3


def grid(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Iterable[str] = (),
    lesser: Sequence[str] = (),
) -> Table:
    """A rich table; columns named in ``right`` are numbers.

    Where there is no room, the columns of ``lesser`` are left out, the last first, which the line below says;
    then texts are folded. Nothing is cut.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    numeric = set(right)
    cells = [[figure(value) for value in row] for row in rows]
    needs = [
        max([cell_len(safe(name)), *(cell_len(line) for row in cells for line in row[i].split("\n"))])
        for i, name in enumerate(headers)
    ]
    rigid = [name in numeric or name in _WHOLE for name in headers]
    kept = list(range(len(headers)))
    gone: list[str] = []
    room, droppable = console().width, list(lesser)
    widths = _widths(needs, rigid, kept, room)
    while droppable and any(widths[i] < min(needs[i], _ROOMY) for i in kept):
        name = droppable.pop()
        gone.insert(0, name)
        kept.remove(list(headers).index(name))
        widths = _widths(needs, rigid, kept, room)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption_justify="left")
    if gone:
        table.caption = Text(f"no room for {' and '.join(gone)}: --json has them")
    for i in kept:
        justify: Literal["left", "right"] = "right" if headers[i] in numeric else "left"
        table.add_column(Text(safe(headers[i])), justify=justify, overflow="fold", width=widths[i])
    for row in cells:
        table.add_row(*(Text(folded(row[i], widths[i]) if headers[i] in _PLACES else row[i]) for i in kept))
    return table


def _widths(needs: Sequence[int], rigid: Sequence[bool], kept: Sequence[int], room: int) -> dict[int, int]:
    """Widths of the columns in ``kept``: rigid ones get what they need while others have some too; the rest is
    shared out equally, what one does not need to those that do.
    """
    room -= _GAP * (len(kept) - 1)
    widths: dict[int, int] = {}
    loose = [i for i in kept if not rigid[i]]
    fixed = [i for i in kept if rigid[i]]
    left = room - sum(needs[i] for i in fixed)
    if left >= sum(min(needs[i], 8) for i in loose):
        widths, room = {i: needs[i] for i in fixed}, left
    else:
        loose = list(kept)
    for done, i in enumerate(sorted(loose, key=lambda i: needs[i])):
        widths[i] = max(1, min(needs[i], room // (len(loose) - done)))
        room -= widths[i]
    return widths


def folded(address: str, width: int) -> str:
    """An address over lines of that width, parted behind dots and before its index where that is possible."""
    lines = [""]
    for piece in re.split(r"(?<=\.)|(?=\[)", address):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def shortened(address: str, width: int) -> str:
    """An address without its middle where it is longer than that; its index stays whole while there is room."""
    if len(address) <= width:
        return address
    end = max(len(address) - address.rfind("["), width // 2) if "[" in address else width // 2
    end = min(end, width - 2)
    return f"{address[: width - 1 - end]}…{address[len(address) - end :]}"


def figure(value: object) -> str:
    """A value as people read it: four digits of a float, a dot for what is unknown."""
    if value is None:
        return "·"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "·" if math.isnan(value) else str(value)
        return f"{value:.4g}" if abs(value) < 1e-3 and value else f"{value:.4f}".rstrip("0").rstrip(".")
    return safe(value)


def json_text(objects: Any) -> str:
    """JSON without NaN or infinities, which it does not have: they become null."""
    return json.dumps(_finite(objects), indent=1, ensure_ascii=True, allow_nan=False)


def json_line(record: dict[str, Any]) -> str:
    """One record on one line."""
    return json.dumps(_finite(record), ensure_ascii=True, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def csv_text(answer: Rows) -> str:
    """CSV with a header row. A text that a spreadsheet would run as a formula gets a leading apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(answer.columns)
    looked_at = getattr(_ours or sys.stdout, "isatty", bool)()
    for row in answer.rows:
        # Of a hundred thousand neurons most cells are numbers, or texts that begin harmlessly.
        cells = [_cell(at) if type(at) is str and at[:1] in _RUN else at for at in row]
        writer.writerow([safe(at) if isinstance(at, str) else at for at in cells] if looked_at else cells)
    return stream.getvalue().rstrip("\n")


_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
#: What a text begins with that a spreadsheet runs.
_RUN = frozenset("=+-@\t\r")


def _cell(text: str) -> str:
    return text if _NUMBER.fullmatch(text) else "'" + text


#: Digits of a hash that a person sees.
_HASH = 8
#: Columns of the table that a person sees; the others are in --json and --csv.
SHOWN = ("address", "verdict", "formula", "alignment", "r2")


def shown_columns(answer: Rows, sort: str | None = None) -> list[str]:
    """SHOWN, the network and the hashes of data and weights where there are several, and the column sorted by."""
    names = list(SHOWN)
    for name in ("model_hash", "data_hash", "model"):
        at = answer.columns.index(name)
        if len({row[at] for row in answer.rows}) > 1:
            names.insert(1, name)
    if {"model", "model_hash"} <= set(names) and _says_hash(answer):
        names.remove("model_hash")
    if sort is not None and sort not in names:
        names.append(sort)
    return names


def _says_hash(answer: Rows) -> bool:
    """Whether no two networks of an answer have the same title."""
    return len(_pairs(answer, "model", "model_hash")) == len(_pairs(answer, "model"))


def _pairs(answer: Rows, *names: str) -> set[tuple[Any, ...]]:
    places = [answer.columns.index(name) for name in names]
    return {tuple(row[at] for at in places) for row in answer.rows}


def _shown_rows(answer: Rows, names: Sequence[str]) -> Iterator[list[Any]]:
    """Rows of these columns; of a hash its beginning, which filters take as well."""
    places = [(answer.columns.index(name), name.endswith("_hash")) for name in names]
    return ([row[at][:_HASH] if short else row[at] for at, short in places] for row in answer.rows)


def answer_table(answer: Rows, sort: str | None = None) -> Table:
    """An answer as a rich table."""
    names = shown_columns(answer, sort)
    figures = [name for name in names if name not in TEXTS]
    lesser = [name for name in names if name not in (*SHOWN[:3], "model", sort)]
    return grid(names, _shown_rows(answer, names), right=figures, lesser=lesser)


def markdown(answer: Rows, sort: str | None = None) -> str:
    """An answer as a Markdown table."""
    names = shown_columns(answer, sort)
    return markdown_lines(names, _shown_rows(answer, names))


def markdown_lines(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    body = [line(_inert(figure(value)) for value in row) for row in rows]
    return "\n".join([line(map(_inert, headers)), line("---" for _ in headers), *body])


def _inert(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_<>\[!|~&$])", r"\\\1", " ".join(safe(text).splitlines()))
