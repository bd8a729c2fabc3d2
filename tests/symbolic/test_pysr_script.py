"""The worker's own script, with a stub in place of PySR: frontiers, limits, options and the way it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from interpret.errors import BackendCrashed, BackendFailed, BackendOutOfMemory, UsageError
from symbolic.backends.base import Settings
from symbolic.backends.pysr import PySR
from symbolic.backends.pysr_loss import LOSS
from symbolic.operators import user_operator
from symbolic.parser import parse
from symbolic.targets import build

STUB = Path(__file__).with_name("stub_pysr")
ROOT = Path(__file__).parents[2]
FIRST = (parse("x0"),)
BETTER = (*FIRST, parse("(x0 * x0) + (2.0 * (x1 * x1))"))


@pytest.fixture(scope="module")
def targets():
    points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    return build(points, points * [2, 4])


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """A backend whose worker finds the stub; the script it plays and the note it leaves."""

    def make(script):
        monkeypatch.setenv("PYTHONPATH", str(STUB))
        monkeypatch.setenv("STUB_SCRIPT", script)
        monkeypatch.setenv("STUB_NOTE", str(tmp_path / "note"))
        monkeypatch.setattr(PySR, "available", lambda self: None)
        monkeypatch.setattr(PySR, "version", lambda self: (2, 7, 2))
        return PySR()

    return make


def note(tmp_path):
    return json.loads((tmp_path / "note").read_text())


def test_a_search_reaches_pysr_with_our_settings(stub, targets, tmp_path):
    bump = user_operator("bump", lambda x: np.exp(-x * x), lambda x: -2 * x, julia="bump(x) = exp(-x^2)")
    settings = Settings(
        operators=("+", "*", "sin", "sigmoid"),
        user_operators=(bump,),
        seed=7,
        time_limit=60,
        options={"niterations": 3, "parsimony": 0.01, "enough": 1e-6},
    )
    with stub("plain") as backend:
        result = backend.search(targets, settings)
        first = backend._worker.process.pid
        again = backend.search(targets, settings)
        assert backend._worker.process.pid == first
    assert result.candidates == again.candidates == BETTER
    seen = note(tmp_path)
    given = seen["given"]
    assert given["binary_operators"] == ["+", "*"]
    assert given["unary_operators"] == ["sin", "sigmoid(x) = 1 / (1 + exp(-x))", "bump(x) = exp(-x^2)"]
    assert seen["mappings"] == ["bump", "sigmoid"]
    assert given["random_state"] == 7
    assert given["niterations"] == 3
    assert (given["deterministic"], given["parallelism"], given["precision"]) == (True, "serial", 64)
    assert given["batching"] is False
    assert given["loss_function"] == LOSS
    assert 1 < given["timeout_in_seconds"] < 60
    assert seen["projectors"][0] == 0
    assert seen["enough"] == 1e-6
    # Zygote comes before the loss, and the definitions are evaluated once for both searches.
    assert seen["told"][0] == "using Zygote: Zygote"
    assert sum("const TWINSCOPE_DIRECTIONS" in code for code in seen["told"]) == 1
    # parsimony is PySR's, but this installation does not have it.
    assert any("no option 'parsimony'" in message for message in result.messages)


def test_a_worker_can_be_started_without_a_search(stub):
    with stub("plain") as backend:
        versions, seconds = backend.start()
        assert versions == "pysr 2.7.2, julia 1.10.4, SymbolicRegression 2.7.2"
        assert seconds > 0


def test_progress_says_what_the_worker_does(stub, targets, monkeypatch):
    monkeypatch.setattr("symbolic.backends.job._HEARTBEAT", np.inf)
    seen = []
    with stub("plain") as backend:
        backend.search(targets, Settings(progress=seen.append))
    told = list(dict.fromkeys(step.message for step in seen))
    # Whether the first row is seen before the second depends on when the file is looked at.
    assert [text for text in told if text != "searching: 1 formula, misalignment 0.5 with 1 node"] == [
        "starting Julia",
        "starting Julia and loading PySR",
        "Julia 1.10.4 runs; loading Zygote",
        f"compiling the gradient loss for {len(targets.fit)} points",
        "searching: 2 formulas, misalignment 0.001 with 7 nodes",
    ]
    assert seen[-1].best == 0.001
    assert [step.seconds for step in seen] == sorted(step.seconds for step in seen)


def test_a_search_without_news_still_tells_that_it_goes_on(stub, targets, monkeypatch):
    monkeypatch.setattr("symbolic.backends.job._HEARTBEAT", 0.1)
    seen = []
    with stub("endless") as backend:
        backend.search(targets, Settings(progress=seen.append, options={"patience": 2.0}))
    last = [step for step in seen if step.message == "searching: 2 formulas, misalignment 0.001 with 7 nodes"]
    assert len(last) > 2


def test_projections_reach_the_loss(stub, tmp_path):
    rng = np.random.default_rng(0)
    points = rng.dirichlet(np.ones(3), 80)
    targets = build(points, points * [2, 4, 6])
    assert targets.projector is not None
    with stub("plain") as backend:
        backend.search(targets, Settings())
    shape = note(tmp_path)["projectors"]
    assert shape in ([1, 3, 3], [len(targets.fit), 3, 3])


@pytest.mark.parametrize(("script", "found"), [("killed", BETTER), ("torn", BETTER)])
def test_a_killed_worker_loses_no_frontier(script, found, stub, targets):
    with stub(script) as backend:
        result = backend.search(targets, Settings())
    assert result.candidates == found
    assert type(result.failure) is BackendCrashed
    assert "SIGKILL" in str(result.failure)
    assert "stub PySR starts" in str(result.failure)


@pytest.mark.parametrize("script", ["memory", "memory-child"])
def test_memory_beyond_the_limit_ends_the_worker_with_its_frontier(script, stub, targets, tmp_path):
    with stub(script) as backend:
        result = backend.search(targets, Settings(memory_limit=300 << 20))
    assert result.candidates == BETTER
    assert type(result.failure) is BackendOutOfMemory
    assert "300 MiB allowed" in str(result.failure)
    assert note(tmp_path)["limit"] > 300 << 20
    assert note(tmp_path)["hint"] == "180M"


def test_a_julia_error_is_named_and_the_worker_lives_on(stub, targets):
    with stub("error") as backend:
        for _ in range(2):
            result = backend.search(targets, Settings())
            assert result.candidates == FIRST
            assert type(result.failure) is BackendFailed
            assert "a Julia error" in str(result.failure)
            assert backend._worker is not None


def test_a_search_without_improvement_is_asked_to_stop(stub, targets):
    with stub("endless") as backend:
        result = backend.search(targets, Settings(options={"patience": 0.5}))
        assert backend._worker is not None
    assert result.candidates == BETTER
    assert not result.interrupted


@pytest.mark.parametrize("reap", [True, False], ids=["collected", "a zombie"])
def test_a_worker_whose_parent_was_killed_ends_and_leaves_no_folder(reap, tmp_path):
    # The stub searches for ever, so the end of stdin alone would not end the worker.
    script = """
