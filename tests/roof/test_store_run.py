"""The run folder: what is added comes back, nothing is overwritten, damage is named and not made worse."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpret.commands import terminal
from interpret.errors import InterpretError, StoreDamaged, StoreError, StoreLocked, UnknownNeuron
from interpret.explanation import NeuronExplanation
from interpret.runs import files, migrations, pictures, schema
from interpret.runs.claims import Claims
from interpret.runs.codec import encode, sha256
from interpret.runs.migrations import MIGRATIONS, VERSION
from interpret.runs.schema import DATABASE
from interpret.runs.signature import lean
from interpret.runs.temporary import clear
from interpret.store import Run, create_run, open_run

Make = Callable[..., NeuronExplanation]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a run but SQLite's shared memory, which any reader may touch."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and "-shm" not in p.name
    }


def test_round_trip_and_order(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path / "run", {"purpose": "test"}) as run:
        for address in ("fc[10]", "fc[2]", "fc[1]"):
            run.add(make(address))
    with open_run(tmp_path / "run") as run:
        assert run.addresses() == ["fc[1]", "fc[2]", "fc[10]"]
        assert len(run) == 3 and "fc[2]" in run and "fc[3]" not in run
        assert run.meta["purpose"] == "test"
        assert encode(run.load("fc[2]")).digest == encode(make("fc[2]")).digest
        assert run.load("fc[2]").provenance == make("fc[2]").provenance
        assert [e.address for e in run.explanations()] == run.addresses()
        assert run.check() == []


def test_equal_results_are_stored_once_and_others_are_revisions(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        first = run.add(make())
        assert run.add(make(created="2031-01-01")) == first
        second = run.add(make(seed=1))
        assert second != first
        assert len(run) == 1
        assert run.load("fc1[0]").provenance.seed == 1
        assert run.load("fc1[0]", revision=1).provenance.seed == 0
        with pytest.raises(UnknownNeuron, match="no revision 3"):
            run.load("fc1[0]", revision=3)
        assert list(run.query("fc1[0]", revisions=True).revision) == [1, 2]


def test_two_networks_share_an_address(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        run.add(make("out[0]", model="digits"))
        run.add(make("out[0]", model="ellipse", r2=0.5))
        assert run.entries() == [("digits", "out[0]"), ("ellipse", "out[0]")]
        assert run.load("out[0]", model="ellipse").model == "ellipse"
        with pytest.raises(UnknownNeuron, match=r"2 networks.*'digits', 'ellipse'"):
            run.load("out[0]")
        assert list(run.query("out[0]", model="ellipse").r2) == [0.5]


def test_a_run_stays_open_when_the_working_folder_changes(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with create_run("run") as run:
        run.add(make("fc1[0]"))
    with open_run("run") as run:
        monkeypatch.chdir("/")
        assert run.check() == []
        assert run.load("fc1[0]").address == "fc1[0]"
        assert run.path == tmp_path / "run"
        run.add(make("fc1[1]"))
        with pytest.raises(UnknownNeuron, match=r"^run: "):
            run.load("x[0]")
    with open_run(tmp_path / "run") as run:
        assert run.check() == [] and len(run) == 2


def test_find_wants_the_same_model_data_and_settings(tmp_path: Path, make: Make) -> None:
    from interpret.runs.rows import fingerprint

    e = make()
    with create_run(tmp_path) as run:
        run.add(e)
        found = run.find("fc1[0]", e.model, fingerprint(e.provenance))
        assert found is not None and found.address == "fc1[0]"
        assert run.find("fc1[0]", e.model, fingerprint(make(data="other").provenance)) is None
        assert run.find("fc1[0]", "another", fingerprint(e.provenance)) is None


def test_unknown_neuron_names_the_nearest(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        run.add(make("encoder.fc1[3]"))
        with pytest.raises(UnknownNeuron, match=r"encoder.fc1\[3\]"):
            run.load("encodr.fc1[3]")


@pytest.mark.parametrize("statement", [
    "UPDATE neuron SET claim = 'x'", "DELETE FROM neuron", "UPDATE document SET body = x'00'", "DELETE FROM "
    "frontier",
])  # fmt: skip
def test_rows_are_never_changed(tmp_path: Path, make: Make, statement: str) -> None:
    with create_run(tmp_path) as run:
        run.add(make())
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            run.connection.execute(statement)


def test_no_run_here(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run here"):
        open_run(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        create_run(tmp_path / "file")


def test_other_databases_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("not a database at all, but long enough to have a header")
    before = snapshot(tmp_path)
    for opening in (open_run, create_run):
        with pytest.raises(StoreDamaged, match="not an SQLite database"):
            opening(tmp_path)
    assert snapshot(tmp_path) == before
    (tmp_path / DATABASE).unlink()
    with sqlite3.connect(tmp_path / DATABASE) as other:
        other.execute("CREATE TABLE precious (x)")
    other.close()
    before = snapshot(tmp_path)
    for opening in (open_run, create_run):
        with pytest.raises(StoreDamaged):
            opening(tmp_path)
    assert sqlite3.connect(tmp_path / DATABASE).execute("SELECT name FROM sqlite_master").fetchall() == [
        ("precious",)
    ]


def older(folder: Path, version: int) -> None:
    """A run of an earlier schema version with one neuron's worth of rows in the tables it had."""
    folder.mkdir()
    connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.create_function("origin", 2, migrations.origin)
    for step in MIGRATIONS[:version]:
        connection.executescript(step)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


