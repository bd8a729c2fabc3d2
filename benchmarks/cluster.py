"""A sweep on a Dask LocalCluster of two workers, one of which is killed every few seconds: the bytes of one
process.

    python benchmarks/cluster.py [--neurons 40] [--engine gp] [--every 5]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # beside this file lies one named gp
from sweep import prepare, results

from interpret.sweep import sweep
from interpret.sweeping.cluster import Cluster
from interpret.sweeping.session import Order


def killer(cluster: Any, every: float, done: threading.Event, kills: list[int]) -> None:
    """Kill the worker that has been up longest.

    One that is still starting is left alone: Dask's nanny gives such a worker up for good, where it starts a
    running one that died anew.
    """
    while not done.wait(every):
        there = cluster.scheduler.workers
        pids = [
            nanny.pid
            for address in there  # in the order in which they came
            for nanny in cluster.workers.values()
            if nanny.worker_address == address and nanny.pid and nanny.pid not in kills
        ]
        if pids:
            os.kill(pids[0], signal.SIGKILL)
            kills.append(pids[0])


def main() -> None:
    import dask
    import distributed

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=40)
    parser.add_argument("--engine", default="gp")
    parser.add_argument("--every", type=float, default=5.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, asked.neurons)
        units = (f"fc2[0:{asked.neurons}]",)
        order = Order(f"{folder}/net.py:model", f"{folder}/d.npz", units, engine=asked.engine)
        assert sweep(order, folder / "one").counts.done == asked.neurons
        kills: list[int] = []
        figures: dict[str, object] = {"neurons": asked.neurons}
        # A LocalCluster closes for good what is away for a quarter of a minute: a worker that was killed and
        # takes its time to start anew on a busy machine.
        settings = {"distributed.worker.daemon": True, "distributed.deploy.lost-worker-timeout": "1 hour"}
        with dask.config.set(settings):
            for name in ("calm", "killed"):
                with distributed.LocalCluster(
                    n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
                ) as cluster:
                    done = threading.Event()
                    thread = threading.Thread(target=killer, args=(cluster, asked.every, done, kills))
                    if name == "killed":
                        thread.start()
                    started = time.perf_counter()
                    outcome = sweep(order, folder / name, executor=Cluster(order, cluster.scheduler_address))
                    figures[f"{name}_s"] = round(time.perf_counter() - started, 1)
                    done.set()
                    if name == "killed":
                        thread.join()
                    assert outcome.counts.done == asked.neurons, outcome.failures[:1]
                    assert results(folder, name) == results(folder, "one"), "the bytes of one process"
        assert kills, "the sweep ended before any worker was killed: give it more --neurons"
        print(json.dumps({**figures, "kills": len(kills), "same bytes": True}))


if __name__ == "__main__":
    main()
