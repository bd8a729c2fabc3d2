"""Whether rows of a batch influence each other: then a prediction is of a batch, not of an example."""

from __future__ import annotations

from typing import Any

import torch

from gp.kernels import double
from gp.site import FEW, Runner, sample, snapshot
from gp.tracing import first_row
from interpret.errors import InterpretError
from interpret.probe import Probe

#: Change of an output with its company, beside the outputs' spread, that is more than rounding.
SEEN = 1e-3

COUPLED = (
    "The rows of a batch influence each other in this model, even in eval mode: what it gives for an example depends "
    "on the examples beside it, and so do the distillation and its intervals."
)


def coupled(probe: Probe, X: Any) -> bool:
    """Whether the first rows of ``X`` get other outputs among half as many; False where that cannot be told."""
    batch, rows = sample(probe, X, FEW)
    runner = Runner(snapshot(probe))
    try:
        whole = double(runner(batch))
        some = double(runner(first_row(batch, rows, list(range(rows // 2)))))
    except InterpretError:
        return False  # a model that takes batches of one size only: what is said of that comes later
    if len(whole) != rows or whole[: len(some)].shape != some.shape:
        return False
    moved = (whole[: len(some)] - some).abs().max()
    return bool(moved > SEEN * whole.std() + 1e-5 * whole.abs().max() + torch.finfo(torch.float64).tiny)
