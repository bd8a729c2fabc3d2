"""The run's database: its tables, its version, how it is opened, and what its errors mean.

A run is a folder with ``run.sqlite`` in write-ahead mode and ``arrays/`` beside it. Rows of ``neuron`` and
of every table hanging on it are never changed: a refit is a new row with the next revision, and ``latest``
points at it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from interpret.errors import InterpretError, StoreDamaged, StoreError, StoreLocked
from interpret.runs.migrations import MIGRATIONS, VERSION, lean, origin
from interpret.runs.temporary import beside

DATABASE = "run.sqlite"
#: Marks the file as ours ("twsc"), so that another program's database is never touched.
APPLICATION = 0x74777363
#: Seconds to wait for another process before StoreLocked.
PATIENCE = 60.0
#: Free bytes of a disk that is full: less than SQLite takes at once.
_LITTLE = 2**20

#: Figures of a neuron that queries filter and sort by, all REAL or INTEGER, NULL where unknown.
FIGURES = (
    "complexity",
    "terms",
    "misalignment",
    "misalignment_low",
    "misalignment_high",
    "alignment",
    "mse",
    "link_r2",
    "link_monotone",
    "pearson",
    "r2",
    "mae",
    "coverage95",
    "loglik",
    "cancellation",
    "agreement",
    "noise",
    "examples",
    "formula_network",
    "gp_network",
    "formula_gp",
    "points_used",
    "points_dropped",
    "failing_share",
    "seed",
    "seconds",
)
#: Text columns of a neuron; a query may compare these with text.
TEXTS = (
    "address",
    "layer",
    "verdict",
    "formula",
    "engine",
    "kernel",
    "link",
    "title",
    "model",
    "claim",
    "created",
    "data_hash",
    "model_hash",
)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors about a run into ours, each with what to do."""
    try:
        yield
    except InterpretError:
        raise
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # A damaged name in SQLite's own message about the damage is no text.
        raise _named(error, path) from error
    except OSError as error:
        raise _system(error, path) from error


@contextmanager
def decoding(path: Path | str) -> Iterator[None]:
    """``named_errors`` around code that does nothing but make something of what the database holds: what it
    cannot be made of, it was not written as.
    """
    try:
        with named_errors(Path(path)):
            yield
    except InterpretError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError, struct.error) as error:
        raise _named(error, Path(path)) from error


