"""A worker that misbehaves in every way known is survived, with a named error and the frontier so far."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from interpret.errors import (
    BackendCrashed,
    BackendFailed,
    BackendGarbled,
    BackendMissing,
    BackendOutOfMemory,
    BackendTimeout,
)
from symbolic.backends.base import Settings
from symbolic.backends.pysr import PySR
from symbolic.backends.worker import Worker
from symbolic.parser import parse
from symbolic.targets import build

FAKE = Path(__file__).with_name("fake_worker.py")
BETTER = (parse("x0"), parse("(x0 * x0) + (2.0 * (x1 * x1))"))


@pytest.fixture(scope="module")
def targets():
    points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    return build(points, points * [2, 4], names=["a", "b"])


def fake(mode, path=""):
    return PySR([sys.executable, str(FAKE), mode, str(path)])


def settings(**options):
    return Settings(options=options) if options else Settings()


def gone(process: int) -> bool:
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        # A killed orphan may still wait to be collected by init.
        if (
            Path(f"/proc/{process}/stat").exists()
            and Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
        ):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("mode", ["slow", "garbage", "noisy-start"])
def test_a_worker_that_finishes_gives_its_frontier(mode, targets):
    with fake(mode) as backend:
        result = backend.search(targets, settings())
    assert result.candidates == BETTER
    assert not result.interrupted
    assert result.failure is None
    assert any("no messages" in m for m in result.messages) == (mode in ("garbage", "noisy-start"))


@pytest.mark.parametrize(
    ("mode", "error", "words"),
    [
        ("crash", BackendCrashed, "something broke on line 42"),
        ("killed", BackendCrashed, "SIGKILL"),
        ("memory", BackendOutOfMemory, "memory_limit"),
        ("flood", BackendGarbled, "no messages"),
        ("line", BackendGarbled, "bytes"),
    ],
)
def test_a_worker_that_fails_keeps_the_frontier_and_names_the_error(mode, error, words, targets):
    with fake(mode) as backend:
        result = backend.search(targets, settings())
        assert backend._worker is None
    assert result.candidates == BETTER
    assert result.interrupted
    assert type(result.failure) is error
    assert words in str(result.failure)
    assert str(result.failure) in result.messages


@pytest.mark.parametrize(
    ("mode", "error", "words"),
    [
        ("dead", BackendCrashed, "libjulia not found"),
        ("unstarted", BackendFailed, "cannot import name 'jl'"),
        ("search", BackendFailed, "no such operator"),
    ],
)
def test_a_worker_that_fails_before_it_found_anything_raises(mode, error, words, targets):
    with fake(mode) as backend, pytest.raises(error, match=words):
        backend.search(targets, settings())


def test_a_worker_that_never_starts_is_given_up(targets):
    with fake("silent") as backend, pytest.raises(BackendTimeout, match="did not start within"):
        backend.search(targets, settings(startup_limit=0.6))


def test_a_worker_that_never_ends_is_stopped_at_the_deadline_with_its_children(targets, tmp_path):
    note = tmp_path / "child"
    with fake("endless", note) as backend:
        started = time.monotonic()
        result = backend.search(targets, settings(), deadline=started + 2.0)
        assert time.monotonic() - started < 10
    assert result.candidates == BETTER
    assert result.interrupted
    assert any("ran out of time" in message for message in result.messages)
    assert gone(int(note.read_text()))


def test_time_limit_counts_as_a_deadline(targets, tmp_path):
    with fake("endless", tmp_path / "child") as backend:
        result = backend.search(targets, Settings(time_limit=1.5))
    assert result.interrupted


def test_no_improvement_stops_the_search_and_keeps_the_worker(targets):
    with fake("patient") as backend:
        result = backend.search(targets, settings(patience=0.3))
        assert result.candidates == BETTER
        assert not result.interrupted
        assert any("without improvement" in message for message in result.messages)
        first = backend._worker.process.pid
        backend.search(targets, settings(patience=0.3))
        assert backend._worker.process.pid == first


def test_a_failed_search_leaves_the_worker_usable(targets):
    with fake("search") as backend:
        with pytest.raises(BackendFailed):
            backend.search(targets, settings())
        first = backend._worker.process.pid
        with pytest.raises(BackendFailed):
            backend.search(targets, settings())
        assert backend._worker.process.pid == first


def test_a_dead_worker_is_replaced(targets, tmp_path):
    with fake("crash-once", tmp_path / "flag") as backend:
        with pytest.raises(BackendCrashed, match="exit status 1"):
            backend.search(targets, settings())
        assert backend.search(targets, settings()).candidates == BETTER


def test_rows_that_are_no_formula_of_ours_are_skipped_and_said(targets):
    with fake("strange") as backend:
        result = backend.search(targets, settings())
    assert result.candidates == BETTER
    assert any("unknown operator 'evil'" in message for message in result.messages)


@pytest.mark.parametrize("mode", ["chatty", "blank"])
def test_a_worker_that_never_stops_talking_has_no_more_time(mode, targets):
    with fake(mode) as backend:
        result = backend.search(targets, Settings(time_limit=2.0))
    assert result.candidates == BETTER
    assert result.interrupted
    if mode == "chatty":
        assert any("ran out of time" in message for message in result.messages)
    else:
        assert type(result.failure) is BackendGarbled


def test_patience_ends_with_a_chatty_worker_too(targets, monkeypatch):
    monkeypatch.setattr("symbolic.backends.job._GRACE", 0.2)
    with fake("chatty") as backend:
        result = backend.search(targets, settings(patience=0.5))
    assert result.candidates == BETTER
    assert any("without improvement" in message for message in result.messages)


def test_a_chatty_start_is_given_up(targets):
    with fake("chatty-start") as backend, pytest.raises(BackendTimeout, match="did not start within"):
        backend.search(targets, settings(startup_limit=0.6))


def test_receiving_ends_in_time_among_lines_that_are_no_messages(targets, monkeypatch):
    monkeypatch.setattr("symbolic.backends.worker._MOST_GARBAGE", 10**9)
    with fake("blank") as backend:
        worker = backend._ready_worker(Settings())
        assert worker.receive(30).event == "ready"
        worker.send({"job": 1, "folder": "."})
        assert [worker.receive(30).event for _ in range(2)] == ["frontier", "frontier"]
        # Never silent for 0.05 s, so only the clock ends it.
        assert worker.receive(0.2) is None
        assert worker.garbage > 0


def test_a_frontier_that_gets_worse_does_not_lose_the_better_rows(targets):
    with fake("worse") as backend:
        assert backend.search(targets, settings()).candidates == BETTER


def test_nonsense_in_messages_costs_nothing_that_was_found(targets):
    seen = []
    with fake("nonsense") as backend:
        result = backend.search(targets, Settings(progress=seen.append))
    assert result.candidates == (*BETTER, parse("x1"))
    assert any("no input x7" in message for message in result.messages)
    for step in seen:
        assert step.message.encode("utf-8")
        assert "\x1b" not in step.message


def test_a_program_that_is_not_there_is_named(targets):
    with PySR(["/nowhere/python"]) as backend, pytest.raises(BackendCrashed, match="could not be started"):
        backend.search(targets, settings())


def test_a_worker_that_does_not_read_is_given_up(targets, monkeypatch):
    monkeypatch.setattr("symbolic.backends.worker._LISTENS", 0.5)
    # More than a pipe holds.
    options = settings(guesses=["x0 + " * 200 + "x0"] * 500)
    with fake("deaf") as backend, pytest.raises(BackendTimeout, match="did not read"):
        backend.search(targets, options)
    with fake("slow") as backend:
        assert backend.search(targets, options).candidates == BETTER


def test_a_full_disk_is_named(targets, monkeypatch):
    def full(*args, **more):
        raise OSError(28, "No space left on device")

    with fake("slow") as backend:
        monkeypatch.setattr(np, "save", full)
        with pytest.raises(BackendFailed, match="No space left"):
            backend.search(targets, settings())


def test_stderr_without_end_keeps_its_last_words(targets, monkeypatch):
    monkeypatch.setattr("symbolic.backends.worker._MOST_STDERR", 1 << 20)
    noise = (
        "for k in range(4):\n    sys.stderr.write('y' * (1 << 20))\n    time.sleep(0.3)\nsys.exit('the end')"
    )
    used = []
    with Worker([sys.executable, "-c", "import sys, time\n" + noise]) as worker:
        while worker.process.poll() is None:
            used.append(os.fstat(worker._stderr).st_blocks * 512)
            if not worker._selector.select(0.05):
                worker.receive(0.0)
        with pytest.raises(BackendCrashed, match="the end"):
            worker.receive(1.0)
    assert max(used) <= 3 << 20


def test_progress_is_relayed(targets):
    seen = []
    with fake("slow") as backend:
        backend.search(targets, Settings(progress=seen.append))
    assert {step.backend for step in seen} == {"pysr"}
    assert seen[0].message == "starting Julia"
    assert seen[-1].message == "searching: 2 formulas, misalignment 0.001 with 7 nodes"
    assert min(step.best for step in seen if step.best == step.best) == 0.001


def test_a_search_that_waits_for_another_has_no_more_time(targets, tmp_path):
    note = tmp_path / "child"
    with fake("endless", note) as backend:
        first = threading.Thread(target=backend.search, args=(targets, Settings(time_limit=3)))
        first.start()
        for _ in range(200):
            if note.exists():
                break
            time.sleep(0.02)
        with pytest.raises(BackendTimeout, match="another search"):
            backend.search(targets, Settings(time_limit=0.2))
        first.join()


def test_two_backends_search_at_once(targets):
    found = {}

    def search(name):
        with fake("slow") as backend:
            found[name] = backend.search(targets, settings()).candidates

    threads = [threading.Thread(target=search, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": BETTER, "b": BETTER}


def test_a_worker_that_starts_while_the_search_is_cancelled_does_not_outlive_it(targets, monkeypatch):
    backend, made, cancels = fake("slow"), [], []

    def start(*args):
        # Another thread cancels at the worst moment: the worker is being made, and nobody holds it yet.
        cancels.append(threading.Thread(target=backend.kill))
        cancels[0].start()
        cancels[0].join(0.3)
        made.append(Worker(*args))
        return made[0]

    monkeypatch.setattr("symbolic.backends.pysr.Worker", start)
    worker = backend._ready_worker(Settings())
    cancels[0].join()
    try:
        assert worker.process.poll() == -signal.SIGKILL
        with pytest.raises(BackendFailed, match="cancelled"):
            backend.search(targets, settings())
    finally:
        worker.stop()


def test_many_neurons_share_workers_and_failures_stay_apart(targets):
    found = fake("slow").search_many([targets] * 3, settings(), workers=2)
    assert [result.candidates for result in found] == [BETTER] * 3
    failed = fake("search").search_many([targets] * 2, settings(), workers=2)
    assert all(isinstance(result, BackendFailed) for result in failed)


def test_ctrl_c_returns_the_frontier_and_leaves_no_process(targets, tmp_path):
    note = tmp_path / "child"
    main = threading.main_thread().ident

    def interrupt():
        for _ in range(200):
            if note.exists() and note.read_text():
                break
            time.sleep(0.02)
        time.sleep(0.3)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with fake("endless", note) as backend:
        thread.start()
        result = backend.search(targets, settings())
    thread.join()
    assert result.candidates == BETTER
    assert result.interrupted
    assert any("cancelled" in message for message in result.messages)
    assert gone(int(note.read_text()))


def test_a_parent_that_ends_leaves_no_process(tmp_path):
    note = tmp_path / "child"
    script = f"""
import sys, numpy as np
from symbolic.backends.pysr import PySR
from symbolic.backends.worker import Worker
from symbolic.backends.base import Settings
from symbolic.targets import build
points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
backend = PySR([sys.executable, {str(FAKE)!r}, "endless", {str(note)!r}])
worker = backend._ready_worker(Settings())
worker.receive(30)
worker.send({{"job": 1, "folder": "."}})
worker.receive(30); worker.receive(30)
import time
while not open({str(note)!r}).read(): time.sleep(0.05)
"""
    note.write_text("")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert gone(int(note.read_text()))


def test_without_the_package_the_error_names_the_extra(targets, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    backend = PySR()
    assert backend.available().command == "pip install 'twinscope[pysr]'"
    with pytest.raises(BackendMissing, match=r"twinscope\[pysr\]"):
        backend.search(targets, settings())
    with pytest.raises(ImportError):
        backend.search(targets, settings())
