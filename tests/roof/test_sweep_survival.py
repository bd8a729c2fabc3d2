"""Sweeps that are killed, doubled, starved and interrupted end with every neuron once and the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from interpret.errors import InterpretError
from interpret.store import open_run

SCRIPT = Path(__file__).with_name("fake_sweep.py")


def start(out: Path, count: int, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(count), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bytes_of(out: Path) -> list[tuple[Any, ...]]:
    """All of a run's results in counting order, without ids, plans and times; and the hash of every array
    file.
    """
    with open_run(out) as run:
        rows = run.connection.execute(
            "SELECT n.address, n.revision, n.digest, n.formula, n.r2, d.body FROM neuron n "
            "JOIN document d ON d.neuron = n.id ORDER BY n.sort"
        ).fetchall()
        assert run.check() == []
        states = run.connection.execute("SELECT DISTINCT state FROM task").fetchall()
        assert [tuple(s) for s in states] == [("done",)]
        assert not list(out.rglob("*.tmp"))
    files = sorted(p.name for p in (out / "arrays").rglob("*.safetensors"))
    return [*map(tuple, rows), tuple(files)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(out, 40, 0.0)
    said, complaint = process.communicate(timeout=120)
    assert (process.returncode, said, complaint) == (0, "40 40 False\n", "")
    found = bytes_of(out)
    assert len(found) == 41
    return found


def test_killed_at_random_moments(tmp_path: Path, undisturbed: list[tuple[Any, ...]]) -> None:
    random_moments = random.Random(0)
    out = tmp_path / "run"
    kills = 0
    for _ in range(8):
        process = start(out, 40, 0.05)
        time.sleep(random_moments.uniform(0.3, 1.0))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    process = start(out, 40, 0.0)
    _, complaint = process.communicate(timeout=120)
    assert (process.returncode, complaint) == (0, "")
    assert kills >= 3
    assert bytes_of(out) == undisturbed


def test_a_finished_run_is_not_repeated(tmp_path: Path, undisturbed: list[tuple[Any, ...]]) -> None:
    out = tmp_path / "run"
    for expected in ("40 40 False\n", "0 40 False\n"):
        assert start(out, 40, 0.0).communicate(timeout=120) == (expected, "")
    assert bytes_of(out) == undisturbed


def test_two_sweepers_and_a_reader(tmp_path: Path, undisturbed: list[tuple[Any, ...]]) -> None:
    out = tmp_path / "run"
    sweepers = [start(out, 40, 0.05) for _ in range(2)]
    seen = []
    while any(s.poll() is None for s in sweepers):
        if (out / "run.sqlite").exists():
            with open_run(out) as run:
                seen.append(len(run.table(None, sort="r2").rows))
        time.sleep(0.02)
    said = [s.communicate(timeout=60) for s in sweepers]
    assert [complaint for _, complaint in said] == ["", ""]
    assert all(s.returncode == 0 for s in sweepers)
    explained = [int(text.split()[0]) for text, _ in said]
    assert sum(explained) == 40 and min(explained) > 0, explained
    assert seen == sorted(seen) and seen[-1] > 0
    assert bytes_of(out) == undisturbed


def test_a_lock_held_by_another_process_is_waited_for(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    out = tmp_path / "run"
    process = start(out, 40, 0.02)
    while not (out / "run.sqlite").exists() or not holds_a_run(out):
        time.sleep(0.02)
    holder = sqlite3.connect(out / "run.sqlite", isolation_level=None, timeout=30)
    holder.execute("BEGIN EXCLUSIVE")
    time.sleep(1.5)
    holder.execute("ROLLBACK")
    holder.close()
    _, complaint = process.communicate(timeout=120)
    assert (process.returncode, complaint) == (0, "")
    assert bytes_of(out) == undisturbed


def holds_a_run(out: Path) -> bool:
    try:
        with open_run(out) as run:
            return len(run) > 0
    except InterpretError:
        return False


def small_disk(tmp_path: Path) -> Path | None:
    """A file system of 6 MB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return None
    return place if subprocess.run(command, capture_output=True).returncode == 0 else None


def test_a_full_disk_is_named_and_resumed(tmp_path: Path, undisturbed: list[tuple[Any, ...]]) -> None:
    place = small_disk(tmp_path)
    if place is None:
        pytest.skip("no permission to mount a small file system; test_store_run injects the error instead")
    try:
        filler = place / "filler"
        filler.write_bytes(b"\0" * 5_000_000)
        process = start(place / "run", 40, 0.0)
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "StoreError" in complaint and "disk is full" in complaint
        filler.unlink()
        process = start(place / "run", 40, 0.0)
        said, complaint = process.communicate(timeout=120)
        assert (process.returncode, complaint) == (0, "")
        assert int(said.split()[0]) < 40
        assert bytes_of(place / "run") == undisturbed
    finally:
        subprocess.run(["umount", str(place)], check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_neuron_in_hand(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]], number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = start(out, 40, 0.1)
    while not (out / "run.sqlite").exists() or not holds_a_run(out):
        time.sleep(0.02)
    process.send_signal(number)
    said, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (130, "")
    done = int(said.split()[0])
    with open_run(out) as run:
        assert len(run) == done < 40
        states = dict(run.connection.execute("SELECT state, count(*) FROM task GROUP BY state").fetchall())
    assert states == {"done": done, "waiting": 40 - done}
    start(out, 40, 0.0).communicate(timeout=60)
    assert bytes_of(out) == undisturbed


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, 3, 30.0)
    while not (out / "run.sqlite").exists():
        time.sleep(0.02)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0 and time.monotonic() - began < 10
    with open_run(out) as run:
        states = run.connection.execute("SELECT DISTINCT state FROM task").fetchall()
    assert [s[0] for s in states] == ["waiting"]


def test_the_waiting_thread_of_a_sweep_is_ours(tmp_path: Path) -> None:
    """Sweeps in other threads than the main one leave signals alone and still work."""
    sys.path.insert(0, str(SCRIPT.parent))
    import fake_sweep

    before = signal.getsignal(signal.SIGINT)
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(fake_sweep.run(tmp_path / "run", 4, 0.0)))
    thread.start()
    thread.join(timeout=60)
    assert outcomes[0].counts.done == 4
    assert signal.getsignal(signal.SIGINT) is before
