"""The figures of docs/scale.md: what one neuron, one layer, one example costs, and what follows for very many.

Costs are CPU seconds of one core on an MLP of two hidden layers with 32 units, 4 inputs and 500 rows; the plan is
arithmetic on what was just measured. Prints the page's two tables, and all figures as one line of JSON.

    python benchmarks/scale.py [--units 12]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # beside this file lies one named gp
from sweep import prepare

from interpret.report import write
from interpret.runs.writing import Entry, entry
from interpret.store import Run, create_run
from interpret.sweeping.session import Order, Session, one_thread


def cpu(call: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def neurons(folder: Path, engine: str, units: int) -> tuple[float, float, Session]:
    """(CPU seconds of what a layer shares with its first neuron, of each further neuron, the session)."""
    session = Session(Order(f"{folder}/net.py:model", f"{folder}/d.npz", ("fc2[0]",), engine=engine))
    session.prepare()
    first = cpu(lambda: session.explain("fc2[0]"))
    rest = [cpu(lambda i=i: session.explain(f"fc2[{i}]")) for i in range(1, units)]
    return first - float(np.median(rest)), float(np.median(rest)), session


#: Networks that hold the same neurons, so that what a run has but once does not count.
COPIES = 20


def storing(session: Session, units: int) -> dict[str, float]:
    """What store and report take for a neuron: milliseconds, and kilobytes in the database and in files.

    ``rows_ms`` is spent where the neuron is explained, ``ms`` by the one process that writes.
    """
    made = [session.explain(f"fc2[{i}]") for i in range(units)]
    with tempfile.TemporaryDirectory() as temporary, create_run(temporary) as run:
        file = Path(temporary) / "run.sqlite"
        empty = file.stat().st_size
        run.add(made[0])
        entries: list[Entry] = []
        making = cpu(lambda: entries.extend(map(entry, made[1:])))
        seconds = cpu(lambda: [add(run, e) for e in entries])
        files = sum(p.stat().st_size for p in (Path(temporary) / "arrays").rglob("*.safetensors"))
        for copy in range(1, COPIES):
            for e in made:
                run.add(replace(e, model=f"copy {copy}"))
        run.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        write(made[:1], Path(temporary) / "warm.html")
        reporting = cpu(lambda: write(run, Path(temporary) / "report.html"))
        size = file.stat().st_size - empty
    return {
        "rows_ms": round(1000 * making / (units - 1), 2),
        "ms": round(1000 * seconds / (units - 1), 2),
        "report_ms": round(1000 * reporting / units / COPIES, 1),
        "database_kB": round(size / units / COPIES / 1e3, 1),
        "arrays_kB": round(files / units / 1e3, 1),
    }


def add(run: Run, made: Entry) -> None:
    """What the coordinator of a sweep does with one neuron."""
    run.write_files(made.packs)
    with run.writing():
        run.insert(made, None)


def rows(session: Session) -> dict[str, float]:
    """CPU microseconds per example: the gradients of one unit, and the GP's sums at D features."""
    import torch

    import gp
    from interpret import Probe

    generator = torch.Generator().manual_seed(0)
    X = torch.rand((20_000, 4), generator=generator) * 2 - 1
    probe = Probe(session.model, "fc2[0]")
    features = torch.rand((20_000, 256), generator=generator, dtype=torch.float64)
    targets = features[:, :10].clone()
    with one_thread():
        gradients = cpu(lambda: probe.gradients(X))
        sums = cpu(lambda: gp.fit_features(features.numpy(), targets.numpy()))
    return {
        "gradient_us": round(1e6 * gradients / len(X), 2),
        "gp_sums_256_us": round(1e6 * sums / len(X), 2),
    }


#: What the plan is for: neurons, layers they are in, examples, neurons in one run, cores.
NEURONS, LAYERS, EXAMPLES, RUN, CORES = 10**7, 10**4, 10**9, 10**5, 1000


