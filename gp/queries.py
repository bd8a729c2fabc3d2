"""Queries in the forms that users have them: one example or a batch, inputs of the model or features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interpret.errors import BadInput
from interpret.probing.batches import rows_of

if TYPE_CHECKING:
    from gp.distillation import Distillation


def as_queries(d: Distillation, x: Any) -> tuple[Any, bool]:
    """A batch, and whether it was one example."""
    if d.map is None:
        return shaped(d, x), np.ndim(x) == 1
    if d.ndim is not None and getattr(x, "ndim", None) == d.ndim - 1:
        return np.asarray(x)[None] if hasattr(x, "to_frame") else x[None], True
    shape = getattr(x, "shape", None)
    return x, (shape is not None and len(x) == 1) or (shape is None and rows_of(x) == 1)


def shaped(d: Distillation, H: Any) -> torch.Tensor:
    """(G, N, P, D) float64 from features in the forms that ``predict_features`` takes.

    Raises:
        BadInput: another width, or a value that is not finite.

    """
    h = torch.as_tensor(np.asarray(H) if not isinstance(H, torch.Tensor) else H).double()
    center = d.posterior.basis.center
    groups, width = center.shape
    places = int(np.prod(d.places, dtype=np.int64))
    h = h[None] if h.ndim == 1 else h
    if h.ndim < 4:
        h = h.reshape(1, len(h), -1, h.shape[-1])
    if h.shape[-1] != width or h.shape[2] != places or len(h) != groups:
        raise BadInput(f"expected features of shape {[groups, 'N', places, width]}; got {list(np.shape(H))}")
    if not bool(torch.isfinite(h).all()):
        raise BadInput("the features hold a value that is not finite; drop or fill it")
    return h.to(center)
