"""Figures of what a neuron computes: the frontier, the link, the gradient field, the angles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from interpret.explanation import FormulaPart, FrontierRow, LinkFigure
from interpret.outcome import EXACT_MISALIGNMENT, exact_bound
from interpret.report.clean import close_to_one, number, visible
from interpret.report.figures import style
from interpret.report.figures.canvas import Canvas
from interpret.report.figures.panel import Panel, Scale

# Below this a misalignment is rounding; a log axis needs a floor.
_FLOOR = 1e-9
#: Strokes of the gradient field, and how far apart in degrees two gradients may be to count as one direction.
MOST_STROKES = 150
APART = 15.0


def frontier(rows: Sequence[FrontierRow]) -> Markup:
    """Held-out misalignment over complexity, a dot per row; the chosen one is ringed."""
    x = np.array([row.complexity for row in rows], dtype=np.float64)
    y = np.clip(np.nan_to_num([row.held_out for row in rows], nan=1.0), _FLOOR, None)
    upper = np.clip(np.array([row.upper for row in rows], dtype=np.float64), _FLOOR, None)
    canvas = Canvas(*style.SIZE)
    across = Scale(*style.span(x, margin=0.08), "complexity (nodes)", integer=True)
    panel = Panel(canvas, style.BOX, across, _decades([*y.tolist(), *upper.tolist(), EXACT_MISALIGNMENT]))
    lengths = np.linspace(across.low, across.high, 60)
    bounds = np.array([exact_bound(math.ceil(at)) for at in lengths.tolist()])
    panel.line(lengths, np.clip(bounds, panel.y.low, None), style.MUTED, 0.9, dashes=(3, 3))
    shown = lengths[bounds > panel.y.low]
    end = float(shown[-1]) if len(shown) else across.low
    edge = max(float(bounds[len(shown) - 1]), panel.y.low)
    # Near the bottom the words would stand on the axis's numbers.
    panel.text(end, edge, "EXACT below", below=panel.y.share(edge) > 0.12)
    panel.line(x, y, style.FORMULA, 1.1, 0.45)
    long = np.isfinite(upper) & (upper > y)
    panel.strokes(np.column_stack([x, y])[long], np.column_stack([x, upper])[long], style.FORMULA, 1.4, 0.4)
    for at, (row, across_at, up_at) in enumerate(zip(rows, x.tolist(), y.tolist(), strict=True)):
        if row.chosen:
            panel.dots([across_at], [up_at], style.FORMULA, 13, 0.22)
        panel.mark(across_at, up_at, style.FORMULA, at, _row_title(row))
    return canvas.svg(f"Frontier of {len(rows)} formulas: misalignment over complexity")


def _row_title(row: FrontierRow) -> str:
    return f"{visible(row.expression)}\ncomplexity {row.complexity}, misalignment {number(row.held_out)}"


def _decades(values: Sequence[float]) -> Scale:
    finite = [value for value in values if 0 < value < math.inf]
    low = 10 ** (math.floor(math.log10(min(finite)) * 2) / 2 - 0.15)
    return Scale(low, 10 ** (math.ceil(math.log10(max(finite)) * 2) / 2), "misalignment", log=True)


def link(drawn: LinkFigure) -> Markup:
    """The neuron's values over T at held-out points, and the monotone map φ through them."""
    keep = style.thin_out(len(drawn.points_t), 400)
    order = np.argsort(drawn.t)[style.thin_out(len(drawn.t), 160)]
    canvas = Canvas(*style.SIZE)
    panel = Panel(
        canvas,
        style.BOX,
        Scale(*style.span(drawn.points_t, drawn.t), "formula T(x)"),
        Scale(*style.span(drawn.points_g, drawn.phi), "neuron g(x)"),
    )
    panel.dots(drawn.points_t[keep], drawn.points_g[keep], style.INK, 4.4, 0.3)
    panel.line(drawn.t[order], drawn.phi[order], style.FORMULA, 1.5)
    return canvas.svg(f"Link: neuron over formula, held-out R² {close_to_one(drawn.r2)}")


