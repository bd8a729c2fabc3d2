"""Figures of what a neuron computes: the frontier, the link, the gradient field, the angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from interpret.explanation import FormulaPart, FrontierRow, LinkFigure
from interpret.outcome import EXACT_MISALIGNMENT
from interpret.report.clean import close_to_one, number, visible
from interpret.report.figures import style

# Below this a misalignment is rounding; a log axis needs a floor.
_FLOOR = 1e-9


def frontier(rows: Sequence[FrontierRow]) -> Markup:
    """Held-out misalignment over complexity, a dot per row; the chosen one is ringed."""
    with style.drawing(*style.SIZE) as figure:
        where = style.axes(figure, style.BOX, "complexity (nodes)", "misalignment", log_y=True)
        x = np.array([row.complexity for row in rows], dtype=np.float64)
        y = np.clip([row.held_out for row in rows], _FLOOR, None)
        where.axhline(EXACT_MISALIGNMENT, color=style.MUTED, linewidth=0.9, dashes=(3, 3))
        where.plot(x, y, color=style.FORMULA, linewidth=1.1, alpha=0.45)
        for at, row in enumerate(rows):
            _frontier_dot(where, at, float(x[at]), float(y[at]), row)
        low, high = style.span(x, margin=0.08)
        where.set_xlim(low, high)
        where.set_ylim(*_decades([*y.tolist(), *(row.upper for row in rows), EXACT_MISALIGNMENT]))
        where.annotate(
            "EXACT below",
            (high, EXACT_MISALIGNMENT),
            (0, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            color=style.MUTED,
            fontsize=7.5,
        )
        titles = [_row_title(row) for row in rows]
        return style.to_svg(figure, f"Frontier of {len(rows)} formulas: misalignment over complexity", titles)


def _frontier_dot(where: Axes, at: int, x: float, y: float, row: FrontierRow) -> None:
    gid = f"data-row-{at}"
    if np.isfinite(row.upper) and row.upper > y:
        where.plot([x, x], [y, row.upper], color=style.FORMULA, linewidth=1.4, alpha=0.4)
    if row.chosen:
        where.plot([x, x], [y, y], color=style.FORMULA, linewidth=13, alpha=0.22, solid_capstyle="round")
    where.plot([x, x], [y, y], color=style.FORMULA, gid=gid)


def _row_title(row: FrontierRow) -> str:
    return f"{visible(row.expression)}\ncomplexity {row.complexity}, misalignment {number(row.held_out)}"


def _decades(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if np.isfinite(value) and value > 0]
    return 10 ** (np.floor(np.log10(min(finite)) * 2) / 2 - 0.15), 10 ** (
        np.ceil(np.log10(max(finite)) * 2) / 2
    )


def link(drawn: LinkFigure) -> Markup:
    """The neuron's values over T at held-out points, and the monotone map φ through them."""
    with style.drawing(*style.SIZE) as figure:
        where = style.axes(figure, style.BOX, "formula T(x)", "neuron g(x)")
        keep = style.thin_out(len(drawn.points_t), 400)
        style.dots(where, drawn.points_t[keep], drawn.points_g[keep], style.INK, 4.4, 0.3)
        order = np.argsort(drawn.t)[style.thin_out(len(drawn.t), 160)]
        where.plot(drawn.t[order], drawn.phi[order], color=style.FORMULA, linewidth=1.5, zorder=3)
        where.set_xlim(*style.span(drawn.points_t, drawn.t))
        where.set_ylim(*style.span(drawn.points_g, drawn.phi))
        return style.to_svg(figure, f"Link: neuron over formula, held-out R² {close_to_one(drawn.r2)}")


def field(part: FormulaPart, pair: tuple[int, int], units: Mapping[str, str] | None = None) -> Markup:
    """Unit gradients of network and formula at held-out points, in the plane of two inputs."""
    points, network, concept = _plane(part, pair)
    names = [_axis_name(part.names[at], units or {}) for at in pair]
    with style.drawing(*style.SIZE) as figure:
        where = style.axes(figure, style.BOX, *names)
        limits = style.span(points[:, 0], margin=0.09), style.span(points[:, 1], margin=0.09)
        length = 0.055 * np.array([limits[0][1] - limits[0][0], limits[1][1] - limits[1][0]])
        style.strokes(where, points, points + network * length, style.SOFT, 4.2)
        agree = np.abs((network * concept).sum(axis=1)) >= np.cos(np.deg2rad(15))
        tips = points + concept * length
        style.strokes(where, points[agree], tips[agree], style.FORMULA, 1.3)
        style.strokes(where, points[~agree], tips[~agree], style.WARN, 1.3)
        style.dots(where, points[:, 0], points[:, 1], style.INK, 2.2, 0.8, zorder=3)
        where.set_xlim(*limits[0])
        where.set_ylim(*limits[1])
        return style.to_svg(figure, f"Gradient field over {names[0]} and {names[1]}")


def _axis_name(name: str, units: Mapping[str, str]) -> str:
    unit = f" ({visible(units[name], 12)})" if units.get(name) else ""
    return visible(name, 48) + unit


def _plane(part: FormulaPart, pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points and both directions in the plane, unit length again, at no more than 150 well-spread points."""
    rows = _spread(part.points[:, list(pair)], 150)
    network, concept = (at[rows][:, list(pair)] for at in (part.directions, part.formula_directions))
    sign = np.sign((network * concept).sum(axis=1)).sum() or 1.0
    return part.points[rows][:, list(pair)], _unit(network), _unit(np.sign(sign) * concept)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _spread(points: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` rows: the first in each cell of a grid over ``points`` (N, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = int(np.sqrt(most))
    cells = np.floor((points - low) / np.maximum(high - low, 1e-12) * (side - 1e-9)).astype(np.int64)
    return np.sort(np.unique(cells[:, 0] * side + cells[:, 1], return_index=True)[1])


def main_pair(part: FormulaPart) -> tuple[int, int] | None:
    """The two inputs the network's gradient leans on most; None with fewer than two inputs."""
    if part.points.ndim != 2 or part.points.shape[1] < 2 or len(part.points) < 2:
        return None
    if part.formula_directions.shape != part.points.shape:
        return None
    weight = np.nan_to_num(np.abs(part.directions)).mean(axis=0)
    first, second = np.sort(np.argsort(-weight, kind="stable")[:2])
    return int(first), int(second)


def angles(cosines: np.ndarray) -> Markup:
    """How many held-out points lie within each angle between the two gradients."""
    degrees = np.sort(np.rad2deg(np.arccos(np.clip(np.abs(cosines[np.isfinite(cosines)]), 0, 1))))
    share = (np.arange(len(degrees)) + 1) / max(len(degrees), 1)
    with style.drawing(*style.SIZE) as figure:
        where = style.axes(figure, style.BOX, "angle to the network's gradient", "share of points")
        keep = style.thin_out(len(degrees), 120)
        where.step(degrees[keep], share[keep], where="post", color=style.FORMULA, linewidth=1.8)
        where.set_xlim(0, max(float(degrees[-1]) * 1.03, 1.0) if len(degrees) else 90)
        where.set_ylim(0, 1.02)
        where.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        where.xaxis.set_major_formatter(lambda value, _: f"{value:g}°")
        return style.to_svg(figure, "Share of held-out points within an angle of the network's gradient")
