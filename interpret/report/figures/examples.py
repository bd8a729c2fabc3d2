"""Figures of what a neuron goes by: the GP against the network, its calibration, its prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from interpret.explanation import ExamplePart, Prototypes
from interpret.report.clean import close_to_one
from interpret.report.figures import style


def fidelity(part: ExamplePart) -> Markup:
    """Above: GP mean over network output. Below: what is left between them, with 95 % intervals."""
    keep = style.thin_out(len(part.network), 300)
    network, mean, low, high = (at[keep] for at in (part.network, part.mean, part.low, part.high))
    with style.drawing(*style.SIZE) as figure:
        above = style.axes(figure, (0.54, 1.16, 0.1, 0.1), "", "Gaussian process")
        limits = style.span(network, mean)
        above.plot(limits, limits, color=style.MUTED, linewidth=0.9, dashes=(3, 3))
        style.dots(above, network, mean, style.EXAMPLE, 3.6, 0.6)
        above.set_xlim(*limits)
        above.set_ylim(*limits)
        above.set_xticklabels([])
        below = style.axes(figure, (0.54, 0.42, 0.1, 1.68), "network output", "difference")
        below.axhline(0, color=style.MUTED, linewidth=0.9, dashes=(3, 3))
        style.strokes(
            below,
            np.column_stack([network, low - network]),
            np.column_stack([network, high - network]),
            style.EXAMPLE,
            1.2,
            0.25,
        )
        style.dots(below, network, mean - network, style.EXAMPLE, 3.0, 0.8)
        below.set_xlim(*limits)
        below.set_ylim(*style.span(low - network, high - network, mean - network))
        below.locator_params(axis="y", nbins=3)
        label = f"Gaussian process over network output, Pearson {close_to_one(part.pearson)}"
        return style.to_svg(figure, label)


def calibration(levels: np.ndarray, coverage: np.ndarray) -> Markup:
    """Share of held-out points inside the interval, over the level the interval promises."""
    with style.drawing(*style.SIZE) as figure:
        where = style.axes(figure, style.BOX, "promised share inside", "observed share inside")
        where.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.9, dashes=(3, 3))
        edge = np.concatenate([levels, levels[::-1]]), np.concatenate([levels, coverage[::-1]])
        where.fill(*edge, color=style.EXAMPLE, alpha=0.14, linewidth=0)
        where.plot(levels, coverage, color=style.EXAMPLE, linewidth=1.8)
        style.dots(where, levels, coverage, style.EXAMPLE, 5.0, 1.0, zorder=3)
        where.set_xlim(0, 1)
        where.set_ylim(0, 1.02)
        for axis in (where.xaxis, where.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:.0%}")
        return style.to_svg(figure, "Calibration: observed over promised coverage of the intervals")


def prototypes(reached: Prototypes) -> Markup:
    """R² that the first k prototypes reach."""
    with style.drawing(*style.SIZE) as figure:
        where = style.axes(figure, style.BOX, "prototypes used", "R² reached")
        k = np.arange(1, len(reached.r2) + 1)
        where.plot(k, reached.r2, color=style.EXAMPLE, linewidth=1.8)
        style.dots(where, k, reached.r2, style.EXAMPLE, 4.6, 1.0, zorder=3)
        where.set_xlim(0, len(reached.r2) + 0.5)
        where.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return style.to_svg(figure, f"R² reached by the first {len(reached.r2)} prototypes")


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
