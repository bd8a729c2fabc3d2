"""Many inputs: linear formulas over all of them, functions of the stronger ones, the whole grammar over the strongest.

A formula over a few inputs S needs few columns: its gradient has no others, so all that matters of the unit's
direction elsewhere is how long that part is. `compressed` keeps the columns of S and one more that holds it; every
cosine stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from symbolic.targets import Targets

Array = NDArray[np.float64]

#: More effective inputs than this are screened.
MANY = 7
#: Linear formulas are sought over at most this many inputs.
WIDEST = 64
#: Inputs that get functions of one input, and the whole grammar.
STRONG, STRONGEST = 20, 6


def importance(targets: Targets) -> Array:
    """The share (d,) of every input in the direction, measured in units of its spread."""
    scaled = (targets.directions * targets.points.std(0)) ** 2
    share = scaled / np.maximum(scaled.sum(1, keepdims=True), 1e-300)
    return np.asarray(share.mean(0))


def strongest(targets: Targets, count: int) -> tuple[int, ...]:
    """The ``count`` effective inputs of the largest share, in their own order."""
    weight = importance(targets)
    ranked = sorted(targets.effective_inputs, key=lambda i: (-weight[i], i))
    return tuple(sorted(ranked[:count]))


def compressed(targets: Targets, inputs: Sequence[int]) -> Targets:
    """The same problem for formulas in ``inputs`` only, in len(inputs) + 1 columns.

    With a common projector P, gradients G restricted to S are compared as G·P[S]: the rows of P[S] are written in an
    orthonormal basis of their span, and the new projector holds the coordinates.
    """
    chosen = list(inputs)
    count, size = len(targets.points), len(chosen)
    if targets.projector is None:
        inside, mixing = targets.directions[:, chosen], None
    else:
        # P[S] = mixing · basis with orthonormal rows of basis.
        basis, upper = np.linalg.qr(targets.projector[chosen].T)
        inside = targets.directions @ basis
        mixing = np.zeros((size + 1, size + 1))
        mixing[:size, :size] = upper.T
    rest = np.sqrt(np.maximum(1 - (inside**2).sum(1), 0.0))
    points = np.zeros((count, size + 1))
    points[:, :size] = targets.points[:, chosen]
    return replace(
        targets,
        points=points,
        directions=np.column_stack([inside, rest]),
        projector=mixing,
        names=(*(targets.names[i] for i in chosen), "rest"),
        effective_inputs=tuple(range(size)),
    )


def can_compress(targets: Targets) -> bool:
    """Whether one projector (or none) serves all points."""
    return targets.projector is None or targets.projector.ndim == 2
