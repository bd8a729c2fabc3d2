"""Gaussian processes that stand for a network: our kernels, GPyTorch's exact GP and SVGP, GPEX; several networks each.

    python benchmarks/peer_gp.py [--seeds 3] [--gpex PATH] [--gpex-steps 600] [--methods ours]

The worst head's correlation with the network on held-out rows and on noise images, cancellation (median Σ|c|/|Σc| at
the predicted head), the share of the ten largest contributors that are of the predicted class, and CPU seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file lies one with the package's name

from benchmarks import gp_data as data
from benchmarks import gp_fidelity as fidelity
from benchmarks.gp_measure import measured
from benchmarks.peers import beside, spread, table
from interpret.probe import Probe

FIGURES = ("held-out", "noise", "cancellation", "contributors", "seconds")


def one(seed: int, kind: str, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of every method on one network."""
    if kind == "digits":
        split = data.digits(seed)
        net = data.train(data.CNN, split, seed=seed)
    else:
        split = data.diabetes(seed)
        net = data.train(data.Regression, split, epochs=40, seed=seed)
    inputs = {"held-out": split.X_test, "noise": data.noise(split.X)}
    task = fidelity.Task(Probe(net, ""), split, inputs, kind == "digits")
    truth = {name: fidelity.flat(task.probe.values(X).numpy()) for name, X in inputs.items()}
    deviation = fidelity.flat(task.probe.values(split.X).numpy()).std(0)
    found = {}
    for name, fit in fidelity.methods(task, arguments).items():
        if arguments.without and arguments.without in name:
            continue
        made = measured(fit)
        judged = {n: fidelity.judged(task, made.value, X, truth[n], deviation) for n, X in inputs.items()}
        found[name] = {
            "held-out": judged["held-out"]["pearson"], "noise": judged["noise"]["pearson"],
            "cancellation": judged["held-out"]["cancellation"],
            "contributors": judged["held-out"]["contributors"], "seconds": made.processor,
        }  # fmt: skip
    return found


def said(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> str:
    """Each figure by name, a loss called one: what is missing of a perfect match, cancellation, CPU seconds."""
    words = {
        "what a match lacks": beside([1 - r for r in ours["held-out"]], [1 - r for r in theirs["held-out"]]),
        "cancellation": beside(ours["cancellation"], theirs["cancellation"]),
        "time": beside(ours["seconds"], theirs["seconds"]),
    }
    return "; ".join(f"{name}: {word}" for name, word in words.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", default="digits,diabetes")
    parser.add_argument("--methods", default="", help="only methods whose name holds this text")
    parser.add_argument("--without", default="", help="no method whose name holds this text")
    parser.add_argument("--gpex", type=Path, help="a checkout of GPEX, to run its own code beside")
    parser.add_argument("--gpex-steps", type=int, default=600)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for kind in asked.kinds.split(","):
        runs = [one(seed, kind, asked) for seed in range(asked.seeds)]
        rows = []
        made = {
            name: {f: [run[name][f] for run in runs if np.isfinite(run[name][f])] for f in FIGURES}
            for name in runs[0]
        }
        for name, columns in made.items():
            word = "" if name.startswith("ours") else said(made["ours, activation"], columns)
            rows.append(
                (name, *(spread(columns[f], 6 if f in ("held-out", "noise") else 3) for f in FIGURES), word)
            )
        print(f"{kind}:\n")
        print(table(("method", *FIGURES[:4], "CPU s", "ours (activation) against it"), rows))


if __name__ == "__main__":
    main()
