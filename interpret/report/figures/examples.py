"""Figures of what a neuron goes by: the GP against the network, its calibration, its prototypes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from markupsafe import Markup

from interpret.explanation import ExamplePart, FidelityPoint, Prototypes
from interpret.report.clean import close_to_one
from interpret.report.figures import style
from interpret.report.figures.canvas import Canvas
from interpret.report.figures.panel import Panel, Scale, diagonal, level

# Below this a misfit is rounding; a log axis needs a floor.
_FLOOR = 1e-12


def fidelity(part: ExamplePart) -> Markup:
    """Above: GP mean over network output. Below: what is left between them, with 95 % intervals."""
    keep = style.thin_out(len(part.network), 300)
    network, mean, low, high = (at[keep] for at in (part.network, part.mean, part.low, part.high))
    limits = style.span(network, mean)
    canvas = Canvas(*style.SIZE)
    across = Scale(*limits, "network output", ticks=5)
    above = Panel(
        canvas,
        (*style.BOX[:1], 1.16, 0.1, 0.1),
        replace(across, hidden=True),
        Scale(*limits, "GP mean", ticks=5),
    )
    diagonal(above, *limits)
    above.dots(network, mean, style.EXAMPLE, 3.6, 0.6)
    up = Scale(*style.span(low - network, high - network, mean - network), "difference", ticks=3)
    below = Panel(canvas, (*style.BOX[:2], 0.1, 1.62), across, up)
    level(below, 0.0)
    ends = [np.column_stack([network, edge - network]) for edge in (low, high)]
    below.strokes(ends[0], ends[1], style.EXAMPLE, 1.2, 0.25)
    below.dots(network, mean - network, style.EXAMPLE, 3.0, 0.8)
    return canvas.svg(f"Gaussian process over network output, Pearson {close_to_one(part.pearson)}")


def calibration(levels: np.ndarray, coverage: np.ndarray) -> Markup:
    """Share of held-out points inside the interval, over the level the interval promises."""
    canvas = Canvas(*style.SIZE)
    across = Scale(0.0, 1.0, "promised share inside", lambda at: f"{at:.0%}", 5)
    panel = Panel(canvas, (*style.BOX[:2], 0.2, 0.1), across, replace(across, label="observed share inside"))
    diagonal(panel, 0.0, 1.0)
    outline = np.concatenate([levels, levels[::-1]]), np.concatenate([levels, coverage[::-1]])
    panel.fill(*outline, style.EXAMPLE, 0.14)
    panel.line(levels, coverage, style.EXAMPLE, 1.8)
    panel.dots(levels, coverage, style.EXAMPLE, 4.6, 1.0)
    return canvas.svg("Calibration: observed over promised coverage of the intervals")


def prototypes(reached: Prototypes) -> Markup:
    """R² that the first k prototypes reach."""
    k = np.arange(1, len(reached.r2) + 1)
    canvas = Canvas(*style.SIZE)
    across = Scale(0.0, len(reached.r2) + 0.5, "prototypes used", integer=True)
    low, high = style.span(reached.r2, [1.0], margin=0.04)
    panel = Panel(canvas, style.BOX, across, Scale(max(low, -1.0), high, "R² reached"))
    kept = np.maximum(reached.r2, -1.0)
    panel.line(k, kept, style.EXAMPLE, 1.8)
    panel.dots(k, kept, style.EXAMPLE, 4.6, 1.0)
    return canvas.svg(f"R² reached by the first {len(reached.r2)} prototypes")


def settings(points: Sequence[FidelityPoint]) -> Markup:
    """What the GP misses over how much its contributions cancel, a line per metric; the setting used is ringed."""
    usable = [at for at in points if 0 < at.cancellation < math.inf and math.isfinite(at.r2)]
    x = np.array([at.cancellation for at in usable])
    y = np.clip([1 - at.r2 for at in usable], _FLOOR, None)
    canvas = Canvas(*style.SIZE)
    (left, right), (low, high) = (_ends(x) or (1.0, 10.0)), (_ends(y) or (1e-3, 1.0))
    across = Scale(0.8 * left, 1.25 * right, "cancellation", log=True, ticks=4)
    up = Scale(low / 2, 2 * high, "1 − R²", log=True, ticks=5)
    panel = Panel(canvas, style.BOX, across, up)
    for metric in dict.fromkeys(at.metric for at in usable):
        of = np.array([at.metric == metric for at in usable])
        panel.line(x[of], y[of], style.EXAMPLE, 1.1, 0.5)
    chosen = np.array([at.chosen for at in usable], dtype=bool)
    panel.dots(x[chosen], y[chosen], style.EXAMPLE, 12, 0.25)
    panel.dots(x, y, style.EXAMPLE, 4.4, 1.0)
    return canvas.svg(f"{len(usable)} settings of the Gaussian process: misfit over cancellation")


def _ends(values: np.ndarray) -> tuple[float, float] | None:
    return (float(values.min()), float(values.max())) if len(values) else None


def sparkline(values: Sequence[float], label: str) -> Markup:
    """A series as a small line, for a thumbnail; written directly, because a page holds dozens of them."""
    y = np.nan_to_num(np.asarray(values, dtype=np.float64)[style.thin_out(len(values), 120)])
    if len(y) < 2:
        return Markup("")
    low, high = float(y.min()), float(y.max())
    x = np.linspace(2, 118, len(y))
    scaled = 38 - 36 * (y - low) / max(high - low, 1e-12)
    path = "M" + " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, scaled, strict=True))
    svg = Markup('<svg class="spark" role="img" aria-label="{}" viewBox="0 0 120 40"><path d="{}"/></svg>')
    return svg.format(label, path)
