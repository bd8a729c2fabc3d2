"""The link φ: the strictly monotone map from a formula's value T(x) to the neuron's value g(x).

An isotonic regression (pool adjacent violators; Barlow et al., 1972) shows whether any monotone map fits.
Closed forms are then tried: the straight line is taken where it fits as well, otherwise the best of exp, log,
power and logit. All are fitted and chosen on the fitting rows; R² is of the held-out ones, where a point
outside the domain of T or φ counts as if the mean had been predicted.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interpret.errors import BadInput, TooFewPoints
from symbolic.isotonic import isotonic
from symbolic.link_forms import FORMS, Form, fit_form

Array = NDArray[np.float64]

#: A closed form is taken when its unexplained share of variance is at most this many times the isotonic
#: fit's …
SLACK = 1.5
#: … plus this.
TOLERANCE = 5e-4
#: An isotonic fit with a flat stretch over more than this share of the points is not strictly monotone.
FLAT = 0.1
#: Values within this share of the largest are equal: float32 holds no more, and networks are run in it.
PRECISION = 4 * float(np.finfo(np.float32).eps)
#: A flat end is saturation where this many levels lie within this share of the range next to it: a curve that bends
#: towards its limit passes there, one that breaks off at it does not.
APPROACH, NEAR = 3, 1e-4
_FEWEST = 8
_MOST = 4_000


@dataclass(frozen=True, eq=False)
class Link:
    """φ, in the neuron's own units. ``kind`` is a closed form's name or "isotonic"; ``r2`` is on held-out
    rows.

    ``increasing`` is its direction and ``monotone`` says that it is strictly so over the fitting rows.
    ``knots`` and ``levels`` tabulate φ; ``parameters`` are those of the closed form on (T −
    ``center``)/``scale``.
    """

    kind: str
    r2: float
    fitted_r2: float
    increasing: bool
    monotone: bool
    knots: Array
    levels: Array
    center: float = 0.0
    scale: float = 1.0
    parameters: tuple[float, ...] = field(default=())

    def __eq__(self, other: object) -> bool:
        # By content: the generated comparison cannot compare arrays.
        return isinstance(other, Link) and self.to_plain() == other.to_plain()

    def __hash__(self) -> int:
        return hash((self.kind, self.parameters, self.knots.tobytes(), self.levels.tobytes()))

    def predict(self, t: ArrayLike) -> Array:
        """φ(t) for t (N,): NaN where t is not finite or outside the closed form's domain; beyond the table,
        its ends' slopes.
        """
        values = np.asarray(t, dtype=np.float64)
        if self.kind != "isotonic":
            offset, slope, *inner = self.parameters
            with np.errstate(all="ignore"):
                basis = FORMS[self.kind].basis((values - self.center) / self.scale, np.array(inner))
            return np.asarray(np.where(np.isfinite(basis), offset + slope * basis, np.nan))
        return _interpolate(values, self.knots, self.levels)

    @property
    def text(self) -> str:
        """φ in words for a reader, with rounded numbers."""
        if self.kind == "isotonic":
            return f"monotone {'increasing' if self.increasing else 'decreasing'}, no closed form"
        offset, slope, *inner = self.parameters
        return FORMS[self.kind].describe(offset, slope, tuple(inner), self.center, self.scale)

    def to_plain(self) -> dict[str, Any]:
        """The link as plain data for JSON; `from_plain` reads it back."""
        plain = asdict(self) | {"knots": self.knots.tolist(), "levels": self.levels.tolist()}
        return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in plain.items()}

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Link:
        """The link of `to_plain`.

        Raises:
            BadInput: a field is missing, unknown or of the wrong kind.
        """
        try:
            values: dict[str, Any] = {key: math.nan if v is None else v for key, v in plain.items()}
            values["knots"] = np.asarray(values["knots"], dtype=np.float64)
            values["levels"] = np.asarray(values["levels"], dtype=np.float64)
            values["parameters"] = tuple(float(p) for p in values["parameters"])
            link = Link(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"not the JSON of a link: {error}") from error
        if link.kind != "isotonic" and link.kind not in FORMS:
            raise BadInput(f"unknown kind of link {link.kind!r:.40}; known are isotonic, {', '.join(FORMS)}")
        return link


def fit_link(t: ArrayLike, g: ArrayLike, t_held_out: ArrayLike, g_held_out: ArrayLike) -> Link:
    """Fit φ to T-values and neuron values on fitting rows (N,), and score it on held-out rows (M,).

    Raises:
        BadInput: lengths differ, or the neuron's values are not finite.
        TooFewPoints: T is finite at fewer than eight fitting rows.
    """
    fit_t, fit_g = _pair(t, g, "fitting")
    held_t, held_g = _pair(t_held_out, g_held_out, "held-out")
    finite = np.isfinite(fit_t)
    if finite.sum() < _FEWEST:
        raise TooFewPoints(f"the formula is finite at {finite.sum()} fitting rows; a link needs {_FEWEST}")
    rows = np.flatnonzero(finite)
    rows = rows[:: max(1, math.ceil(len(rows) / _MOST))]
    link = _choose(fit_t[rows], fit_g[rows])
    fitted = r_squared(fit_g[rows], link.predict(fit_t[rows]))
    return replace(link, fitted_r2=fitted, r2=r_squared(held_g, link.predict(held_t)))


def r_squared(g: Array, predicted: Array) -> float:
    """1 − residual variance / variance; rows without a prediction count as predicted by the mean. NaN for
    constant g.
    """
    mean = g.mean() if len(g) else math.nan
    total = float(((g - mean) ** 2).sum())
    if not total > 0:
        return math.nan
    filled = np.where(np.isfinite(predicted), predicted, mean)
    return 1.0 - float(((g - filled) ** 2).sum()) / total


def _pair(t: ArrayLike, g: ArrayLike, rows: str) -> tuple[Array, Array]:
    a, b = np.asarray(t, dtype=np.float64).ravel(), np.asarray(g, dtype=np.float64).ravel()
    if len(a) != len(b):
        raise BadInput(f"{len(a)} formula values and {len(b)} neuron values at the {rows} rows")
    if not np.isfinite(b).all():
        first = int(np.flatnonzero(~np.isfinite(b))[0])
        raise BadInput(f"the neuron's value at {rows} row {first} is not finite")
    return a, b


def _choose(t: Array, g: Array) -> Link:
    isotonic = _isotonic(t, g)
    scale = float(t.std())
    if not (scale > 0 and g.std() > 0):
        return isotonic
    center = float(t.mean())
    z = (t - center) / scale
    enough = SLACK * (1 - r_squared(g, isotonic.predict(t))) + TOLERANCE
    best, least = isotonic, enough
    for name, form in FORMS.items():
        parameters = fit_form(form, z, g)
        if parameters is None:
            continue
        link = _closed(name, form, parameters, t, center, scale)
        missed = 1 - r_squared(g, link.predict(t))
        if missed <= least:
            best, least = link, missed
        if name == "affine" and missed <= enough:
            break
    return best


def _closed(
    name: str, form: Form, parameters: tuple[float, ...], t: Array, center: float, scale: float
) -> Link:
    knots = np.linspace(t.min(), t.max(), 64)
    offset, slope, *inner = parameters
    levels = offset + slope * form.basis((knots - center) / scale, np.array(inner))
    # Every form rises strictly by construction; its levels may be equal where float64 ends, as those of σ beyond 37.
    strict = bool(np.isfinite(levels).all() and slope != 0)
    return Link(name, math.nan, math.nan, slope > 0, strict, knots, levels, center, scale, parameters)


def _isotonic(t: Array, g: Array) -> Link:
    """Pooled blocks, joined by straight lines through their centroids: strictly monotone but for single-block fits and
    long flat stretches. A saturated end, flat because the unit's precision ends, is no such stretch.
    """
    fits: list[tuple[float, bool, Array]] = []
    for increasing in (True, False):
        levels = isotonic(t, g, increasing)
        fits.append((float(((g - levels) ** 2).sum()), increasing, levels))
    _, increasing, levels = min(fits, key=lambda fit: fit[0])
    values, block = np.unique(levels, return_inverse=True)
    counts = np.bincount(block)
    knots = np.bincount(block, weights=t) / counts
    order = np.argsort(knots)
    flat = max(FLAT * len(t), 5)
    long = np.flatnonzero(counts > flat)
    strict = len(values) > 1 and all(_saturated(values, g[block == k], int(k)) for k in long)
    return Link("isotonic", math.nan, math.nan, increasing, strict, knots[order], values[order])


def _saturated(levels: Array, own: Array, k: int) -> bool:
    """Whether block k of the sorted levels is an end where the unit's values ``own`` are equal within their precision
    and are approached gradually.
    """
    if k not in (0, len(levels) - 1) or np.ptp(own) > PRECISION * np.abs(levels).max():
        return False
    others = np.delete(levels, k)
    return int((np.abs(others - levels[k]) < NEAR * np.ptp(levels)).sum()) >= APPROACH


def _interpolate(t: Array, knots: Array, levels: Array) -> Array:
    if len(knots) == 1:
        return np.where(np.isfinite(t), levels[0], np.nan)
    inside = np.interp(t, knots, levels)
    first = _slope(knots[:2], levels[:2])
    last = _slope(knots[-2:], levels[-2:])
    below = levels[0] + first * (t - knots[0])
    above = levels[-1] + last * (t - knots[-1])
    extended = np.where(t < knots[0], below, np.where(t > knots[-1], above, inside))
    return np.asarray(np.where(np.isfinite(t), extended, np.nan))


def _slope(knots: Array, levels: Array) -> float:
    width = knots[1] - knots[0]
    return float((levels[1] - levels[0]) / width) if width > 0 else 0.0
