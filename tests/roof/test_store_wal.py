"""A write-ahead log that was damaged is named before SQLite drops what follows the damage."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interpret.commands import verbs
from interpret.errors import StoreDamaged
from interpret.explanation import NeuronExplanation
from interpret.runs.schema import DATABASE
from interpret.runs.wal import damage
from interpret.store import create_run, open_run

WAL = DATABASE + "-wal"
_KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for i in range(12):
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"key{i}", '"' + "v" * 900 + '"'))
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose process was killed: what it committed last is in the log alone."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    create_run(folder).close()
    subprocess.run([sys.executable, "-c", _KILLED, str(folder / DATABASE)], check=False)
    assert (folder / WAL).stat().st_size > 12 * 4096
    return folder


def copied(killed: Path, to: Path, content: bytes | None = None) -> Path:
    shutil.copytree(killed, to)
    (to / f"{DATABASE}-shm").unlink(missing_ok=True)
    if content is not None:
        (to / WAL).write_bytes(content)
    return to


def test_a_sound_log_is_read(killed: Path, tmp_path: Path) -> None:
    assert damage(killed / WAL) == "" and damage(tmp_path / "absent") == ""
    with open_run(copied(killed, tmp_path / "run")) as run:
        assert {f"key{i}" for i in range(12)} <= set(run.meta)


@pytest.mark.parametrize("at", [0, 9, 17, 25, 33, 41, 50, 60, 5000, 20_000])
def test_a_flipped_bit_is_named_and_nothing_is_dropped(killed: Path, tmp_path: Path, at: int) -> None:
    content = bytearray((killed / WAL).read_bytes())
    content[at] ^= 1
    folder = copied(killed, tmp_path / "run", bytes(content))
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"run.sqlite-wal.*is damaged"):
            open_run(folder)
        with pytest.raises(StoreDamaged, match="Restore the file"):
            verbs.doctor(folder, json=False, quiet=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    content[at] ^= 1
    (folder / WAL).write_bytes(content)
    with open_run(folder) as run:
        assert "key11" in run.meta, "once the file is restored, all is there"


def test_every_bit_before_the_last_transaction_counts(killed: Path, tmp_path: Path) -> None:
    content = (killed / WAL).read_bytes()
    rng = random.Random(0)
    for at in rng.sample(range(len(content) - 2 * 4120), 60):
        altered = bytearray(content)
        altered[at] ^= 1 << rng.randrange(8)
        (tmp_path / "log").write_bytes(altered)
        assert damage(tmp_path / "log"), at


def test_a_torn_end_is_ordinary(killed: Path, tmp_path: Path) -> None:
    content = (killed / WAL).read_bytes()
    torn = bytearray(content)
    torn[-100:] = bytes(100)
    for i, log in enumerate(
        (content[:-1], content[:-4000], content[:-5000], content[:31], content[:40], bytes(torn))
    ):
        (tmp_path / "log").write_bytes(log)
        assert damage(tmp_path / "log") == ""
        with open_run(copied(killed, tmp_path / str(i), log)) as run:
            assert run.check() == []


def test_what_an_earlier_log_left_is_ordinary(tmp_path: Path) -> None:
    """After a checkpoint a log is written anew from its beginning, and its old end stays."""
    with create_run(tmp_path) as run:
        for i in range(20):
            run._remember({f"old{i}": "v" * 5000})
        run.connection.execute("PRAGMA wal_checkpoint(RESTART)")
        run._remember({"new": "v" * 5000})
        assert (tmp_path / WAL).stat().st_size > 100_000
        assert damage(tmp_path / WAL) == ""
        with open_run(tmp_path) as other:
            assert "new" in other.meta
    assert not os.path.exists(tmp_path / WAL)


def test_a_log_being_written_is_no_damage(tmp_path: Path, make: Callable[..., NeuronExplanation]) -> None:
    with create_run(tmp_path) as run:
        run.connection.execute("PRAGMA wal_autocheckpoint = 20")
        for i in range(25):
            run.add(make(f"fc[{i}]"))
            assert damage(tmp_path / WAL) == ""
        holder = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        holder.execute("PRAGMA cache_size = 2")
        holder.execute("BEGIN IMMEDIATE")
        for i in range(50):
            holder.execute("INSERT INTO meta VALUES (?, ?)", (f"k{i}", '"' + "v" * 5000 + '"'))
        assert damage(tmp_path / WAL) == "", "a transaction that has spilled pages into the log"
        holder.execute("ROLLBACK")
        holder.close()
        run.add(make("fc[30]"))
        assert damage(tmp_path / WAL) == ""
