"""The run store: a folder that keeps explanations, survives kill −9, and answers queries.

``create_run`` makes one, ``open_run`` opens one; ``Run`` adds, loads and queries. One transaction per
neuron; its arrays are on disk before the row that names them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from interpret.errors import StoreDamaged, UnknownNeuron
from interpret.runs.answers import Answer, uncollected
from interpret.runs.query import select
from interpret.runs.rows import natural, text
from interpret.runs.schema import connect, decoding, named_errors, transaction

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from interpret.explanation import NeuronExplanation
    from interpret.runs.claims import Failure
    from interpret.runs.files import ArrayFiles
    from interpret.runs.pictures import Pictures
    from interpret.runs.writing import Entry


#: Neurons that a notebook shows of a run.
_IN_NOTEBOOK = 25
_LATEST = "FROM latest l JOIN neuron n ON n.id = l.neuron"


def _text(value: object) -> str:
    """A stored text.

    Raises:
        TypeError: damage made something else of it.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def create_run(path: str | Path, meta: Mapping[str, Any] | None = None) -> Run:
    """Make a run at ``path``, or open the one that is there; nothing that it holds is changed.

    Args:
        path: the folder; made if absent.
        meta: what to remember of the run (JSON values); keys that it has already keep their value.

    Raises:
        StoreError: the folder cannot be made or written. StoreLocked, StoreDamaged: as their names say.
    """
    folder = Path(path)
    run = Run(folder, connect(folder, create=True))
    run._remember({"created": datetime.now(UTC).isoformat(timespec="seconds"), **(meta or {})})
    return run


def open_run(path: str | Path) -> Run:
    """Open the run at ``path``.

    Raises:
        StoreError: there is none, or a newer version wrote it. StoreLocked, StoreDamaged: as their names say.
    """
    folder = Path(path)
    return Run(folder, connect(folder))


