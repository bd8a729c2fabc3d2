"""The constants behind docs/scale.md, in CPU seconds of one core: what one neuron, one layer, one example
costs.

    python benchmarks/scale.py [--units 12]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # beside this file lies one named gp
from sweep import prepare

from interpret.store import create_run
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


def storing(session: Session, units: int) -> dict[str, float]:
    """What the store takes for a neuron: milliseconds, and kilobytes in the database and in files."""
    made = [session.explain(f"fc2[{i}]") for i in range(units)]
    with tempfile.TemporaryDirectory() as temporary, create_run(temporary) as run:
        run.add(made[0])
        seconds = cpu(lambda: [run.add(e) for e in made[1:]])
        run.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base = (Path(temporary) / "run.sqlite").stat().st_size
        files = sum(p.stat().st_size for p in (Path(temporary) / "arrays").rglob("*.safetensors"))
    return {"ms": round(1000 * seconds / (units - 1), 2), "database_kB": round(base / units / 1e3, 1),
            "arrays_kB": round(files / units / 1e3, 1)}  # fmt: skip


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=12)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, 32)
        figures: dict[str, object] = {}
        for engine in ("gp", "symbolic", "both"):
            shared, each, session = neurons(folder, engine, asked.units)
            figures[engine] = {"layer_cpu_s": round(shared, 3), "neuron_cpu_s": round(each, 3)}
        figures["store"] = storing(session, asked.units)
        figures["examples"] = rows(session)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
