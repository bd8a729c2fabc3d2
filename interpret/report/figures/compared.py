"""The figure of a comparison: how far apart the neurons of two runs are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from interpret.outcome import EXACT_MISALIGNMENT
from interpret.report.figures import style
from interpret.report.figures.canvas import Canvas
from interpret.report.figures.panel import Panel, Scale, level

#: Two formulas further apart than this are different concepts (as in the comparison itself).
DIFFERENT = 0.05
_FLOOR = 1e-8


def overview(distances: Sequence[float], behaviours: Sequence[float]) -> Markup:
    """Neurons by growing distance between their formulas; grey: between the networks' own gradients."""
    formula = np.clip(np.asarray(distances, dtype=np.float64), _FLOOR, None)
    network = np.clip(np.asarray(behaviours, dtype=np.float64), _FLOOR, None)
    order = np.argsort(np.where(np.isfinite(formula), formula, np.inf), kind="stable")
    rank = np.arange(1, len(order) + 1, dtype=np.float64)
    finite = [at for at in (*formula, *network, EXACT_MISALIGNMENT, DIFFERENT) if np.isfinite(at)]
    canvas = Canvas(2 * style.SIZE[0], style.SIZE[1])
    up = Scale(10 ** (np.log10(min(finite)) - 0.3), 10 ** (np.log10(max(finite)) + 0.3), "distance", log=True)
    across = Scale(0.5, max(len(rank), 1) + 0.5, "neurons, nearest first", integer=True)
    panel = Panel(canvas, style.BOX, across, up)
    for threshold, text in ((EXACT_MISALIGNMENT, "same concept below"), (DIFFERENT, "different above")):
        level(panel, threshold)
        panel.text(across.high, threshold, text, below=threshold == EXACT_MISALIGNMENT)
    panel.dots(rank, network[order], style.SOFT, 5.5, 1.0)
    panel.dots(rank, formula[order], style.FORMULA, 5.5, 0.9)
    return canvas.svg(f"Distances between {len(rank)} neurons of two runs")
