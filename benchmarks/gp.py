"""The GP engine beside other Gaussian processes: fidelity, contributions that cancel or not, seconds, memory.

    python benchmarks/gp.py [--gpex PATH] [--threads 1] [--methods ours]
        [--only digits,attention,regression,meaning,noise,scale]

Networks: a digits classifier (10 logits), the attention map of a spatial-attention classifier of digits (64
positions), a regression MLP on diabetes. Inputs: held-out rows, mixtures λx + (1−λ)x' with λ in [−1, 2], uniform
noise, FGSM-perturbed rows. Columns: the least pearson and R² over the heads; at each row's predicted head the median
Σ|c|/|Σc|, the same over max(|Σc|, s) with s the head's standard deviation over the training rows, and the share of
top-ten contributors of the predicted class; seconds to fit, peak memory beyond the start.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

import torch

#: part -> module of this folder and function in it
PARTS = {
    "digits": ("gp_fidelity", "digits"),
    "attention": ("gp_fidelity", "attention"),
    "regression": ("gp_fidelity", "regression"),
    "meaning": ("gp_meaning", "main"),
    "noise": ("gp_noise", "main"),
    "scale": ("gp_scale", "main"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpex", type=Path, help="a checkout of GPEX, to run its own code beside")
    parser.add_argument("--gpex-steps", type=int, default=600)
    parser.add_argument("--methods", default="", help="only methods whose name holds this text")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--most", type=float, default=1e7, help="rows of the largest fit of the scale part")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.only.split(","):
        print(f"\n== {name}")
        module, function = PARTS[name]
        getattr(import_module(f"benchmarks.{module}"), function)(arguments)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # this file has the package's name
    main()