@pytest.mark.parametrize("version", range(1, VERSION))
def test_older_runs_are_migrated(tmp_path: Path, make: Make, version: int) -> None:
    older(tmp_path / "run", version)
    with open_run(tmp_path / "run") as run:
        assert run.connection.execute("PRAGMA user_version").fetchone()[0] == VERSION
        run.add(make())
    with create_run(tmp_path / "new") as new, open_run(tmp_path / "run") as run:
        shape = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        assert [tuple(r) for r in run.connection.execute(shape)] == [
            tuple(r) for r in new.connection.execute(shape)
        ]
        assert run.check() == []


def test_signatures_of_older_runs_lose_what_moves_nothing() -> None:
    gradients = np.zeros((4, 3), "<f2")
    gradients[:, 0], gradients[1, 1], gradients[2] = 1.0, -0.5, np.nan
    found = migrations.lean('["a", "b", "c"]', gradients.tobytes(), 0)
    assert found == '["a", "b"]'
    assert migrations.lean('["a", "b", "c"]', gradients.tobytes(), 1) == gradients[:, :2].tobytes()
    assert lean(["a", "b", "c"], gradients) == (found, gradients[:, :2].tobytes())
    for names, body in (("?", b"x"), ("[]", b""), ("7", b"")):
        assert migrations.lean(names, body, 0) == names


def test_newer_runs_are_refused(tmp_path: Path) -> None:
    create_run(tmp_path).close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match="Upgrade twinscope"):
        open_run(tmp_path)


def test_a_locked_run_is_named(tmp_path: Path, make: Make) -> None:
    create_run(tmp_path).close()
    holder = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with open_run(tmp_path) as run:
        run.connection.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(StoreLocked, match="another process"):
            run.add(make())
        assert run.addresses() == []
        holder.execute("ROLLBACK")
        run.add(make())
        assert run.addresses() == ["fc1[0]"]
    holder.close()


