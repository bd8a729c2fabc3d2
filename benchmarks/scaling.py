"""Curves: how seconds grow with rows N, inputs d, features D, units and workers. CPU seconds, one thread each.

    python benchmarks/scaling.py [--repeats 3] [--most 1.0] [--neurons 16] [--engine both]

The exponent is that of the last doublings: 1 is linear. `--most 0.1` ends every curve at a tenth of its length.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

sys.path[:1] = [
    str(Path(__file__).resolve().parents[1]),
    str(Path(__file__).parent),
]  # gp is the package first

import gp
import symbolic
from benchmarks.peers import cpu, spread, table
from benchmarks.sweep import prepare, results, sweep
from interpret.probe import Probe

Made = Callable[[], object]


def gp_rows(count: int) -> Made:
    rng = np.random.default_rng(0)
    U = rng.normal(size=(count, 64))
    return partial(gp.fit_features, U, U[:, :10] + 0.1 * np.sin(U[:, 10:20]))


def gp_features(width: int) -> Made:
    rng = np.random.default_rng(0)
    U = rng.normal(size=(5_000, width))
    return partial(gp.fit_features, U, U[:, :10] + 0.1 * np.sin(U[:, :10]))


def field(rows: int, inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x0² + sin(x1 + x2) among other inputs that the unit hardly uses, with 1 % noise on the gradients."""
    rng = np.random.default_rng([rows, inputs])
    x = rng.uniform(-1, 1, (rows, inputs))
    g = 0.01 * rng.standard_normal(x.shape)
    g[:, 0] += 2 * x[:, 0]
    g[:, 1] += np.cos(x[:, 1] + x[:, 2])
    g[:, 2] += np.cos(x[:, 1] + x[:, 2])
    return x, g, x[:, 0] ** 2 + np.sin(x[:, 1] + x[:, 2])


def formula_rows(count: int) -> Made:
    return partial(symbolic.fit_gradients, *field(count, 3), accuracy=1.5e-3)


def formula_inputs(count: int) -> Made:
    return partial(symbolic.fit_gradients, *field(2_000, count), accuracy=1.5e-3)


def probe_units(count: int) -> Made:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, count), nn.SiLU(), nn.Linear(count, 1)
    ).eval()
    return partial(Probe(model, "2[:]").gradients, torch.randn(1_000, 16))


def probe_rows(count: int) -> Made:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)).eval()
    return partial(Probe(model, "2[3]").gradients, torch.randn(count, 16))


#: what grows, what is done, how far
CURVES: tuple[tuple[str, str, Callable[[int], Made], tuple[int, ...]], ...] = (
    ("N", "GP of ten heads, D = 64", gp_rows, (1_000, 4_000, 16_000, 64_000, 256_000)),
    ("D", "GP of ten heads, N = 5,000", gp_features, (32, 64, 128, 256, 512)),
    ("N", "formula of one unit, d = 3", formula_rows, (500, 1_000, 2_000, 4_000, 16_000)),
    ("d", "formula of one unit, N = 2,000", formula_inputs, (3, 6, 12, 24, 48)),
    ("units", "gradients of a layer, N = 1,000, d = 16", probe_units, (8, 32, 128, 512)),
    ("N", "gradients of one unit, d = 16", probe_rows, (1_000, 10_000, 100_000, 1_000_000)),
)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """Slope over the last two steps of a curve, on logarithmic axes."""
    if len(sizes) < 3 or min(seconds[-3:]) <= 0:
        return "–"
    slope = math.log(seconds[-1] / seconds[-3]) / math.log(sizes[-1] / sizes[-3])
    return f"{round(slope, 2) + 0.0:.2f}"  # no minus before a zero


def curves(repeats: int, most: float) -> None:
    rows = []
    for grows, what, make, sizes in CURVES:
        kept = [size for size in sizes if size <= most * sizes[-1]] or list(sizes[:1])
        timed = []
        make(sizes[0])()  # what is loaded on first use
        for size in kept:
            call = make(size)
            timed.append([cpu(call)[1] for _ in range(repeats)])
        medians = [median(seconds) for seconds in timed]
        cells = "; ".join(
            f"{size:,}: {spread(seconds, 2)}" for size, seconds in zip(kept, timed, strict=True)
        )
        rows.append((what, grows, cells, exponent(kept, medians)))
    print(table(("what", "grows with", "CPU seconds", "exponent"), rows))


def speed_up(factor: float) -> str:
    """A factor over one worker; below 1 the workers cost more than they bring, and that is called a loss."""
    return f"{factor:.2f} ×" if factor >= 1 else f"**loss**, {factor:.2f} ×"


def workers(neurons: int, engine: str) -> None:
    """The same sweep with one and with two worker processes."""
    rows, digests = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, max(neurons, 8))
        for units in sorted({max(2, neurons // 4), neurons}):
            base = 0.0
            for jobs in (1, 2):
                name = f"{units}-{jobs}"
                figures = sweep(folder, name, "fc2", units, ["--engine", engine, "--jobs", str(jobs)])
                digests.append((units, results(folder, name)))
                working = figures["wall_s"] - figures["start_up_s"]
                base = base or working
                rows.append(
                    (units, jobs, figures["wall_s"], figures["start_up_s"], figures["cpu_s"],
                     f"{60 * units / working:.0f}", speed_up(base / working))
                )  # fmt: skip
    columns = (
        "units",
        "workers",
        "wall s",
        "of that start-up",
        "CPU s",
        "units a minute",
        "speed-up, start-up aside",
    )
    print(table(columns, rows))
    same = all(a == b for (n, a) in digests for (m, b) in digests if n == m)
    print(f"The same bytes for one and two workers: {'yes' if same else '**no**'}.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most", type=float, default=1.0)
    parser.add_argument("--neurons", type=int, default=16)
    parser.add_argument("--engine", default="both", help="what the workers explain by")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    curves(asked.repeats, asked.most)
    workers(asked.neurons, asked.engine)


if __name__ == "__main__":
    main()
