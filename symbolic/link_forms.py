"""Closed forms of the link: φ(z) = a + b·h(z), where h rises strictly and has at most two inner parameters.

For given inner parameters a and b are a regression line, so that 1 − R² is one minus a squared correlation:
a grid over the inner parameters, then Nelder–Mead from its best point (variable projection; Golub & Pereyra,
1973).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: A loss and the place it belongs to.
Corner = tuple[float, Array]


@dataclass(frozen=True)
class Form:
    """``basis(z, inner)`` is h, NaN outside its domain; ``grid(z)`` proposes inner parameters; ``describe``
    writes φ(t).
    """

    basis: Callable[[Array, Array], Array]
    grid: Callable[[Array], list[tuple[float, ...]]]
    describe: Callable[[float, float, tuple[float, ...], float, float], str]
    allowed: Callable[[Array, Array], bool] = lambda z, inner: True


def fit_form(form: Form, z: Array, g: Array) -> tuple[float, ...] | None:
    """(a, b, *inner) that fit g best, or None where no proposal is defined at every point."""
    starts = form.grid(z)
    losses = [_loss(np.array(start), form, z, g) for start in starts]
    best = int(np.argmin(losses))
    if not losses[best] < 1:
        return None
    inner = np.array(starts[best])
    if len(inner):
        inner = _polish(inner, form, z, g)
    h = form.basis(z, inner)
    h_mean, g_mean = h.mean(), g.mean()
    slope = float(((h - h_mean) * (g - g_mean)).sum() / ((h - h_mean) ** 2).sum())
    return (float(g_mean - slope * h_mean), slope, *(float(p) for p in inner))


def _polish(start: Array, form: Form, z: Array, g: Array, rounds: int = 200) -> Array:
    """Nelder–Mead (1965) from the best start; its simplex slides along the edges of a form's domain."""

    def loss(inner: Array) -> float:
        return _loss(inner, form, z, g)

    corners = [start]
    for k, value in enumerate(start):
        moved = start.copy()
        moved[k] += 0.05 * value or 2.5e-4
        corners.append(moved)
    simplex = sorted(((loss(corner), corner) for corner in corners), key=_first)
    for _ in range(rounds):
        (least, best), (most, worst) = simplex[0], simplex[-1]
        reach = max(np.abs(corner - best).max() for _, corner in simplex)
        if reach < 1e-9 or most - least < 1e-7 * least + 1e-15:
            break
        middle = np.mean([corner for _, corner in simplex[:-1]], axis=0)
        simplex = sorted(_moved(simplex, middle, middle - worst, loss), key=_first)
    return simplex[0][1]


def _moved(simplex: list[Corner], middle: Array, away: Array, loss: Callable[[Array], float]) -> list[Corner]:
    """The simplex with its worst corner reflected, stretched or drawn in, or all corners drawn to the best."""
    least, second, most = simplex[0][0], simplex[-2][0], simplex[-1][0]
    value = loss(middle + away)
    if value < least:
        further = loss(middle + 2 * away)
        if further < value:
            return [*simplex[:-1], (further, middle + 2 * away)]
    if value < second or (len(simplex) == 2 and value < least):
        return [*simplex[:-1], (value, middle + away)]
    inside = middle + (0.5 if value < most else -0.5) * away
    drawn = loss(inside)
    if drawn < min(value, most):
        return [*simplex[:-1], (drawn, inside)]
    best = simplex[0][1]
    halved = [best + 0.5 * (corner - best) for _, corner in simplex[1:]]
    return [simplex[0], *((loss(corner), corner) for corner in halved)]


def _first(corner: Corner) -> float:
    return corner[0]


def _loss(inner: Array, form: Form, z: Array, g: Array) -> float:
    if not form.allowed(z, inner):
        return 2.0
    with np.errstate(all="ignore"):
        h = form.basis(z, inner)
        if not np.isfinite(h).all():
            return 2.0
        h = h - h.mean()
        r = g - g.mean()
        spread = float(h @ h) * float(r @ r)
        # The residual itself, not 1 − ρ², which would lose all digits of a perfect fit.
        residual = r - h * (float(h @ r) / max(float(h @ h), 1e-300))
    return float(residual @ residual) / float(r @ r) if np.isfinite(spread) and spread > 0 else 2.0


def _number(value: float) -> str:
    return f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {_number(abs(value))}"


def _line(offset: float, slope: float, inner: tuple[float, ...], center: float, scale: float) -> str:
    b = slope / scale
    return f"{_number(b)}·t {_signed(offset - b * center)}"


