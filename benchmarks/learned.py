"""The learned kernel on a digits CNN: how close it comes, how fast, and whether it explains.

    python benchmarks/learned.py [--seeds 3] [--threads 2]

Prints a row per form and seed, and at the end which of the stated bounds hold. ``match`` is GPEX's objective alone;
``explain`` is the form whose contributions do not cancel. Seconds are wall time of ``gp.distill``, all included.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file lies one with the package's name

import gp
from benchmarks import gp_data as data

#: What is run: a label, and the options of the kernel.
RUNS = {
    "match, 200 steps": {"form": "match", "steps": 200},
    "match": {"form": "match"},
    "explain": {"form": "explain"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for seed in range(arguments.seeds):
        split = data.digits(seed)
        net = data.train(data.CNN, split, seed=seed)
        for label, options in RUNS.items():
            rows.append({"form": label, "seed": seed, **measured(net, split, options, seed)})
            print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.4f"), flush=True)
    table = pd.DataFrame(rows)
    print("\nmeans over seeds")
    print(table.groupby("form", sort=False).mean().drop(columns="seed").to_string(float_format="%.4f"))
    print()
    for line in bounds(table):
        print(line)


def measured(
    net: torch.nn.Module, split: data.Split, options: dict[str, object], seed: int
) -> dict[str, float]:
    """One distillation and its figures."""
    start, work = time.perf_counter(), time.process_time()
    d = gp.distill(net, split.X, kernel="learned", seed=seed, **options)
    figures = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - work}
    with torch.no_grad():
        truth = net(torch.from_numpy(split.X_test)).numpy()
    for name, X in (
        ("test", split.X_test),
        ("mixtures", data.mixtures(split.X_test)),
        ("noise", data.noise(split.X_test)),
        ("fgsm", data.fgsm(net, split.X_test, split.y_test)),
    ):
        fidelity = d.fidelity(X)
        figures[name] = fidelity["pearson"].mean()
        if name == "test":
            figures["agreement"] = fidelity.attrs["agreement"]
            figures["coverage"] = fidelity["coverage95"].mean()
    return {**figures, **explanations(d, split, truth.argmax(1))}


def explanations(d: gp.Distillation, split: data.Split, predicted: np.ndarray) -> dict[str, float]:
    """Cancellation, class agreement of the ten nearest and of the ten largest contributors, at the predicted head."""
    ratios, near, contributing = [], [], []
    for head in np.unique(predicted):
        rows = np.flatnonzero(predicted == head)
        c = np.atleast_2d(d.contributions(split.X_test[rows], head=int(head)))
        ratios.extend(np.abs(c).sum(1) / np.abs(c.sum(1)))
        top = np.argsort(-np.abs(c), axis=1)[:, :10]
        found = d.neighbors(split.X_test[rows], k=10, head=int(head)).index
        contributing.extend((split.y[top] == split.y_test[rows, None]).mean(1))
        near.extend((split.y[found] == split.y_test[rows, None]).mean(1))
    return {
        "cancellation": float(np.median(ratios)),
        "neighbors": float(np.mean(near)),
        "contributors": float(np.mean(contributing)),
    }


def bounds(table: pd.DataFrame) -> list[str]:
    """The stated bounds, worst seed each."""
    by = {name: table[table["form"] == name] for name in RUNS}
    quick, full, explain = by["match, 200 steps"], by["match"], by["explain"]
    checks = [
        ("pearson >= 0.9946 within 8 s", quick.test.min() >= 0.9946 and quick.seconds.max() <= 8),
        ("pearson >= 0.9985 within 30 s", full.test.min() >= 0.9985 and full.seconds.max() <= 30),
        ("argmax agreement >= 0.99", full.agreement.min() >= 0.99),
        ("explaining: pearson >= 0.995", explain.test.min() >= 0.995),
        ("explaining: cancellation <= 5", explain.cancellation.max() <= 5),
        ("explaining: class agreement of neighbors >= 0.93", explain.neighbors.min() >= 0.93),
        ("coverage of 95 % intervals 0.92-0.98", bool(table.coverage.between(0.92, 0.98).all())),
    ]
    return [f"{'holds' if held else 'FAILS'}  {what}" for what, held in checks]


if __name__ == "__main__":
    main()
