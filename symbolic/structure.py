"""Structure first: read off the gradients which inputs belong together, and solve the problem piece by piece.

After AI Feynman 2.0's graph modularity (Udrescu et al., 2020): if T = F(h(x_i, x_j), rest), the direction of
(∂T/∂x_i, ∂T/∂x_j) depends on x_i and x_j alone. Points that are neighbors in (x_i, x_j) and differ elsewhere show
whether it does. Then h is the concept of a problem with two inputs, found by the same search; with h in place of both
inputs the problem has one input fewer, and its gradient is known: ∂T/∂h = û·∇h/‖∇h‖². Units (inputs, or what was
found of them) merge in this way until nothing merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from symbolic.expression import Tree, Variable, substitute, value_and_gradient
from symbolic.neighborhood import another
from symbolic.targets import Targets

Array = NDArray[np.float64]

#: Neighbors in (u, v) must agree this much better than any two points for u and v to be tried together.
AGREEMENT = 0.15
#: A unit is formed where its own concept is aligned better than this.
CLEAR = 3e-3
#: A point counts where the two inputs carry at least this share of its direction.
SHARE = 0.05


@dataclass(frozen=True)
class Unit:
    """An input, or a formula that stands for several."""

    tree: Tree
    inputs: frozenset[int]


def inputs(targets: Targets) -> list[Unit]:
    """Every effective input as a unit of its own."""
    return [Unit(Variable(i), frozenset((i,))) for i in targets.effective_inputs]


def reduced(targets: Targets, units: Sequence[Unit]) -> Targets | None:
    """The problem in the units' values: points (N, k) and the direction's components along each unit.

    Rows where a unit's value or slope is not finite, or where the units carry too little of the direction, are left
    out; None where too few remain.
    """
    pairs = [value_and_gradient(unit.tree, targets.points) for unit in units]
    values = np.array([value for value, _ in pairs]).T
    with np.errstate(all="ignore"):
        slopes = np.array(
            [
                np.einsum("nd,nd->n", targets.directions, gradient) / (gradient**2).sum(1)
                for _, gradient in pairs
            ]
        ).T
        length = np.linalg.norm(slopes, axis=1)
        carried = np.sqrt(
            sum((slopes[:, k : k + 1] * pairs[k][1]) ** 2 for k in range(len(units))).sum(1)  # type: ignore[union-attr]
        )
    usable = np.isfinite(values).all(1) & np.isfinite(length) & (length > 0) & (carried > SHARE)
    fit = targets.fit[usable[targets.fit]]
    held = targets.held_out[usable[targets.held_out]]
    if len(fit) < 40 or len(held) < 20:
        return None
    directions = np.where(usable[:, None], slopes / np.where(usable, length, 1.0)[:, None], 1.0)
    return replace(
        targets,
        points=np.where(usable[:, None], values, 0.0),
        directions=directions,
        norms=np.ones(len(values)),
        fit=fit,
        held_out=held,
        names=tuple(f"u{k}" for k in range(len(units))),
        projector=None,
        manifold_dimension=len(units),
        effective_inputs=tuple(range(len(units))),
    )


def disagreement(targets: Targets) -> tuple[float, float]:
    """How much directions (N, 2) differ between neighbors in the two inputs, and between any two points.

    Both are means of 1 − |cos|, free of sign, as ∂T/∂h may have either.
    """
    rows = np.concatenate([targets.fit, targets.held_out])
    points, directions = targets.points[rows], targets.directions[rows]
    spread = points.std(0)
    scaled = points / np.where(spread > 0, spread, 1.0)
    near = another(scaled)
    other = np.roll(np.arange(len(rows)), len(rows) // 2)

    def apart(index: NDArray[np.int64]) -> float:
        cosine = np.abs((directions * directions[index]).sum(1))
        return float(np.mean(1 - np.minimum(cosine, 1.0)))

    return apart(near), apart(other)


def plausible(targets: Targets) -> bool:
    """Whether the two inputs of a reduced problem may form a unit of their own."""
    near, anywhere = disagreement(targets)
    return near < AGREEMENT * anywhere or near < 1e-4


def written(tree: Tree, units: Sequence[Unit]) -> Tree:
    """A formula of the reduced problem in the original inputs."""
    return substitute(tree, {k: unit.tree for k, unit in enumerate(units)})