def _named(error: Exception, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreLocked(
            f"{path}: another process has held the run's database for more than {PATIENCE:g} s. "
            f"Nothing was lost; end that process or wait, then run the same command again."
        )
    if code == "SQLITE_FULL" or "disk is full" in str(error):
        return _full(path)
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreError(
            f"{path}: the run's database cannot be opened or written ({error}). Check its permissions."
        )
    if code.startswith("SQLITE_IOERR"):
        if _is_full(path):
            return _full(path)
        return StoreError(
            f"{path}: reading or writing the run's database failed ({error}). Every neuron committed before "
            f"is "
            f"kept; check the disk, then run the same command again."
        )
    return StoreDamaged(
        f"{path}: the run's database is not what was written ({error}). Nothing was changed; restore the "
        f"folder from "
        f"a copy, or copy what is left with: sqlite3 {path.name}/{DATABASE} .recover"
    )


def _is_full(path: Path) -> bool:
    """Whether the disk is; SQLite calls it an error of input and output where it extends a file by mapping it."""
    there = next((p for p in (path, *path.absolute().parents) if p.exists()), None)
    with suppress(OSError):
        return there is not None and shutil.disk_usage(there).free < _LITTLE
    return False


def _full(path: Path) -> StoreError:
    return StoreError(
        f"{path}: the disk is full. Every neuron committed before is kept; free some space, then run the "
        f"same "
        f"command again to go on."
    )


def _system(error: OSError, path: Path) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return StoreError(f"{path}: a run is a folder, and there is a file of that name.")
    return StoreError(f"{path}: {error.strerror or error}. Check that the folder exists and may be written.")


def connect(folder: Path, *, create: bool = False, patience: float = PATIENCE) -> sqlite3.Connection:
    """Open a run's database, migrated to VERSION.

    A folder that cannot be written is opened for reading only.

    Raises:
        StoreError: there is no run at ``folder``, or it was written by a newer version.
        StoreLocked, StoreDamaged: as their names say; nothing was changed.
    """
    file = folder / DATABASE
    with named_errors(folder):
        if create and not file.exists():
            _create(file)
        if not file.is_file():
            raise StoreError(
                f"{folder}: no run here (there is no {DATABASE}). `twinscope explain --out` makes one."
            )
        _check_header(file)
        check_log(folder)
        connection = _open(file, patience)
        try:
            return _prepare(connection, folder, _writable(file))
        except BaseException:
            connection.close()
            raise


def _create(file: Path) -> None:
    """Make the database whole under another name, then link it: nobody ever sees half of one.

    Of two processes that create the same run, one comes second and opens what the first made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(file)
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            _migrate(connection)
            connection.execute("PRAGMA journal_mode = WAL")
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        for path in file.parent.glob(temporary.name + "*"):
            path.unlink(missing_ok=True)


def _check_header(file: Path) -> None:
    """Refuse what is plainly no database of ours before SQLite, which would create files beside it, sees it.

    Bytes 68 to 71 of an SQLite file hold its application id.
    """
    with file.open("rb") as stream:
        head = stream.read(100)
    if head[:16] != b"SQLite format 3\x00":
        raise StoreDamaged(f"{file.parent}: {DATABASE} is not an SQLite database. Nothing was changed.")
    if int.from_bytes(head[68:72], "big") != APPLICATION:
        raise StoreDamaged(
            f"{file.parent}: {DATABASE} is a database of another program. Nothing was changed."
        )


def check_log(folder: Path) -> None:
    """Refuse a damaged write-ahead log before SQLite, which would drop all behind the damage, sees it."""
    file = folder / DATABASE
    if not _has_wal(file):
        return
    from interpret.runs.wal import damage

    found = damage(file.with_name(file.name + "-wal"))
    if found:
        raise StoreDamaged(
            f"{folder}: {DATABASE}-wal, which holds the neurons stored last, is damaged: {found}. Nothing was "
            f"changed, and no other program should open the run, for SQLite drops what follows the damage. "
            f"Restore the file from a copy. To go on with what stands before the damage, copy the folder and "
            f"run in the copy: sqlite3 {DATABASE} 'PRAGMA wal_checkpoint'"
        )


def _writable(file: Path) -> bool:
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def _open(file: Path, patience: float) -> sqlite3.Connection:
    from urllib.parse import quote

    mode = "rw"
    if not _writable(file):
        mode = "ro" if _has_wal(file) else "ro&immutable=1"
    uri = f"file:{quote(os.fsencode(file.resolve()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None)


def _has_wal(file: Path) -> bool:
    try:
        return file.with_name(file.name + "-wal").stat().st_size > 0
    except FileNotFoundError:  # another process closed the run just now
        return False


def _prepare(connection: sqlite3.Connection, folder: Path, writable: bool) -> sqlite3.Connection:
    version = _version(connection)
    if version > VERSION:
        raise StoreError(
            f"{folder}: the run has schema version {version}, and this twinscope knows versions up to "
            f"{VERSION}. Upgrade twinscope; nothing was changed."
        )
    if version < VERSION:
        connection = connection if writable else _copied(connection)
        _migrate(connection)
        connection.execute(f"PRAGMA query_only = {'OFF' if writable else 'ON'}")
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _copied(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A private copy, which goes when it is closed: an older run that may only be read is migrated there."""
    copy = sqlite3.connect("", isolation_level=None)
    with closing(connection):
        connection.backup(copy)
    return copy


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up, all steps in one transaction; whoever comes second finds it done."""
    connection.create_function("origin", 2, origin, deterministic=True)
    connection.create_function("lean", 3, lean, deterministic=True)
    with transaction(connection):
        version = _version(connection)
        for step in MIGRATIONS[version:]:
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _statements(script: str) -> Iterator[str]:
    """Statements of a script one by one; ``executescript`` would commit the transaction."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: everything or nothing, also when the process is killed within."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
