"""File formats of data. Each reader returns arrays or a table; none of them unpickles or evaluates anything."""

from __future__ import annotations

import csv
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from interpret.errors import LoadError, LoadRefused, NameMismatch


@dataclass(frozen=True)
class Loaded:
    """What a file holds: either a table, or arrays with what is known of their columns."""

    X: Any = None
    y: Any = None
    names: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    frame: Any = None


def reader(path: Path) -> Callable[[Path], Loaded]:
    """The reader for a file's ending.

    Raises:
        LoadRefused: a pickle. LoadError: an ending that nobody reads.
    """
    ending = path.suffix.lower()
    if ending in (".pkl", ".pickle", ".joblib", ".dill"):
        raise LoadRefused(
            f"{path.name} is a pickle, and reading one runs code from it; save the data as .npz or .csv"
        )
    if ending not in _READERS:
        raise LoadError(f"{path.name}: data is read from {', '.join(_READERS)}; got {ending or 'no ending'}")
    return _READERS[ending]


def read_csv(path: Path) -> Loaded:
    """A comma-separated table; without a header line of names its columns are x0, x1, …"""
    import pandas as pd

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header, first = next(lines, None), next(lines, [])
        if not header:
            raise LoadError(f"{path.name} is empty")
        _check_delimiter(path, header, first)
        named = not all(_is_number(cell) for cell in header)
        if named:
            _check_header(header)
        names = header if named else [f"x{i}" for i in range(len(header))]
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, header=None, names=names, skiprows=1 if named else 0, encoding="utf-8-sig",
                index_col=False, low_memory=False,
            )  # fmt: skip
    except pd.errors.ParserWarning as error:
        raise LoadError(_longer(path, len(names), len(first))) from error
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise LoadError(f"{path.name} is not UTF-8 text ({found}); save it as UTF-8") from error
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise LoadError(f"{path.name} is not a table that can be read: {str(error).strip()}") from error
    if not len(frame):
        raise LoadError(f"{path.name} has a header but no rows")
    return Loaded(frame=frame)


def _check_delimiter(path: Path, header: list[str], first: list[str]) -> None:
    """Refuse a table that something else than commas separates: it would be a single column of text.

    Raises:
        LoadError: which delimiter it has.
    """
    whole = ",".join(first)
    for sign, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and sign in header[0] and whole.count(sign) == header[0].count(sign):
            decimal = " and points as decimal marks" if re.search(r"\d,\d", whole) else ""
            raise LoadError(f"{path.name} is separated by {called}, not commas; save it with commas{decimal}")


def _longer(path: Path, columns: int, fields: int) -> str:
    """What to say of rows that have more fields than there are names for."""
    problem = f"{path.name}: rows have more fields than the {columns} names of the header"
    if fields == columns + 1:
        problem += f" (the first has {fields}). Their first field may be a row's name, as R writes it: "
        return problem + "write the table with row.names = FALSE"
    return f"{problem}; give every column a name"


def read_parquet(path: Path) -> Loaded:
    """A Parquet table; a field's metadata ``unit`` is its unit of measurement."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise LoadError("reading .parquet needs pyarrow: pip install 'twinscope[parquet]'") from error
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise LoadError(f"{path.name} is not a Parquet file that can be read: {error}") from error
    metas = {name: table.schema.field(i).metadata or {} for i, name in enumerate(table.column_names)}
    units = {name: meta[b"unit"].decode() for name, meta in metas.items() if b"unit" in meta}
    _check_header(table.column_names)
    return Loaded(frame=table.to_pandas(), units=units)


def read_npy(path: Path) -> Loaded:
    """One array, as a memory map: rows are read when they are used."""
    _check_start(path, b"\x93NUMPY")
    with _named(path):
        return Loaded(X=np.load(path, mmap_mode="r", allow_pickle=False))


def read_npz(path: Path) -> Loaded:
    """Arrays X, y, names, units; or the inputs of a model by name."""
    _check_start(path, b"PK")
    with path.open("rb") as file, _named(path):  # numpy leaves a damaged file open
        archive = np.load(file, allow_pickle=False)
        arrays = {name: archive[name] for name in archive.files}
    return _from_arrays(path, arrays)


def read_safetensors(path: Path) -> Loaded:
    """Tensors X and y, or inputs by name; names and units are JSON in the metadata."""
    import safetensors

    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            meta = file.metadata() or {}
        extra = {key: json.loads(meta[key]) for key in ("names", "units") if key in meta}
    except (safetensors.SafetensorError, json.JSONDecodeError, OSError) as error:
        raise LoadError(f"{path.name} is not a safetensors file that can be read: {error}") from error
    return _from_arrays(path, {**arrays, **extra})


def _from_arrays(path: Path, arrays: dict[str, Any]) -> Loaded:
    names = tuple(str(name) for name in arrays.pop("names", ()))
    units = arrays.pop("units", ())
    lower = {name.lower(): name for name in arrays}
    y = arrays.pop(lower["y"]) if "y" in lower and len(arrays) > 1 else None
    main = next((lower[name] for name in ("x", "data") if name in lower), None)
    if not arrays:
        raise LoadError(f"{path.name} holds no arrays; it needs X, and may have y, names and units")
    X = (
        arrays[main]
        if main is not None and len(arrays) == 1
        else next(iter(arrays.values()))
        if len(arrays) == 1
        else arrays
    )
    if names and not isinstance(X, dict) and len(names) != X.shape[-1]:
        raise NameMismatch(f"{path.name} has {len(names)} names for data of width {X.shape[-1]}")
    if isinstance(units, Mapping):
        return Loaded(X, y, names, {str(k): str(v) for k, v in units.items()})
    if len(units) and len(units) != len(names):
        raise NameMismatch(f"{path.name} has {len(units)} units for {len(names)} names; give one per name")
    return Loaded(X, y, names, dict(zip(names, map(str, units), strict=True)) if len(units) else {})


def _check_start(path: Path, magic: bytes) -> None:
    with path.open("rb") as file:
        start = file.read(len(magic))
    if start[:1] == b"\x80":
        raise LoadRefused(f"{path.name} is a pickle, and reading one runs code from it; save plain arrays")
    if start != magic:
        raise LoadError(f"{path.name} is damaged, or not the NumPy file that its ending says")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever a damaged file does to its reader becomes one error that names the file."""
    try:
        yield
    except ValueError as error:
        if "pickle" in str(error) or "bject" in str(error):
            what = "holds Python objects, and reading them runs code; save plain arrays"
            raise LoadRefused(f"{path.name} {what}") from error
        raise LoadError(f"{path.name} is damaged: {error}") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        OSError,
        EOFError,
        LookupError,
        RuntimeError,
    ) as error:
        raise LoadError(f"{path.name} is damaged: {type(error).__name__}: {error}") from error


def _check_header(names: list[str]) -> None:
    from interpret.data import check_names

    check_names(names)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[Path], Loaded]] = {
    ".csv": read_csv,
    ".npz": read_npz,
    ".npy": read_npy,
    ".parquet": read_parquet,
    ".safetensors": read_safetensors,
}