def _logistic(z: Array, inner: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(np.clip(-np.exp(inner[0]) * (z - inner[1]), -700, 700))))


def _middle_inside(z: Array, inner: Array) -> bool:
    # A step whose middle lies outside the data is an exponential in disguise.
    return bool(z.min() <= inner[1] <= z.max())


def _describe_logistic(
    offset: float, slope: float, inner: tuple[float, ...], center: float, scale: float
) -> str:
    k = float(np.exp(inner[0])) / scale
    middle = center + scale * inner[1]
    return f"{_number(offset)} {_signed(slope)}·σ({_number(k)}·(t {_signed(-middle)}))"


def _exponential(z: Array, inner: Array) -> Array:
    # Divided by k, so that h rises for either sign; k → 0 is the straight line.
    k = inner[0] if inner[0] != 0 else 1e-12
    return np.asarray(np.expm1(k * z) / k)


def _describe_exponential(
    offset: float, slope: float, inner: tuple[float, ...], center: float, scale: float
) -> str:
    k = inner[0]
    factor = slope / k * float(np.exp(-k * center / scale))
    return f"{_number(offset - slope / k)} {_signed(factor)}·exp({_number(k / scale)}·t)"


def _logarithm(z: Array, inner: Array) -> Array:
    # inner: on which side of the pole the data lie, and the logarithm of the distance of the nearest point
    # to it.
    side, gap = float(np.sign(inner[0])) or 1.0, float(np.exp(inner[1]))
    argument = side * z + abs(inner[0]) + gap
    return np.asarray(side * np.log(np.where(argument > 0, argument, np.nan)))


def _log_grid(z: Array) -> list[tuple[float, ...]]:
    gaps = np.linspace(-8, 3, 23)
    edges = (max(-float(z.min()), 1e-9), -max(float(z.max()), 1e-9))
    return [(edge, float(gap)) for edge, gap in product(edges, gaps)]


def _describe_logarithm(
    offset: float, slope: float, inner: tuple[float, ...], center: float, scale: float
) -> str:
    side = float(np.sign(inner[0])) or 1.0
    shift = abs(inner[0]) + float(np.exp(inner[1]))
    pole = scale * shift - side * center
    sign = "" if side > 0 else "-"
    return (
        f"{_number(offset - slope * side * float(np.log(scale)))} "
        f"{_signed(slope * side)}·log({sign}t {_signed(pole)})"
    )


def _power(z: Array, inner: Array) -> Array:
    shifted = z - inner[0]
    return np.asarray(np.sign(shifted) * np.abs(shifted) ** float(np.exp(inner[1])))


def _sensible_power(z: Array, inner: Array) -> bool:
    # A power near zero is a logarithm in disguise.
    return bool(np.log(0.2) <= inner[1] <= np.log(9) and abs(inner[0]) < 50)


def _power_grid(z: Array) -> list[tuple[float, ...]]:
    low, high = float(z.min()), float(z.max())
    middle = np.quantile(z, np.linspace(0.05, 0.95, 7))
    places = [low - 2, low - 0.5, low, *map(float, middle), high, high + 0.5, high + 2]
    return list(product(places, map(float, np.log([0.25, 1 / 3, 0.5, 0.7, 1.5, 2, 3, 4, 5]))))


def _describe_power(
    offset: float, slope: float, inner: tuple[float, ...], center: float, scale: float
) -> str:
    p = float(np.exp(inner[1]))
    place = center + scale * inner[0]
    return f"{_number(offset)} {_signed(slope / scale**p)}·sgn(u)|u|^{_number(p)}, u = t {_signed(-place)}"


def _rates(z: Array) -> list[tuple[float, ...]]:
    sizes = np.geomspace(0.05, 6, 16)
    return [(float(sign * size),) for sign in (1, -1) for size in sizes]


def _steps(z: Array) -> list[tuple[float, ...]]:
    middles = np.quantile(z, np.linspace(0.02, 0.98, 9))
    return list(product(map(float, np.log(np.geomspace(0.3, 30, 10))), map(float, middles)))


#: From the simplest.
FORMS: dict[str, Form] = {
    "affine": Form(lambda z, inner: z, lambda z: [()], _line),
    "exp": Form(_exponential, _rates, _describe_exponential),
    "log": Form(_logarithm, _log_grid, _describe_logarithm),
    "power": Form(_power, _power_grid, _describe_power, _sensible_power),
    "logit": Form(_logistic, _steps, _describe_logistic, _middle_inside),
}
