"""The same tasks on dask.distributed: the same bytes as one process, also when workers are killed on the
way.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interpret.errors import BackendMissing, ClusterLost, LoadError, UsageError
from interpret.store import open_run
from interpret.sweep import Event, Serial, sweep
from interpret.sweeping.cluster import Cluster, ship, unpack
from interpret.sweeping.session import Order

sys.path.insert(0, str(Path(__file__).parent))
import fake_sweep

try:
    import distributed
except ImportError:
    distributed = None  # type: ignore[assignment]

ROOT = Path(__file__).parents[2]
needs_dask = pytest.mark.skipif(
    distributed is None, reason="dask.distributed is not installed: pip install 'twinscope[cluster]'"
)


def digests(out: Path) -> list[tuple[str, str]]:
    with open_run(out) as run:
        assert run.check() == []
        return [tuple(r) for r in run.connection.execute("SELECT address, digest FROM neuron ORDER BY sort")]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two worker processes with one thread each, which explain neurons as fake_sweep does."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    settings = {
        "distributed.worker.daemon": True,
        "distributed.admin.system-monitor.gil.enabled": False,
        # Else a LocalCluster closes for good a worker that was killed and is slow to start anew.
        "distributed.deploy.lost-worker-timeout": "1 hour",
    }
    import dask

    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
            preload=["fake_preload"],
        ) as local,
    ):
        yield local


@needs_dask
def test_a_cluster_gives_the_same_bytes(tmp_path: Path, cluster: Any) -> None:
    order = fake_sweep.order(10, 0.01)
    sweep(order, tmp_path / "one", executor=Serial(order, fake_sweep.FakeSession(order)))
    outcome = sweep(order, tmp_path / "two", executor=Cluster(order, cluster.scheduler_address))
    assert outcome.counts.done == 10
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    whole = replace(order, neurons=("", "fc1[0]"))  # a network that gives a number per row has the first
    outcome = sweep(whole, tmp_path / "whole", executor=Cluster(whole, cluster.scheduler_address))
    assert outcome.counts.done == 2
    wrong = replace(order, neurons=("fc1[0]", "error[0]"))
    outcome = sweep(wrong, tmp_path / "three", executor=Cluster(wrong, cluster.scheduler_address))
    assert [f.error for f in outcome.failures] == ["DeadUnit"]


@needs_dask
@pytest.mark.slow
def test_workers_may_be_killed(tmp_path: Path, cluster: Any) -> None:
    order = fake_sweep.order(24, 0.1)
    sweep(order, tmp_path / "one", executor=Serial(order, fake_sweep.FakeSession(replace(order, data="0"))))
    kills: list[int] = []

    def murder(event: Event) -> None:
        """Kill a worker after every sixth result, while there is work to lose, whatever the clock says.

        One that is still starting is left alone: Dask's nanny would give it up for good.
        """
        if event.kind != "done" or len(kills) == 3 or event.counts.done < (4, 10, 16)[len(kills)]:
            return
        up = [w.pid for w in cluster.workers.values() if w.worker_address in cluster.scheduler.workers]
        for victim in [pid for pid in up if pid and pid not in kills][:1]:
            os.kill(victim, signal.SIGKILL)
            kills.append(victim)

    outcome = sweep(order, tmp_path / "two", executor=Cluster(order, cluster.scheduler_address), watch=murder)
    assert outcome.counts.done == 24 and outcome.counts.failed == 0 and len(kills) == 3
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


@needs_dask
def test_a_scheduler_that_goes_away_ends_the_sweep_with_what_to_do(tmp_path: Path) -> None:
    order, ports = fake_sweep.order(40, 0.1), tmp_path / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}

    def started(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
        )

    local = ["--host", "127.0.0.1"]
    scheduler = started("scheduler", *local, "--port", "0", "--no-dashboard", "--scheduler-file", str(ports))
    worker = started("worker", *local, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--preload", "fake_preload",
                     "--scheduler-file", str(ports))  # fmt: skip
    try:
        while not ports.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        address = json.loads(ports.read_text())["address"]

        def watch(event: Event) -> None:
            if event.kind == "done" and event.counts.done >= 3:
                scheduler.kill()

        with pytest.raises(ClusterLost, match=f"{address} went away.*run the same command to go on"):
            sweep(order, tmp_path / "run", executor=Cluster(order, address), watch=watch)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    assert len(digests(tmp_path / "run")) >= 3


@needs_dask
def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpret.sweeping.cluster.CONNECT", 1)
    with pytest.raises(UsageError, match="no Dask scheduler answers at tcp"):
        Cluster(fake_sweep.order(1, 0.0), "tcp://127.0.0.1:9")


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendMissing, match=r"twinscope\[cluster\]"):
        Cluster(fake_sweep.order(1, 0.0), "tcp://127.0.0.1:9")


def test_files_travel_by_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    (home / "net.py").write_text("model = 1")
    (home / "d.csv").write_text("a\n1\n")
    order = Order(f"{home}/net.py:model", f"{home}/d.csv", ("fc[0]",))
    shipped = ship(order)
    assert unpack(shipped, away) == order
    (home / "d.csv").write_text("a\n2\n")
    moved = unpack(shipped, away)
    assert moved.model == order.model
    assert Path(moved.data).read_text() == "a\n1\n" and Path(moved.data).is_relative_to(away)
    # What lies there already is used only if it is that very file.
    Path(moved.data).write_text("somebody else's")
    assert Path(unpack(shipped, away).data).read_text() == "a\n1\n"
    (home / "net.py").unlink()
    assert unpack(shipped, away).model.endswith("net.py:model")
    monkeypatch.setattr("interpret.sweeping.cluster.LARGEST", 3)
    with pytest.raises(LoadError, match="disk that all workers share"):
        unpack(
            ship(replace(order, model="package.net:model"))
            | {"files": {"data": {"path": "/gone/d.csv", "hash": "0" * 64, "content": None}}},
            away,
        )