import threading, time, numpy as np
from symbolic.backends.base import Settings
from symbolic.backends.pysr import PySR
from symbolic.targets import build
points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
backend = PySR()
job = (build(points, points * [2, 4]), Settings(options={"patience": 600}))
threading.Thread(target=backend.search, args=job, daemon=True).start()
while backend._worker is None or not (backend._worker.folder / "1" / "run" / "hall_of_fame.csv").exists():
    time.sleep(0.02)
print(backend._worker.process.pid, backend._worker.folder, flush=True)
time.sleep(600)
"""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(STUB), str(ROOT)]),
        "STUB_SCRIPT": "endless",
        "TMPDIR": str(tmp_path),
    }
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    )
    worker, folder = parent.stdout.readline().split()
    assert Path(folder).is_dir()
    group = members(int(worker))
    assert len(group) == 2
    parent.send_signal(signal.SIGKILL)
    if reap:
        parent.wait()
    wait_for(lambda: not members(int(worker)), "the worker outlived its parent")
    wait_for(lambda: not list(tmp_path.iterdir()), "its folder outlived the worker")
    parent.wait()
    parent.stdout.close()


def members(group):
    """Processes of a group that run, as ps lists them."""
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, pgid, state in rows if int(pgid) == group and not state.startswith("Z")]


def wait_for(condition, message):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(message)


@pytest.mark.parametrize("how", ["done", "deadline", "killed", "close"])
def test_nothing_is_left_behind(how, stub, targets, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    backend = stub({"done": "plain", "close": "plain"}.get(how, "endless" if how == "deadline" else how))
    deadline = time.monotonic() + 4 if how == "deadline" else None
    backend.search(targets, Settings(options={"patience": 600}), deadline)
    worker = backend._worker
    if worker is not None:
        # Ready for the next neuron: its folder is there, the finished search's is not.
        assert list(worker.folder.iterdir()) == []
        group = members(worker.process.pid)
        assert group
        backend.close()
        assert not members(worker.process.pid)
    assert list(scratch.iterdir()) == []


def test_options_are_refused_before_a_worker_starts(stub, targets):
    with stub("plain") as backend:
        with pytest.raises(UsageError, match="did you mean niterations"):
            backend.search(targets, Settings(options={"niteration": 3}))
        assert backend._worker is None
