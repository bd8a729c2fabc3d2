"""Data with the names, units of measurement and kinds of its columns, loaded without executing anything in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interpret.errors import BadInput, LoadError, NameMismatch
from interpret.probing import batches

if TYPE_CHECKING:
    from interpret.inputs.formats import Loaded

#: What a column can be. Derivatives are taken in continuous ones only.
KINDS = ("continuous", "categorical", "boolean")


@dataclass(frozen=True)
class Data:
    """Probe data and what is known of its columns. Every consumer of ``X`` takes a Data in its place.

    Attributes:
        X: (N, *input) array, memory map, DataFrame (where columns are declared), or a tuple or dict of inputs.
        y: (N,) labels or targets, or None.
        names: of the last axis' columns; empty where X is no table.
        units: of measurement, one text per name, "" where there is none.
        kinds: "continuous", "categorical" or "boolean", one per name.
        categories: the labels behind the codes of each categorical column.
        path: where it came from.
    """

    X: Any
    y: Any = None
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    path: str = ""

    def __post_init__(self) -> None:
        check_names(self.names)
        for what in ("units", "kinds"):
            given = getattr(self, what)
            if given and len(given) != len(self.names):
                raise NameMismatch(
                    f"{len(given)} {what} for {len(self.names)} names; give one per name, or none"
                )
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise BadInput(f"a column is {', '.join(KINDS)}; got {unknown[0]!r:.40}")
        width = getattr(self.X, "shape", (0,))[-1] if self.names else 0
        if self.names and len(getattr(self.X, "shape", ())) == 2 and width != len(self.names):
            raise NameMismatch(f"{len(self.names)} names for data of width {width}")
        if self.y is not None and len(self.y) != len(self):
            raise BadInput(f"{len(self.y)} labels for {len(self)} rows")

    def __len__(self) -> int:
        rows = batches.rows_of(self.X)
        if rows is None:
            raise TypeError("the number of rows of this loader is known only after a pass over it")
        return rows

    @property
    def fixed(self) -> tuple[int, ...]:
        """Positions of the columns that derivatives are not taken in."""
        return tuple(i for i, kind in enumerate(self.kinds) if kind != "continuous")

    @property
    def continuous(self) -> tuple[str, ...]:
        """Names of the columns that derivatives are taken in."""
        return tuple(
            n
            for n, kind in zip(self.names, self.kinds or ["continuous"] * len(self.names), strict=True)
            if kind == "continuous"
        )

    def rows(self, index: Any) -> Data:
        """The same columns at some rows: a slice, mask or positions."""
        return replace(self, X=_rows(self.X, index), y=None if self.y is None else _rows(self.y, index))

    def declared(self, categorical: Sequence[str] = (), boolean: Sequence[str] = ()) -> Data:
        """The same data with these columns declared, so that no derivative is taken in them.

        Raises:
            NameMismatch: no column of that name.
        """
        missing = [name for name in (*categorical, *boolean) if name not in self.names]
        if missing:
            raise NameMismatch(f"no column {missing[0]!r:.80}; there are {', '.join(self.names[:12])}")
        kinds = list(self.kinds or ["continuous"] * len(self.names))
        for names, kind in ((categorical, "categorical"), (boolean, "boolean")):
            for name in names:
                kinds[self.names.index(name)] = kind
        return replace(self, kinds=tuple(kinds))


def load(
    path: str | Path,
    *,
    target: str | None = None,
    categorical: Sequence[str] = (),
    boolean: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
) -> Data:
    """Data from ``.csv``, ``.npz``, ``.npy``, ``.parquet`` or ``.safetensors``; nothing in the file is executed.

    Tables: the header gives names, a trailing ``[unit]`` of a name its unit of measurement (``"length [m]"``), columns
    of truth values are boolean, columns of text must be declared categorical and become codes. Archives hold ``X``, and
    ``y``, ``names`` and ``units`` if known; other names are the inputs of a model that takes several. An ``.npy`` file
    stays on disk (a memory map), so it may be larger than memory.

    Args:
        path: the file.
        target: the column that is y; by default one named "target" or "label".
        categorical: columns whose numbers or texts are labels.
        boolean: columns of 0 and 1 that are truth values.
        units: of measurement by name, over those that the file gives.

    Raises:
        LoadError: the file is missing, damaged, or of another format.
        LoadRefused: loading it would execute code (pickles, object arrays).
        NameMismatch: names are duplicated, contain NUL, or do not fit the data's width.
        BadInput: a column holds text that is not declared, or cells are empty.
    """
    from interpret.inputs.formats import reader

    path = Path(path)
    if not path.exists():
        raise LoadError(f"no such data file: {str(path)!r}")
    if path.is_dir():
        raise LoadError(f"{str(path)!r} is a folder; give a .csv, .npz, .npy, .parquet or .safetensors file")
    loaded = reader(path)(path)
    return _settled(loaded, path, target, tuple(categorical), tuple(boolean), dict(units or {}))


def _settled(
    loaded: Loaded,
    path: Path,
    target: str | None,
    categorical: tuple[str, ...],
    boolean: tuple[str, ...],
    units: dict[str, str],
) -> Data:
    if loaded.frame is not None:
        from interpret.inputs.tables import from_frame

        data = from_frame(loaded.frame, target, categorical, boolean, {**loaded.units, **units})
        return replace(data, path=str(path))
    if target is not None and target != "y":
        raise LoadError(
            f"{path.name} is no table with columns, so it has no target column {target!r:.80}; store y beside X"
        )
    named = tuple(units.get(name, loaded.units.get(name, "")) for name in loaded.names)
    data = Data(loaded.X, loaded.y, loaded.names, named if any(named) else (), path=str(path))
    return data.declared(categorical, boolean) if categorical or boolean else data


def as_batchable(X: Any) -> Any:
    """``X`` as arrays or tensors that can be cut into batches: tables become float64 (N, d), Data gives its X.

    Raises:
        BadInput: it holds no numbers.
    """
    return batches.plain(X)


def check_names(names: Sequence[str]) -> None:
    """Any text up to 10 kB is a name; only NUL and duplicates are refused.

    Raises:
        NameMismatch: which name, and where.
    """
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise NameMismatch(f"name {i} is {type(name).__name__}, not text")
        if "\0" in name:
            raise NameMismatch(f"name {i} contains NUL: {name[:40]!r}")
        if len(name.encode("utf-8", "surrogatepass")) > 10_240:
            raise NameMismatch(f"name {i} is longer than 10 kB: {name[:40]!r}…")
        if name in first:
            raise NameMismatch(f"columns {first[name]} and {i} have the same name {name[:80]!r}; rename one")
        first[name] = i


def _rows(value: Any, index: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rows(part, index) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_rows(part, index) for part in value)
    return (
        value.iloc[index]
        if hasattr(value, "iloc")
        else value[index]
        if hasattr(value, "shape")
        else np.asarray(value)[index]
    )