def test_a_full_disk_loses_nothing(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with create_run(tmp_path) as run:
        run.add(make("fc[0]"))

        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(StoreError, match="disk is full"):
                run.add(make("fc[1]", seed=3))
        assert run.addresses() == ["fc[0]"]
        assert not list(tmp_path.rglob("*.tmp"))
        run.add(make("fc[1]", seed=3))
        assert run.check() == []


def test_a_full_database_loses_nothing(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        run.add(make("fc[0]"))
        pages = run.connection.execute("PRAGMA page_count").fetchone()[0]
        run.connection.execute(f"PRAGMA max_page_count = {pages}")
        many = [make(f"fc[{i}]") for i in range(1, 50)]
        with pytest.raises(StoreError, match="disk is full"):
            list(map(run.add, many))
        kept = run.addresses()
        run.connection.execute("PRAGMA max_page_count = 1000000")
        list(map(run.add, many))
        assert kept == run.addresses()[: len(kept)] and len(run) == 50
        assert run.check() == []


def test_temporary_files_of_killed_processes_go(tmp_path: Path, make: Make) -> None:
    import socket

    with create_run(tmp_path) as run:
        run.add(make())
        folder = next(p for p in (tmp_path / "arrays").iterdir())
        gone = folder / f".{socket.gethostname()}.4194300.abcdef12.tmp"
        alive = folder / f".{socket.gethostname()}.{os.getpid()}.abcdef12.tmp"
        elsewhere = folder / ".another.host.1.abcdef12.tmp"
        database = tmp_path / f".{socket.gethostname()}.4194300.abcdef12.tmp-journal"
        for path in (gone, alive, elsewhere, database):
            path.write_bytes(b"half")
        assert clear(tmp_path) + clear(tmp_path / "arrays") == 2
        assert not gone.exists() and alive.exists() and elsewhere.exists()


def test_a_run_that_may_only_be_read_is_read(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_run(tmp_path) as run:
        run.add(make())
    before = snapshot(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with open_run(tmp_path) as run:
        assert run.addresses() == ["fc1[0]"] and run.load("fc1[0]").claim
        with pytest.raises(StoreError, match="cannot be opened or written"):
            run.add(make("fc1[1]"))
    assert {k: v for k, v in snapshot(tmp_path).items() if k.startswith("run.sqlite")} == {
        k: v for k, v in before.items() if k.startswith("run.sqlite")
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreError, match="may be written"):
        create_run(tmp_path / "run")


def test_altered_arrays_are_named_and_left(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        run.add(make())
    file = next((tmp_path / "arrays").rglob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)
    with open_run(tmp_path) as run:
        with pytest.raises(StoreDamaged, match="content that its name promises"):
            run.load("fc1[0]")
        assert len(run.check()) == 1
        with pytest.raises(StoreDamaged, match="left as it is"):
            run.add(make(r2=0.1))
    assert file.read_bytes() == bytes(content)
    file.unlink()
    with open_run(tmp_path) as run, pytest.raises(StoreDamaged, match="missing"):
        run.load("fc1[0]")


def test_altered_pictures_are_found_though_they_were_read_before(tmp_path: Path, make: Make) -> None:
    with create_run(tmp_path) as run:
        run.add(make())
        assert run.load("fc1[0]").examples is not None
        run.connection.execute("DROP TRIGGER blob_keeps_UPDATE")
        run.connection.execute("UPDATE blob SET content = 'text' WHERE length(content) > 0")
        assert any("stored picture is missing or altered" in line for line in run.check())


def test_pictures_are_kept_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_KEPT", 1000)
    with create_run(tmp_path) as run:
        content = {sha256(bytes([i]) * 300): bytes([i]) * 300 for i in range(5)}
        run.connection.executemany("INSERT INTO blob VALUES (?, ?)", list(content.items()))
        for _ in range(2):
            assert {key: run.blob(key) for key in content} == content
        assert run.pictures._size <= 1000 and len(run.pictures._read) == 1


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sound") / "run"


def every_verb(run: Run) -> None:
    """Everything that reads a run; each must read or raise an error of ours."""
    asking: list[Callable[[], object]] = [
        run.addresses,
        lambda: repr(run),
        lambda: run.meta,
        lambda: terminal.csv_text(run.table()),
        lambda: run.table(None, sort="r2", where="r2 > 0 and claim ~ '*b*'"),
        lambda: run.table("fc[0:2]", like="x0*x1 + sin(x3)", uses="x0", has="sin").rows,
        lambda: run.table(None, uses="x9"),
        lambda: run.table(None, model="net:model", data="dddd").rows,
        run.query,
        lambda: run.query("fc*", revisions=True, sort="formula"),
        run.failures,
        lambda: list(run.explanations()),
        lambda: run.load("fc[0]", revision=1),
        lambda: run.mixed("net:model", "e" * 16, "m" * 16),
        run.check,
    ]
    for ask in asking:
        with suppress(InterpretError):
            ask()


def filled(sound: Path, make: Make) -> Path:
    """A run with revisions and failures, and an empty copy's place beside it."""
    if not sound.exists():
        with create_run(sound) as run:
            for i in range(3):
                run.add(make(f"fc[{i}]"))
            run.add(make("fc[0]", seed=3))
            claims = Claims.register(run, "key", '{"model": "net.py:model"}', ["fc[0]", "err[0]"])
            claims.fail(str(claims.take()), "DeadUnit", "dead")
            assert run.check() == []
    victim = sound.with_name("victim")
    shutil.rmtree(victim, ignore_errors=True)
    shutil.copytree(sound, victim)
    return victim


def asked_after(victim: Path, content: bytes) -> None:
    """No error from inside, and the folder stays as it is."""
    (victim / DATABASE).write_bytes(content)
    before = snapshot(victim)
    with suppress(InterpretError), open_run(victim) as run:
        every_verb(run)
    assert {k: v for k, v in snapshot(victim).items() if "-wal" not in k or v} == before


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_folder_gives_named_errors_and_stays_as_it_is(sound: Path, make: Make, data: Any) -> None:
    victim = filled(sound, make)
    content = bytearray((victim / DATABASE).read_bytes())
    for _ in range(data.draw(st.integers(1, 30))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    asked_after(victim, bytes(content[:cut]))


def test_no_single_bit_gives_an_error_from_inside(sound: Path, make: Make) -> None:
    victim = filled(sound, make)
    content = (victim / DATABASE).read_bytes()
    rng = random.Random(0)
    # Bytes in use, so that most flips meet something.
    for at in rng.sample([i for i in range(100, len(content)) if content[i]], 120):
        altered = bytearray(content)
        altered[at] ^= 1 << rng.randrange(8)
        asked_after(victim, bytes(altered))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE neuron SET r2 = 0.5", "r2 not what"),
        ("UPDATE neuron SET claim = 'lies' WHERE revision = 1", "claim not what"),
        ("UPDATE neuron SET texts = replace(texts, 'EXACT', 'NONE')", "texts not what"),
        ("UPDATE neuron SET figures = zeroblob(length(figures))", "figures not what"),
        ("UPDATE neuron SET figures = 'text'", "figures not what"),
        ("UPDATE neuron SET digest = 'x'", "digest not what"),
        ("UPDATE frontier SET mse = 7", "frontier not what"),
        ("UPDATE neighbor SET example = 7", "neighbors not what"),
        ("DELETE FROM symbol WHERE name = 'x1'", "symbols not what"),
        ("INSERT INTO signature VALUES (1, '[]', x'00')", "signature not what"),
        ("UPDATE document SET body = 'x' WHERE neuron = 1", "fc[0]"),
        ("UPDATE latest SET neuron = 1", "not the latest revision"),
    ],
)
def test_a_check_compares_every_row_with_its_document(
    tmp_path: Path, make: Make, change: str, said: str
) -> None:
    with create_run(tmp_path) as run:
        run.add(make("fc[0]"))
        run.add(make("fc[0]", seed=3))
        assert run.check() == []
        for (name,) in run.connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            run.connection.execute(f"DROP TRIGGER {name}")
        run.connection.execute(change)
        assert said in "\n".join(run.check())


@pytest.mark.parametrize("change", [
    "texts = replace(texts, char(31), '?')", "texts = 'x'", "texts = x'00'", "figures = x'0011'", "figures = 7",
    "revision = 'x'", "figures = zeroblob(7 * 8 + 3)",
])  # fmt: skip
def test_rows_that_do_not_decode_are_damage(tmp_path: Path, make: Make, change: str) -> None:
    with create_run(tmp_path) as run:
        run.add(make())
        run.connection.execute("DROP TRIGGER neuron_keeps_UPDATE")
        run.connection.execute(f"UPDATE neuron SET {change}")
        for ask in (lambda: run.table().rows, run.query):
            with pytest.raises(StoreDamaged, match="not what was written"):
                ask()


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_run_that_may_only_be_read_is_read(
    tmp_path: Path, make: Make, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    older(tmp_path / "run", version)
    before = snapshot(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with open_run(tmp_path / "run") as run:
        assert len(run.query()) == 0 and run.check() == []
        with pytest.raises(StoreError, match="cannot be opened or written"):
            run.add(make())
    assert {k: v for k, v in snapshot(tmp_path).items() if "sqlite" in k} == before


def test_an_io_error_on_a_full_disk_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
    with pytest.raises(StoreError, match="check the disk"), schema.named_errors(tmp_path):
        raise error
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(StoreError, match="disk is full"), schema.named_errors(tmp_path / "absent" / "run"):
        raise error


def test_new_folders_of_arrays_are_synced(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "_sync", synced.append)
    with create_run(tmp_path) as run:
        run.add(make())
    assert {tmp_path, tmp_path / "arrays"} <= set(synced)