def measured(f: dict[str, dict[str, float]]) -> list[tuple[str, str, str]]:
    """(what, cost, grows with) of each constant."""
    store, rows_ = f["store"], f["examples"]
    return [
        ("GP of a layer: sums, eigenvectors, figures, once for all of its units", f"{f['gp']['layer_cpu_s']:.2f} s",
         "rows · D², D³"),
        ("GP page of one unit", f"{f['gp']['neuron_cpu_s']:.3f} s", "rows shown"),
        ("formula of one unit: search, intervals, controls", f"{f['symbolic']['neuron_cpu_s']:.2f} s",
         "difficulty; at most 4,000 rows are used"),
        ("gradient of one unit, one example", f"{rows_['gradient_us']:.2f} µs",
         "the network's own forward and backward pass"),
        ("GP sums, one example, D = 256", f"{rows_['gp_sums_256_us']:.0f} µs", "D²"),
        ("a neuron as rows and files, in the worker", f"{store['rows_ms']:.1f} ms", "frontier rows, examples shown"),
        ("writing them, in the coordinator", f"{store['ms']:.1f} ms", "arrays kept"),
        ("one neuron's share of the report", f"{store['report_ms']:.0f} ms", "points and examples shown"),
        ("a neuron in the database", f"{store['database_kB']:.1f} kB", "frontier rows, neighbors, pictures"),
        ("a neuron's arrays", f"{store['arrays_kB']:.0f} kB", "points · inputs"),
    ]  # fmt: skip


def plan(f: dict[str, dict[str, float]]) -> list[tuple[str, str, str]]:
    """(part, total, how it is split) for NEURONS in LAYERS, and EXAMPLES."""
    store, rows_ = f["store"], f["examples"]
    formula, page, layer = f["symbolic"]["neuron_cpu_s"], f["gp"]["neuron_cpu_s"], f["gp"]["layer_cpu_s"]
    formulas, pages, layers = (x / 3600 for x in (NEURONS * formula, NEURONS * page, LAYERS * layer))
    storing = NEURONS * store["ms"] / 1000 / 3600
    sums, gradients = (EXAMPLES * rows_[x] / 3.6e9 for x in ("gp_sums_256_us", "gradient_us"))
    runs, database = NEURONS // RUN, store["database_kB"]
    return [
        (f"formulas, {formula:.2f} s each", f"{formulas:,.0f} core-hours",
         f"by neuron; {CORES:,} cores take {formulas / CORES:.1f} hours"),
        (f"GP pages, {page:.3f} s each", f"{pages:,.0f} core-hours", "by layer"),
        (f"GPs of {LAYERS:,} layers, {layer:.2f} s each", f"{layers:,.1f} core-hours", "by layer"),
        (f"writing, {store['ms']:.1f} ms each", f"{storing:,.1f} hours of one coordinator",
         f"by run: {runs} runs of {RUN:,} neurons; ten coordinators take {storing / 10:.1f} hours"),
        ("database", f"{NEURONS * database / 1e6:,.0f} GB", f"{runs} files of {RUN * database / 1e3:,.0f} MB"),
        ("arrays", f"{NEURONS * store['arrays_kB'] / 1e6:,.0f} GB", f"{NEURONS:,} files, by run"),
        ("workers that one coordinator keeps busy", f"{1000 * formula / store['ms']:,.0f}",
         "beyond them, a run per group of layers"),
        (f"GP sums of {EXAMPLES:,} examples, D = 256", f"{sums:,.1f} core-hours", "by example; sums add up"),
        (f"gradients of one unit at {EXAMPLES:,} examples", f"{gradients:,.1f} core-hours", "by example"),
        (f"rows of U for {EXAMPLES:,} examples, D = 256", f"{EXAMPLES * 256 * 8 / 1e12:,.1f} TB",
         "left out by `save(rows=False)`"),
    ]  # fmt: skip


def table(heads: tuple[str, str, str], rows_: list[tuple[str, str, str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ("---",) * 3, *rows_))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=12)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, 32)
        figures: dict[str, dict[str, float]] = {}
        for engine in ("gp", "symbolic", "both"):
            shared, each, session = neurons(folder, engine, asked.units)
            figures[engine] = {"layer_cpu_s": round(shared, 3), "neuron_cpu_s": round(each, 3)}
        figures["store"] = storing(session, asked.units)
        figures["examples"] = rows(session)
    print(table(("what", "cost", "grows with"), measured(figures)))
    print()
    print(table(("part", "total", "how it is split"), plan(figures)))
    print()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
