"""What the search aims at: unit gradients at chosen points, where they mean something, and what was left out.

Four cuts are made, each counted in `Targets.dropped`: rows that are not finite; rows whose gradient is zero or far
below the median (their direction is rounding error); for units that behave like a classifier's logit, rows far from
the decision boundary, where training no longer says anything about the direction; and whatever exceeds the number of
points the search needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interpret.errors import BadInput, DeadUnit, NameMismatch, TooFewPoints, UsageError
from symbolic import tangents as tangent_spaces

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Fewest usable points: below this neither a fit nor a held-out check is possible.
FEWEST = 16
#: A gradient below this share of the median norm has no trustworthy direction.
NORM_FLOOR = 0.02
#: A unit whose values change sign and reach this magnitude is read as a logit (a probability of 0.9975).
LOGIT_REACH = 6.0
#: The link is fitted and judged on this many rows, drawn from all of them.
LINK_POINTS = 3_000
#: An input is effective when its share of the squared direction, in units of its own spread, exceeds this.
EFFECTIVE_SHARE = 1e-7
#: One input is alone when the others together have less than this share.
ALONE_SHARE = 1e-3


@dataclass(frozen=True)
class Targets:
    """Unit gradients to match. All arrays are float64; N counts the points kept.

    ``points`` (N, d), ``directions`` (N, d) with rows of length one, ``norms`` (N,) of the raw gradients, ``values``
    (N,) of the unit or None, ``weights`` (N,) summing to N, ``fit`` and ``held_out`` disjoint row indices,
    ``rows`` (N,) are their rows in the data given; ``everywhere``` holds points and values of all
    rows, also of those whose gradient is not used; ``projector`` (d, d), (N, d, d) or None: the orthogonal projection
    to the data's tangent space.
    """

    points: Array
    directions: Array
    norms: Array
    values: Array | None
    weights: Array
    fit: Indices
    held_out: Indices
    names: tuple[str, ...]
    rows: Indices
    projector: Array | None = None
    manifold_dimension: int = 0
    effective_inputs: tuple[int, ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    unit_norms: bool = field(default=False)
    everywhere: tuple[Array, Array] | None = field(default=None, repr=False)

    @property
    def width(self) -> int:
        """The number of inputs d."""
        return int(self.points.shape[1])

    def project(self, gradients: Array, rows: Indices | slice = slice(None)) -> Array:
        """Gradients (..., n, d) at the given rows, projected to the tangent space there."""
        if self.projector is None:
            return gradients
        if self.projector.ndim == 2:
            return np.asarray(gradients @ self.projector)
        return np.asarray(np.einsum("...nd,nde->...ne", gradients, self.projector[rows]))

    def with_directions(self, directions: Array) -> Targets:
        """The same points with other unit gradients: what controls and repeats are made of."""
        from dataclasses import replace

        return replace(self, directions=directions)


def build(
    points: ArrayLike,
    gradients: ArrayLike,
    values: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    fit_points: int = 500,
    held_out_points: int = 1_000,
    focus: str = "auto",
    link_points: int = LINK_POINTS,
) -> Targets:
    """Choose points and make them targets.

    Args:
        points: (N, d) inputs.
        gradients: (N, d) gradients of the unit there, of any length.
        values: (N,) the unit's values; without them there is no link and no focus.
        names: d column names; ``x0, x1, …`` without.
        seed: of the split.
        fit_points: at most this many rows to fit on.
        held_out_points: at most this many rows to judge on.
        focus: "boundary" keeps rows near the sign change of the values, "all" keeps every row, "auto" decides by
            whether the values look like a logit.
        link_points: at most this many rows to fit and judge the link on.

    Raises:
        BadInput: shapes do not fit or nothing is finite.
        DeadUnit: the gradients vanish everywhere.
        TooFewPoints: fewer than 16 rows are usable.
        NameMismatch: names are duplicated or too few.
    """
    if focus not in ("auto", "all", "boundary"):
        raise UsageError(f"focus must be 'auto', 'all' or 'boundary', got {focus!r}")
    x, g, v = _arrays(points, gradients, values)
    columns = _names(names, x.shape[1])
    dropped: list[tuple[str, int]] = []
    notes: list[str] = []
    rows = _usable(x, g, v, dropped)
    x, g = x[rows], g[rows]
    v = None if v is None else v[rows]
    projector, dimension, note = tangent_spaces.estimate(x)
    if note:
        notes.append(note)
        g = _apply(projector, g)
    # The gradient in a column that never varies says nothing that the data could confirm.
    g = np.where(x.std(0) > 0, g, 0.0)
    # Gradients of any size: their squares must neither vanish nor overflow.
    size = float(np.abs(g).max()) or 1.0
    g = g / size
    keep = _directed(g, v, dropped)
    keep = keep[_near_boundary(v, keep, focus, dropped, notes)]
    if len(keep) < FEWEST:
        raise TooFewPoints(
            f"{len(keep)} points remain after dropping {_counts(dropped)}; at least {FEWEST} are needed"
        )
    keep, fit, held = _split(keep, seed, fit_points, held_out_points, dropped)
    norms = np.linalg.norm(g[keep], axis=1)
    directions = g[keep] / norms[:, None]
    local = projector if projector is None or projector.ndim == 2 else projector[keep]
    return Targets(
        points=x[keep],
        directions=directions,
        norms=norms * size,
        values=None if v is None else v[keep],
        weights=np.ones(len(keep)),
        fit=fit,
        held_out=held,
        names=columns,
        rows=rows[keep],
        projector=local,
        manifold_dimension=dimension,
        effective_inputs=effective(x[keep], directions),
        dropped=tuple(dropped),
        notes=tuple(notes),
        everywhere=None if v is None else _sample(x, v, seed, link_points),
        unit_norms=bool(np.ptp(norms) < 1e-6 * norms.max()),
    )


def _sample(x: Array, v: Array, seed: int, count: int) -> tuple[Array, Array]:
    """Points and values from all rows, near the boundary or not: what the link is fitted to."""
    order = np.random.default_rng([seed, 4]).permutation(len(x))[:count]
    return x[order], v[order]


def effective(points: Array, directions: Array) -> tuple[int, ...]:
    """Inputs that the direction depends on: their share of it, measured in units of their own spread.

    Where one input has all but a thousandth of it, it is the only one: the rest is what training left.
    """
    scaled = (directions * points.std(0)) ** 2
    share = (scaled / np.maximum(scaled.sum(1, keepdims=True), 1e-300)).mean(0)
    if share.max() > 1 - ALONE_SHARE:
        return (int(np.argmax(share)),)
    return tuple(int(i) for i in np.flatnonzero(share > EFFECTIVE_SHARE))


def _arrays(
    points: ArrayLike, gradients: ArrayLike, values: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    try:
        x, g = np.asarray(points, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
        v = None if values is None else np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise BadInput(f"points, gradients and values must be arrays of numbers: {error}") from error
    if x.ndim != 2 or x.shape[1] == 0:
        raise BadInput(f"points must have shape (N, d), got {x.shape}")
    if g.shape != x.shape:
        raise BadInput(f"gradients must have the points' shape {x.shape}, got {g.shape}")
    if v is not None and len(v) != len(x):
        raise BadInput(f"values must have {len(x)} entries, one for each point, got {len(v)}")
    return x, g, v


def _names(names: Sequence[str] | None, width: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"x{i}" for i in range(width))
    found = tuple(str(name) for name in names)
    if len(found) != width:
        raise NameMismatch(f"{len(found)} names for {width} columns")
    if len(set(found)) != width:
        twice = next(name for name in found if found.count(name) > 1)
        raise NameMismatch(f"the column name {twice[:60]!r} occurs twice")
    if any("\0" in name for name in found):
        raise NameMismatch("a column name contains NUL")
    return found


def _usable(x: Array, g: Array, v: Array | None, dropped: list[tuple[str, int]]) -> Indices:
    finite = np.isfinite(x).all(1) & np.isfinite(g).all(1)
    if v is not None:
        finite &= np.isfinite(v)
    if len(x) == 0 or not finite.any():
        raise BadInput(f"none of the {len(x)} rows is finite in points, gradients and values")
    if not finite.all():
        dropped.append(("not finite", int((~finite).sum())))
    return np.flatnonzero(finite)


def _directed(g: Array, v: Array | None, dropped: list[tuple[str, int]]) -> Indices:
    """Rows whose gradient is long enough to have a direction."""
    norms = np.linalg.norm(g, axis=1)
    if not norms.any():
        raise DeadUnit(
            f"the gradient is zero at all {len(g)} points: the unit is constant or saturated there; "
            f"look at other data, or at the value before the last activation"
        )
    p = _probability(v)
    if p is not None:
        norms = norms / np.maximum(p * (1 - p), 1e-12)
    positive = norms > 0
    floor = NORM_FLOOR * np.median(norms[positive])
    if not positive.all():
        dropped.append(("zero gradient", int((~positive).sum())))
    small = positive & (norms < floor)
    if small.any():
        dropped.append((f"gradient below {NORM_FLOOR:g} of the median", int(small.sum())))
    return np.flatnonzero(positive & ~small)


def _probability(v: Array | None) -> Array | None:
    """The values where they are probabilities (a sigmoid or softmax output), else None."""
    if v is None or v.min() < 0 or v.max() > 1 or np.ptp(v) < 0.2:
        return None
    return v


def _near_boundary(
    v: Array | None, keep: Indices, focus: str, dropped: list[tuple[str, int]], notes: list[str]
) -> Indices:
    """Positions in ``keep`` near the decision boundary, where the values are those of a classifier."""
    everything = np.arange(len(keep))
    if v is None or focus == "all":
        return everything
    p = _probability(v)
    if p is not None and (p.min() > 0.25 or p.max() < 0.75) and focus == "auto":
        return everything
    score = (
        v[keep] if p is None else np.log(np.clip(p[keep], 1e-12, 1)) - np.log(np.clip(1 - p[keep], 1e-12, 1))
    )
    size = np.abs(score)
    both = min((score > 0).mean(), (score < 0).mean()) > 0.02 if len(score) else False
    if focus == "auto" and not (both and np.quantile(size, 0.9) > LOGIT_REACH):
        return everything
    fewest = min(len(keep), max(400, len(keep) // 5))
    limit = max(LOGIT_REACH, float(np.partition(size, fewest - 1)[fewest - 1]))
    near = np.flatnonzero(size <= limit)
    if p is not None:
        notes.append("the values are probabilities: points were chosen by their logit")
    if len(near) < len(keep):
        dropped.append((f"further than {limit:.3g} from the decision boundary", len(keep) - len(near)))
    return near


def _split(
    keep: Indices, seed: int, fit_points: int, held_out_points: int, dropped: list[tuple[str, int]]
) -> tuple[Indices, Indices, Indices]:
    """Rows kept, and disjoint positions among them to fit and to judge on."""
    order = np.random.default_rng(seed).permutation(len(keep))
    fit_count = min(fit_points, (len(keep) + 1) // 2)
    chosen = order[: fit_count + min(held_out_points, len(keep) - fit_count)]
    if len(chosen) < len(keep):
        dropped.append(("more than the search needs", len(keep) - len(chosen)))
    return keep[chosen], np.arange(fit_count), np.arange(fit_count, len(chosen))


def _apply(projector: Array | None, g: Array) -> Array:
    if projector is None:
        return g
    return np.asarray(g @ projector if projector.ndim == 2 else np.einsum("nd,nde->ne", g, projector))


def _counts(dropped: list[tuple[str, int]]) -> str:
    return ", ".join(f"{count} ({why})" for why, count in dropped) or "none"
