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


def test_progress_is_relayed(targets):
    seen = []
    with fake("slow") as backend:
        backend.search(targets, Settings(progress=seen.append))
    assert {step.backend for step in seen} == {"pysr"}
    assert seen[0].message == "starting Julia"
    assert min(step.best for step in seen if step.best == step.best) == 0.001


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
