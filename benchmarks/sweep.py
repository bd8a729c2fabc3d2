"""Neurons per minute of `twinscope explain`: --jobs 2 against --jobs 1, and the share of store and report.

One network, one table, at least 100 neurons, both engines. One thread per worker in both settings, start-up
included and printed apart; beside them one process that may use every core for its arrays.

    python benchmarks/sweep.py [--neurons 100] [--engine both] [--jobs 2] [--layer fc2] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from peers import table

from interpret.store import create_run, open_run
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
#: What runs the command line, which always uses one thread.
ONE_THREAD = "from interpret.cli import run; run()"
#: The same with as many threads as there are cores: the limits are taken away before any module has their names.
MANY_THREADS = f"""
import contextlib
import threadpoolctl
from interpret import threads
threads.one_thread = contextlib.nullcontext
threadpoolctl.threadpool_limits = lambda *limits, **kinds: contextlib.nullcontext()
{ONE_THREAD}
"""


def prepare(folder: Path, width: int, rows: int = 500) -> None:
    """A network and a table for it."""
    import numpy as np

    (folder / "net.py").write_text(NET.format(width=width))
    X = np.random.default_rng(0).uniform(-1, 1, (rows, 4))
    np.savez(folder / "d.npz", X=X, y=(X[:, 0] * X[:, 1] > 0).astype(int))


def any_threads_environment() -> dict[str, str]:
    """The environment without any variable that limits threads, whoever set it."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}


def sweep(
    folder: Path, name: str, layer: str, neurons: int, arguments: list[str], threads: bool = False
) -> dict[str, float]:
    """Run one sweep in its own process: wall and CPU seconds, and seconds until the first neuron."""
    program = MANY_THREADS if threads else ONE_THREAD
    command = [
        sys.executable, "-c", program, "explain", "net.py:model", "--data", "d.npz", "--out", name, "--json",
        "--neurons", f"{layer}[0:{neurons}]", *arguments,
    ]  # fmt: skip
    environment = any_threads_environment() if threads else one_thread_environment()
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


def overhead(folder: Path, name: str, neurons: int, jobs: int) -> dict[str, float]:
    """Milliseconds per neuron, medians of three: storing the run's neurons again, and writing the report.

    ``store`` and ``report`` are CPU time of one process. ``report, N processes`` is wall time, their start included.
    """
    from interpret.report import write

    rounds = []
    with open_run(folder / name) as run:
        write(list(islice(run.explanations(), 1)), folder / "warm.html")
        made = list(run.explanations())
        for turn in range(3):
            with create_run(folder / f"again {turn}") as again:
                again.add(replace(made[0], model="warm"))
                stored = took(lambda again=again: [again.add(neuron) for neuron in made])
            alone = took(lambda turn=turn: write(run, folder / f"one {turn}.html"))
            several = took(lambda turn=turn: write(run, folder / f"several {turn}.html", jobs=jobs))
            rounds.append((stored[1], alone[1], several[0]))
    store, report, together = (round(1000 * median(x) / neurons, 2) for x in zip(*rounds, strict=True))
    return {"store": store, "report": report, f"report, {jobs} processes": together}


def took(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call, the latter without those of processes it starts."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


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
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of tables")
    asked = parser.parse_args()
    engine = ["--engine", asked.engine]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, max(asked.neurons, 8))
        one = sweep(folder, "one", asked.layer, asked.neurons, engine)
        many = sweep(folder, "many", asked.layer, asked.neurons, [*engine, "--jobs", str(asked.jobs)])
        free = sweep(folder, "free", asked.layer, asked.neurons, engine, threads=True)
        same = results(folder, "one") == results(folder, "many")
        settings = {"1 worker": one, f"{asked.jobs} workers": many, "1 process, all cores": free}
        figures = {
            "neurons": asked.neurons,
            "jobs": asked.jobs,
            "load": os.getloadavg()[0],
            **settings,
            "ratio to 1 worker": round(many["per_minute"] / one["per_minute"], 3),
            "ratio to the best single process": round(
                many["per_minute"] / max(one["per_minute"], free["per_minute"]), 3
            ),
            "same bytes": same,
            "ms per neuron": overhead(folder, "one", asked.neurons, asked.jobs),
        }
    print(json.dumps(figures) if asked.json else tables(figures, settings))


def tables(figures: dict[str, Any], settings: dict[str, dict[str, float]]) -> str:
    """The same in Markdown."""
    base = settings["1 worker"]["per_minute"]
    rows = [
        (name, f["wall_s"], f["start_up_s"], f["cpu_s"], f["per_minute"], f"{f['per_minute'] / base:.2f} ×")
        for name, f in settings.items()
    ]
    heads = ("setting", "wall s", "of that start-up", "CPU s", "neurons a minute", "ratio")
    costs, jobs = figures["ms per neuron"], figures["jobs"]
    several = costs[f"report, {jobs} processes"]
    together = costs["store"] / jobs + several
    return (
        f"{figures['neurons']} neurons:\n\n{table(heads, rows)}\n"
        f"Against the best single process: {figures['ratio to the best single process']:.2f} ×. The same bytes in one "
        f"worker and in several: {'yes' if figures['same bytes'] else '**no**'}. Of each neuron's CPU time "
        f"{costs['store']:.1f} ms are the store's and {costs['report']:.1f} ms the report's. Workers store side by "
        f"side, and {jobs} processes write the report in {several:.1f} ms a neuron: together "
        f"{together:.1f} ms of wall time."
    )


if __name__ == "__main__":
    main()
