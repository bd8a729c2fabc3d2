"""Neurons per minute of `twinscope explain`: --jobs 2 against --jobs 1, and the share of store and report.

One network, one table, at least 100 neurons, both engines. One thread per worker in both settings, start-up
included and printed apart; beside them one process that may use every core for its arrays. Prints one line
of JSON.

    python benchmarks/sweep.py [--neurons 100] [--engine both] [--jobs 2] [--layer fc2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from interpret.store import open_run
from interpret.sweeping.session import one_thread_environment

NET = """
from collections import OrderedDict
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(OrderedDict(
    fc1=nn.Linear(4, {width}), act1=nn.SiLU(), fc2=nn.Linear({width}, {width}), act2=nn.SiLU(),
    out=nn.Linear({width}, 1)))
"""
#: Numerics with as many threads as there are cores; the command line itself always uses one.
MANY_THREADS = """
import contextlib, sys
from interpret.sweeping import session
session.one_thread = contextlib.nullcontext
from interpret.cli import run
run()
"""


def prepare(folder: Path, width: int, rows: int = 500) -> None:
    """A network and a table for it."""
    import numpy as np

    (folder / "net.py").write_text(NET.format(width=width))
    X = np.random.default_rng(0).uniform(-1, 1, (rows, 4))
    np.savez(folder / "d.npz", X=X, y=(X[:, 0] * X[:, 1] > 0).astype(int))


def sweep(
    folder: Path, name: str, layer: str, neurons: int, arguments: list[str], threads: bool = False
) -> dict[str, float]:
    """Run one sweep in its own process: wall and CPU seconds, and seconds until the first neuron."""
    program = MANY_THREADS if threads else "from interpret.cli import run; run()"
    command = [
        sys.executable, "-c", program, "explain", "net.py:model", "--data", "d.npz", "--out", name, "--json",
        "--neurons", f"{layer}[0:{neurons}]", *arguments,
    ]  # fmt: skip
    environment = dict(os.environ) if threads else one_thread_environment()
    if threads:
        environment.pop("OMP_NUM_THREADS", None)
    before = os.times()
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    events = [(time.perf_counter() - started, json.loads(line)) for line in process.stdout]
    assert process.wait() == 0, events[-1]
    wall = time.perf_counter() - started
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    ready = next(at for at, event in events if event["event"] == "start")
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "start_up_s": round(ready, 2),
            "per_minute": round(60 * neurons / wall, 1)}  # fmt: skip


def report(folder: Path, name: str, neurons: int) -> float:
    """Milliseconds per neuron of writing the report, in CPU time."""
    from interpret.report import write

    with open_run(folder / name) as run:
        started = time.process_time()
        write(run, folder / "report.html", title="benchmark")
        return round(1000 * (time.process_time() - started) / neurons, 2)


def results(folder: Path, name: str) -> list[tuple[str, str]]:
    """(address, digest) of every neuron."""
    with open_run(folder / name) as run:
        return [tuple(r) for r in run.connection.execute("SELECT address, digest FROM neuron ORDER BY sort")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--engine", default="both")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--layer", default="fc2", help="fc1 is quick (linear units), fc2 is real work")
    asked = parser.parse_args()
    engine = ["--engine", asked.engine]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, max(asked.neurons, 8))
        one = sweep(folder, "one", asked.layer, asked.neurons, engine)
        many = sweep(folder, "many", asked.layer, asked.neurons, [*engine, "--jobs", str(asked.jobs)])
        free = sweep(folder, "free", asked.layer, asked.neurons, engine, threads=True)
        same = results(folder, "one") == results(folder, "many")
        figures = {
            "neurons": asked.neurons,
            "load": os.getloadavg()[0],
            "jobs 1": one,
            f"jobs {asked.jobs}": many,
            "one process, all cores": free,
            "ratio to jobs 1": round(many["per_minute"] / one["per_minute"], 3),
            "ratio to the best single process": round(
                many["per_minute"] / max(one["per_minute"], free["per_minute"]), 3
            ),
            "same bytes": same,
            "report_ms_per_neuron": report(folder, "one", asked.neurons),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
