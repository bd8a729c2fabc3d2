"""The GP without some of its training rows, in closed form: their part is taken out of the sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gp.conditioning import Pass, fitted, resampled, with_unseen
from gp.rows import Kept
from interpret.errors import IndexOutOfRange, TooFewPoints, UsageError

if TYPE_CHECKING:
    from gp.distillation import Distillation


def without(d: Distillation, indices: Any) -> Distillation:
    """See ``gp.distillation.Distillation.without``."""
    given = np.asarray(indices).reshape(-1)
    if len(given) and given.dtype.kind not in "iu":
        raise UsageError(
            f"without takes row ids, which are integers; got {given.dtype} (of a mask, np.flatnonzero gives them)"
        )
    gone = np.unique(given.astype(np.int64))
    unknown = gone[~np.isin(gone, d.row_ids)]
    if len(unknown):
        raise IndexOutOfRange(f"row {unknown[0]} is not among the {d.examples} training rows")
    keep = torch.from_numpy(~np.isin(d.row_ids, gone))
    left = int(keep.sum())
    if left < 2:
        raise TooFewPoints(f"without these, {left} of {d.examples} rows would remain; a GP needs two")
    return _reduced(d, keep)


def _reduced(d: Distillation, keep: torch.Tensor) -> Distillation:
    sums = d.passed.sums
    for block in Kept(d.rows, ~keep).blocks():
        sums = sums.remove(*block.flat())
    rows = Kept(d.rows, keep)
    unseen = None if d.passed.held is None else d.passed.held[keep]
    passed = with_unseen(Pass(sums, resampled(rows), None, rows.examples, unseen), rows)
    posterior = fitted(passed, d.metric, d.posterior.noise, d.center, rows)
    return replace(d, posterior=posterior, passed=passed, rows=rows, row_ids=d.row_ids[keep.numpy()])
