"""Queries in the forms that users have them: one example or a batch, inputs of the model or features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interpret.errors import BadInput, NameMismatch
from interpret.probing.batches import rows_of

if TYPE_CHECKING:
    from gp.distillation import Distillation


def as_queries(d: Distillation, x: Any) -> tuple[Any, bool]:
    """A batch, and whether it was one example."""
    if d.map is None:
        return shaped(d, x), np.ndim(x) == 1
    x = ordered(d, x)
    if d.ndim is not None and getattr(x, "ndim", None) == d.ndim - 1:
        return np.asarray(x)[None] if hasattr(x, "to_frame") else x[None], True
    shape = getattr(x, "shape", None)
    return x, (bool(shape) and len(x) == 1) or (shape is None and rows_of(x) == 1)


def columns(X: Any) -> tuple[str, ...]:
    """The names of a table's columns, or of the entries of one row of it; () where there are none but numbers."""
    labels = getattr(X, "columns", getattr(X, "index", None))
    if not hasattr(X, "iloc") or labels is None:
        return ()
    names = [str(label) for label in labels]
    return () if names == [str(i) for i in range(len(names))] or X.ndim > 2 else tuple(names)


def ordered(d: Distillation, X: Any) -> Any:
    """A table with its columns as the training table had them; anything else as it is.

    Raises:
        NameMismatch: the columns have other names.

    """
    if not d.names or not hasattr(X, "iloc") or (X.ndim == 1 and len(X) != len(d.names)):
        return X
    found = columns(X)
    if not found or found == d.names:
        return X
    other = sorted({*found} ^ {*d.names})
    if other or len(found) != len(d.names):
        odd = f"{other[0]!r:.80} is in one only" if other else "a name is there twice"
        raise NameMismatch(
            f"the columns are not those of the training table: {odd}; it has {', '.join(d.names[:12])}"
        )
    at = [found.index(name) for name in d.names]
    return X.iloc[at] if X.ndim == 1 else X.iloc[:, at]


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
