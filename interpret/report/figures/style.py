"""One visual language for every figure: a few inks, a thin grid, no boxes, the page's own colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--grid)"
FORMULA, EXAMPLE, WARN, SOFT = "var(--formula)", "var(--example)", "var(--warn)", "var(--soft)"
#: Inches of every figure, and its margins left, bottom, right, top: one size, so that captions line up.
SIZE = (3.3, 2.6)
BOX = (0.54, 0.42, 0.1, 0.1)


def thin_out(count: int, most: int) -> np.ndarray:
    """Row numbers of at most ``most`` of ``count`` points, evenly spaced, so that a page stays small."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def span(*parts: ArrayLike, margin: float = 0.05) -> tuple[float, float]:
    """Limits around all finite values of ``parts`` with a margin; (0, 1) when there are none."""
    values = np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts])
    finite = np.isfinite(values)
    values = values if finite.all() else values[finite]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = (high - low) * margin or max(abs(high), 1.0) * margin
    return low - pad, high + pad
