"""What was found is kept, and what was started is ended: at the deadline, after a second Ctrl-C, in other sessions."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from interpret.errors import BackendCrashed, BackendFailed, BackendOutOfMemory
from symbolic.backends.base import Settings
from symbolic.backends.interrupts import FirstInterrupt
from symbolic.backends.pysr import PySR
from symbolic.backends.pysr_relay import descendants, processes, read_hall, resident
from symbolic.parser import parse
from symbolic.targets import build

FAKE = Path(__file__).with_name("fake_worker.py")
BETTER = (parse("x0"), parse("(x0 * x0) + (2.0 * (x1 * x1))"))
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc here")


@pytest.fixture(scope="module")
def targets():
    points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    return build(points, points * [2, 4])


def fake(mode, path=""):
    return PySR([sys.executable, str(FAKE), mode, str(path)])


def gone(process):
    for _ in range(100):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False


@needs_proc
@pytest.mark.parametrize("mode", ["apart", "orphan"])
def test_a_child_in_a_session_of_its_own_ends_with_the_worker(mode, targets, tmp_path):
    note = tmp_path / "child"
    with fake(mode, note) as backend:
        result = backend.search(targets, Settings())
    assert result.candidates == BETTER
    assert gone(int(note.read_text()))


@needs_proc
def test_a_child_in_a_session_of_its_own_counts_for_memory():
    hoard = "import time; hoard = bytearray(b'x') * (200 << 20); print(flush=True); time.sleep(60)"
    before = resident(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", hoard], stdout=subprocess.PIPE, start_new_session=True)
    try:
        child.stdout.read(1)
        assert child.pid in descendants(os.getpid(), processes())
        # The suite's own memory may shrink meanwhile; a child that is not counted would leave the sum where it was.
        assert resident(os.getpid()) - before > 100 << 20
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_messages_that_wait_at_the_deadline_are_read(targets):
    # Each step takes so long to tell that time is up before the last message, which has come long ago.
    with fake("late") as backend:
        settings = Settings(time_limit=1.0, progress=lambda step: time.sleep(0.1))
        result = backend.search(targets, settings)
    assert result.candidates == BETTER
    assert result.interrupted


def test_the_file_is_read_once_more_at_the_end(targets):
    with fake("unsaid") as backend:
        result = backend.search(targets, Settings(time_limit=1.0))
    assert result.candidates == BETTER
    assert result.interrupted


def test_a_row_that_cannot_be_read_replaces_none_that_can(targets):
    with fake("unreadable") as backend:
        result = backend.search(targets, Settings())
    assert result.candidates == BETTER
    assert any("unknown operator 'bogus'" in message for message in result.messages)


def test_a_row_without_a_loss_hides_no_row(tmp_path):
    hall = tmp_path / "hall_of_fame.csv"
    for loss in ("NaN", "-Inf", "Inf"):
        Path(f"{hall}.bak").write_text(f'Complexity,Loss,Equation\n3,{loss},"x0 * x1"\n')
        hall.write_text('Complexity,Loss,Equation\n3,0.25,"x0 * x0"\n')
        assert read_hall(hall) == [{"complexity": 3, "loss": 0.25, "equation": "x0 * x0"}]


def test_lines_that_are_no_messages_are_counted_for_each_job(targets):
    with fake("log") as backend:
        for _ in range(5):
            result = backend.search(targets, Settings())
            assert result.candidates == BETTER
            assert result.messages == ("60 lines from PySR's worker were no messages and were skipped",)


def test_a_failure_of_another_job_is_not_this_ones(targets):
    with fake("other-failed") as backend:
        result = backend.search(targets, Settings())
    assert result.candidates == BETTER
    assert result.failure is None


def test_memory_is_that_of_all_jobs(targets):
    with fake("other-memory") as backend:
        result = backend.search(targets, Settings())
    assert type(result.failure) is BackendOutOfMemory


def test_a_worker_that_ends_while_its_child_holds_its_output_has_ended(targets):
    with fake("held") as backend:
        result = backend.search(targets, Settings(time_limit=60))
    assert result.candidates == BETTER
    assert type(result.failure) is BackendCrashed
    assert "exit status 5" in str(result.failure)


def test_a_temporary_folder_that_is_not_there_is_named(targets, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/x")
    with fake("slow") as backend, pytest.raises(BackendFailed, match="TMPDIR"):
        backend.search(targets, Settings())


_CANCELLED = """
import sys, numpy as np
from symbolic.backends.pysr import PySR
from symbolic.backends.base import Settings
from symbolic.targets import build
points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
backend = PySR([sys.executable, FAKE, "endless", NOTE])
result = backend.search(build(points, points * [2, 4]), Settings())
print(len(result.candidates), result.interrupted)
"""


@pytest.mark.parametrize("gap", [0.0, 0.0005, 0.005, 0.02])
def test_a_second_ctrl_c_loses_nothing_and_leaves_nothing(gap, tmp_path):
    note, scratch = tmp_path / "child", tmp_path / "scratch"
    scratch.mkdir()
    code = _CANCELLED.replace("FAKE", repr(str(FAKE))).replace("NOTE", repr(str(note)))
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={**os.environ, "TMPDIR": str(scratch)}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    for _ in range(600):
        if note.exists() and note.read_text():
            break
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(run.pid, signal.SIGINT)
    time.sleep(gap)
    os.kill(run.pid, signal.SIGINT)
    said = run.communicate(timeout=60)[0]
    assert said == "2 True\n"
    assert glob.glob(f"{scratch}/*") == []
    assert gone(int(note.read_text()))


def test_after_the_block_ctrl_c_is_as_before():
    def handler(number, frame):
        raise ZeroDivisionError

    def twice():
        with FirstInterrupt():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGINT)
                seen.append("cleaned up")

    seen, before = [], signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(ZeroDivisionError):
            twice()
        assert seen == ["cleaned up"]
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
