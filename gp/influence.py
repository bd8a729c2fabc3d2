"""Which training labels moved an output: the TRAK estimator in the geometry of any distilled kernel.

    τ(x, m) = u(x)ᵀ (UᵀU + ρI)⁻¹ u(x_m) · r_m

with r_m the residual of example m's label, one-hot minus probability: the first-order change of the head when example
m is trained on or not (Park et al., *TRAK*, ICML 2023, equation 13). Contributions of the GP explain what its
prediction is made of; this estimates what retraining would do, and only the linear datamodeling score can tell how
well (``benchmarks/attribution.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interpret.errors import BadInput

if TYPE_CHECKING:
    from gp.distillation import Distillation, Head
    from gp.kernels import Array

#: ρ as a share of Σ k(x_m, x_m): enough to pass over directions that only a few examples have.
RIDGE = 0.05


def influence(
    distillation: Distillation, X: Any, residuals: Any, head: Head = None, ridge: float = RIDGE
) -> Array:
    """Estimated effect of each training example on one head at each query, (N, M).

    Args:
        distillation: of any kernel, with its training rows; ``kernel="tangent"`` is TRAK's own.
        X: queries as the model takes them.
        residuals: (M,) or (M, L): one-hot label minus predicted probability, for classification.
        head: which head; its column of ``residuals`` is taken.
        ridge: ρ over the summed k(x_m, x_m).

    Raises:
        BadInput: residuals of another shape, or not finite.
        RowsNotStored: the training rows were not kept.

    """
    d = distillation
    flat = d.head(head)
    r = np.asarray(residuals, dtype=np.float64)
    if len(r) != d.examples:
        raise BadInput(f"residuals must be one for each of the {d.examples} training examples; got {len(r)}")
    if r.ndim > 2 or (r.ndim == 2 and r.shape[1] != len(d.heads)):
        raise BadInput(
            f"residuals are (M,) or (M, {len(d.heads)}), a column for each head; got {list(r.shape)}"
        )
    if not np.isfinite(r).all():
        raise BadInput("the residuals hold a value that is not finite")
    r = r[:, flat] if r.ndim == 2 else r
    group, place = d.group(flat), int(d.heads.place[flat])
    rows = torch.cat([z[group] for _, z in d.blocks()]).double()
    own = rows[:, place]
    gram = torch.einsum("npe,npf->ef", rows, rows)
    gram += ridge * gram.trace() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    query = d.query(X, flat).double()
    scores = query @ torch.linalg.solve(gram, own.T)
    result: Array = scores.cpu().numpy() * r
    return result