class Run:
    """An open run; a context manager. Use each object from one thread; other processes may use the run
    meanwhile.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path.absolute()
        self._named = path  # as it was given, for messages
        self.connection = connection
        self._durable: bool | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        with self.reading():
            return int(self.connection.execute("SELECT count(*) FROM latest").fetchone()[0])

    def __repr__(self) -> str:
        models = sorted({model for model, _ in self.entries()})
        return f"Run at {self._named}: {len(self)} neurons of {', '.join(models) or 'no network yet'}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the first neurons as a table."""
        from itertools import islice

        from interpret.report.notebooks import run_table

        return run_table(str(self._named), list(islice(self.explanations(), _IN_NOTEBOOK)), len(self))

    def __contains__(self, address: object) -> bool:
        with self.reading():
            found = self.connection.execute(
                "SELECT 1 FROM latest WHERE address = ?", (str(address),)
            ).fetchone()
        return found is not None

    @cached_property
    def files(self) -> ArrayFiles:
        """The arrays of the run; loaded when needed, for queries need none."""
        from interpret.runs.files import ArrayFiles

        return ArrayFiles(self.path / "arrays")

    @cached_property
    def pictures(self) -> Pictures:
        """The pictures of the run."""
        from interpret.runs.pictures import Pictures

        return Pictures(self.connection, self._named)

    def close(self) -> None:
        """Release the database; the object is of no use afterwards."""
        with named_errors(self._named):
            self.connection.close()

    @property
    def meta(self) -> dict[str, Any]:
        """What the run remembers of itself."""
        with self.reading():
            rows = self.connection.execute("SELECT key, value FROM meta").fetchall()
            return {row["key"]: json.loads(row["value"]) for row in rows}

    def _remember(self, meta: Mapping[str, Any]) -> None:
        rows = [(key, json.dumps(value, default=str)) for key, value in meta.items()]
        with self.writing():
            self.connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", rows)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Errors of the database or the disk come out as ours, and so does what cannot be decoded."""
        with decoding(self._named):
            yield

    @contextmanager
    def writing(self, durable: bool = True) -> Iterator[None]:
        """One write transaction, with errors as in ``reading``.

        What is not ``durable`` may be undone by a power failure, though by no crash of a process; it costs
        no sync.
        """
        with named_errors(self._named):
            if durable is not self._durable:
                self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            with transaction(self.connection):
                yield

    def addresses(self) -> list[str]:
        """Every neuron of the run, in counting order."""
        with self.reading():
            rows = self.connection.execute(f"SELECT n.address {_LATEST} ORDER BY n.sort, n.id").fetchall()
            return [_text(row[0]) for row in rows]

    def entries(self) -> list[tuple[str, str]]:
        """(network's title, address) of every neuron, in counting order."""
        with self.reading():
            rows = self.connection.execute(
                f"SELECT n.model, n.address {_LATEST} ORDER BY n.sort, n.id"
            ).fetchall()
            return [(_text(row[0]), _text(row[1])) for row in rows]

    def mixed(self, model: str, data_hash: str, model_hash: str) -> str:
        """What a person should know before explaining that network from that data into this run; "" when
        nothing.

        Neurons of the same network's title that were explained from other data or other weights stay, and a
        query would show both side by side.

        Args:
            model: the network's title.
            data_hash: of the data to be explained from; "" asks nothing.
            model_hash: of the weights; "" asks nothing.
        """
        if not (data_hash and model_hash):
            return ""
        sql = (
            "SELECT count(*), sum(n.data_hash <> ?), sum(n.model_hash <> ?) "
            f"{_LATEST} WHERE n.model = ? AND (n.data_hash <> ? OR n.model_hash <> ?)"
        )
        with self.reading():
            row = self.connection.execute(
                sql, (data_hash, model_hash, text(model), data_hash, model_hash)
            ).fetchone()
        if not row[0]:
            return ""
        other = " and ".join(
            what for what, count in (("other data", row[1]), ("other weights", row[2])) if count
        )
        return (
            f"{self._named} holds {row[0]} neurons of {model!r} explained from {other}. They are kept, and "
            f"this run now mixes both: `query --data {data_hash[:8]}` and `--model {model_hash[:8]}` tell them "
            f"apart. Another --out or --title keeps them separate."
        )

    def check(self) -> list[str]:
        """What is wrong with the run; empty when it is sound. Nothing is changed."""
        from interpret.runs.checking import problems

        return problems(self)

    def add(self, explanation: NeuronExplanation, *, plan: int | None = None) -> int:
        """Store an explanation; the row's id.

        The same result again (equal digest) is not stored twice; another result for the same address becomes
        its next revision, and what was there stays.

        Args:
            explanation: what `interpret.explain` made.
            plan: the row of the sweep that it is a part of, if of any.
        """
        from interpret.runs.writing import entry

        made = entry(explanation)
        self.write_files(made.packs)
        with self.writing():
            return self.insert(made, plan)

    def write_files(self, packs: Mapping[str, bytes]) -> None:
        """Put an explanation's arrays on the disk, synced, before any row names them."""
        with named_errors(self._named):
            for key, content in packs.items():
                self.files.write(key, content)

    def insert(self, entry: Entry, plan: int | None) -> int:
        """The rows of one explanation, inside the caller's transaction; the new row's id.

        Args:
            entry: what one explanation becomes (`interpret.runs.writing.entry`); its arrays are on the disk already.
            plan: as for `add`.
        """
        from interpret.runs.writing import insert

        return insert(self.connection, entry, plan)

    def load(
        self, address: str, *, model: str | None = None, revision: int | None = None
    ) -> NeuronExplanation:
        """The whole explanation of a neuron, arrays and pictures included.

        Args:
            address: as `addresses` lists it.
            model: the network's title, where the run holds several.
            revision: its number, from 1; None stands for the latest.

        Raises:
            UnknownNeuron: the run has no such neuron; the nearest addresses are named. Or it has that address in
                several networks, and ``model`` does not say which.
            StoreDamaged: what is stored is not what was written.
        """
        row = self._document(address, model, revision)
        return self._decoded(row)

    def find(self, address: str, model: str, fingerprint: str) -> NeuronExplanation | None:
        """The latest explanation of that network's neuron made from the same model, data and settings, or
        None.

        Args:
            address: as it was explained.
            model: the network's title.
            fingerprint: of weights, data and settings together.
        """
        sql = (
            "SELECT d.body, d.volatile, n.address FROM neuron n JOIN document d ON d.neuron = n.id "
            "WHERE n.model = ? AND n.address = ? AND n.fingerprint = ? ORDER BY n.revision DESC LIMIT 1"
        )
        with self.reading():
            row = self.connection.execute(sql, (text(model), text(address), fingerprint)).fetchone()
        return None if row is None else self._decoded(row)

    def explanations(self) -> Iterator[NeuronExplanation]:
        """Every neuron's latest explanation, one at a time, in counting order."""
        return map(self.explanation, self.keys())

    def keys(self) -> list[int]:
        """The row of every neuron's latest explanation, in counting order; what they hold never changes."""
        with self.reading():
            rows = self.connection.execute(f"SELECT n.id {_LATEST} ORDER BY n.sort, n.id").fetchall()
            return [int(row[0]) for row in rows]

    def explanation(self, key: int) -> NeuronExplanation:
        """The explanation in that row.

        Args:
            key: one of `keys`, or what `add` returned.

        Raises:
            StoreDamaged: there is none, or what is stored is not what was written.
        """
        sql = (
            "SELECT d.body, d.volatile, n.address FROM document d JOIN neuron n ON n.id = d.neuron "
            "WHERE n.id = ?"
        )
        with self.reading():
            document = self.connection.execute(sql, (key,)).fetchone()
        return self._decoded(document)

    def failures(self) -> list[Failure]:
        """Neurons that could not be explained and have not been since, with the error of each."""
        from interpret.runs.claims import failures

        return failures(self)

    def _decoded(self, row: sqlite3.Row | None) -> NeuronExplanation:
        import zlib

        from interpret.runs.codec import decode

        if row is None:
            raise StoreDamaged(
                f"{self._named}: the document of a listed neuron is missing. Nothing was changed."
            )
        try:
            body = zlib.decompress(row["body"])
            volatile = json.loads(row["volatile"])
        except (zlib.error, ValueError, TypeError) as error:
            raise StoreDamaged(
                f"{self._named}: the document of {row['address']!r} is damaged ({error})."
            ) from error
        return decode(body, volatile, self)

    def _document(self, address: str, model: str | None, revision: int | None) -> sqlite3.Row:
        source = "FROM neuron n" if revision is not None else _LATEST
        sql = f"SELECT d.body, d.volatile, n.address, n.model {source} JOIN document d ON d.neuron = n.id "
        where, values = "WHERE (n.address = ? OR n.sort = ?)", [text(address), natural(text(address))]
        if model is not None:
            where, values = where + " AND n.model = ?", [*values, text(model)]
        if revision is not None:
            where, values = where + " AND n.revision = ?", [*values, str(revision)]
        with self.reading():
            found = self.connection.execute(sql + where, values).fetchall()
        if len(found) > 1:
            raise UnknownNeuron(
                f"{self._named}: {address!r} is a neuron of {len(found)} networks here; say which with "
                f"model=, one of "
                f"{', '.join(repr(row['model']) for row in found)}"
            )
        if not found:
            raise self.unknown(address, revision)
        return found[0]  # type: ignore[no-any-return]

    def unknown(self, address: str, revision: int | None = None) -> UnknownNeuron:
        """The error for an address that the run does not hold, to be raised by the caller.

        Args:
            address: what was asked for.
            revision: the revision that was asked for, if any was.
        """
        known = list(dict.fromkeys(self.addresses()))
        if revision is not None and address in known:
            return UnknownNeuron(f"{self._named}: neuron {address!r} has no revision {revision}.")
        near = get_close_matches(address, known, n=3, cutoff=0.4) or known[:3]
        hint = f" The nearest are {', '.join(map(repr, near))}." if near else " The run holds none yet."
        return UnknownNeuron(
            f"{self._named}: the run holds no neuron {address!r} among its {len(known)}.{hint}"
        )

    def pack(self, key: str) -> dict[str, np.ndarray]:
        """Arrays of a stored pack (codec.Reader)."""
        with self.reading():
            return self.files.read(key)

    def blob(self, key: str) -> bytes:
        """A stored picture (codec.Reader).

        Raises:
            StoreDamaged: it is missing, or not what was written.
        """
        # A page shows dozens, nearly all of them read before: no database, and no error of one.
        kept = self.pictures.kept(key)
        if kept is not None:
            return kept
        with self.reading():
            return self.pictures.read(key)

    def table(self, pattern: str | None = None, **filters: Any) -> Answer:
        """``query`` as plain rows, without pandas.

        Args:
            pattern: as for `query`.
            filters: those of ``interpret.runs.query.Filters``, by name.
        """
        with self.reading(), uncollected():
            return select(self.connection, pattern, str(self._named), **filters)

    def query(
        self,
        pattern: str | None = None,
        *,
        uses: str | list[str] | None = None,
        has: str | list[str] | None = None,
        **filters: Any,
    ) -> pd.DataFrame:
        """Neurons that pass every filter, a row each; without filters, all of them.

        Args:
            pattern: an address; ``*`` and ``?`` stand for any text, ``fc1[2:5]`` for a range of units.
            uses: variables that the formula must have.
            has: operators or functions that the formula must have.
            filters: verdict, min_alignment, where, like, model, data, sort, descending, limit, revisions: see
                ``interpret.runs.query.Filters``.

        Raises:
            QueryError: a filter does not parse, or names a column, input, operator, network or data that the
                run does not have.
            UnknownNeuron: ``pattern`` is one address, and the run does not hold it.
        """
        table = self.table(pattern, uses=uses, has=has, **filters)
        if pattern is not None and not len(table) and table.single and not table.filtered:
            raise self.unknown(pattern)
        with uncollected():
            return table.frame()