def field(part: FormulaPart, pair: tuple[int, int], units: Mapping[str, str] | None = None) -> Markup:
    """Unit gradients of network and formula at held-out points, in the plane of two inputs."""
    points, network, concept = _plane(part, pair)
    names = [_axis_name(part.names[at], units or {}) for at in pair]
    canvas = Canvas(*style.SIZE)
    limits = style.span(points[:, 0], margin=0.09), style.span(points[:, 1], margin=0.09)
    panel = Panel(canvas, style.BOX, Scale(*limits[0], names[0]), Scale(*limits[1], names[1]))
    length = 0.06 * np.array([limits[0][1] - limits[0][0], limits[1][1] - limits[1][0]])
    panel.strokes(points, points + network * length, style.SOFT, 4.2)
    agree = (network * concept).sum(axis=1) >= np.cos(np.deg2rad(APART))
    tips = points + concept * length
    panel.strokes(points[agree], tips[agree], style.FORMULA, 1.3)
    panel.strokes(points[~agree], tips[~agree], style.WARN, 1.3)
    panel.dots(points[:, 0], points[:, 1], style.INK, 2.2, 0.8)
    return canvas.svg(f"Gradient field over {names[0]} and {names[1]}")


def _axis_name(name: str, units: Mapping[str, str]) -> str:
    unit = f" ({visible(units[name], 12)})" if units.get(name) else ""
    return visible(name, 48) + unit


def _plane(part: FormulaPart, pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points and both directions in the plane, unit length again, at a few well-spread points."""
    finite = np.isfinite(part.directions).all(axis=1) & np.isfinite(part.formula_directions).all(axis=1)
    points, network, concept = (
        at[finite][:, list(pair)] for at in (part.points, part.directions, part.formula_directions)
    )
    # A formula and its negative encode the same concept: draw the one that rises with the network.
    sign = np.sign((part.directions * part.formula_directions)[finite].sum()) or 1.0
    rows = _spread(points, MOST_STROKES)
    return points[rows], _unit(network[rows]), _unit(sign * concept[rows])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _spread(points: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` rows: the first in each cell of a grid over ``points`` (N, 2)."""
    if not len(points):
        return np.arange(0)
    low, high = points.min(axis=0), points.max(axis=0)
    side = int(np.sqrt(most))
    cells = np.floor((points - low) / np.maximum(high - low, 1e-12) * (side - 1e-9)).astype(np.int64)
    return np.sort(np.unique(cells[:, 0] * side + cells[:, 1], return_index=True)[1])


def main_pair(part: FormulaPart) -> tuple[int, int] | None:
    """The two inputs the network's gradient leans on most; None with fewer than two inputs."""
    if part.points.ndim != 2 or part.points.shape[1] < 2 or len(part.points) < 2:
        return None
    if part.formula_directions.shape != part.points.shape or len(part.names) != part.points.shape[1]:
        return None
    weight = np.nan_to_num(np.abs(part.directions)).mean(axis=0)
    first, second = np.sort(np.argsort(-weight, kind="stable")[:2])
    return int(first), int(second)


def angles(cosines: np.ndarray) -> Markup:
    """How many held-out points lie within each angle between the two gradients."""
    degrees = np.sort(np.rad2deg(np.arccos(np.clip(np.abs(cosines[np.isfinite(cosines)]), 0, 1))))
    share = (np.arange(len(degrees)) + 1) / max(len(degrees), 1)
    keep = style.thin_out(len(degrees), 120)
    canvas = Canvas(*style.SIZE)
    widest = max(float(degrees[-1]) * 1.03, 1.0) if len(degrees) else 90.0
    across = Scale(0.0, widest, "angle to the network's gradient", lambda at: f"{at:g}°", 5)
    up = Scale(0.0, 1.03, "share of points", lambda at: f"{at:.0%}", 5)
    panel = Panel(canvas, style.BOX, across, up)
    panel.line(np.repeat(degrees[keep], 2)[1:], np.repeat(share[keep], 2)[:-1], style.FORMULA, 1.8)
    return canvas.svg("Share of held-out points within an angle of the network's gradient")
