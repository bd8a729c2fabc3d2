"""A plot's frame with two scales: thin grid, quiet labels, no boxes; a tenth of the work of general-purpose axes.

Data are mapped to the figure here and drawn as a few paths, so that a figure takes milliseconds: a report holds
over a thousand of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interpret.report.figures.style import GRID, MUTED

# Matplotlib is loaded by the first figure: a query in a terminal draws none, and answers in half the time.
if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.path import Path

Formatter = Callable[[float], str]


@dataclass(frozen=True)
class Scale:
    """One direction of a panel: limits, label, how ticks are written and how many there may be."""

    low: float
    high: float
    label: str = ""
    write: Formatter | None = None
    ticks: int = 6
    log: bool = False
    integer: bool = False
    hidden: bool = False

    def place(self, values: ArrayLike) -> np.ndarray:
        """``values`` as shares of the way from ``low`` to ``high``."""
        at, low, high = np.asarray(values, dtype=np.float64), self.low, self.high
        if self.log:
            at, low, high = np.log10(at), np.log10(low), np.log10(high)
        return np.asarray((at - low) / ((high - low) or 1.0))

    def marks(self) -> list[tuple[float, str]]:
        """Values that get a grid line, each with its text."""
        if self.log:
            return self._powers()
        from matplotlib.ticker import MaxNLocator

        found = MaxNLocator(self.ticks, steps=[1, 2, 2.5, 5, 10], integer=self.integer)
        inside = [at for at in found.tick_values(self.low, self.high) if self._holds(at)]
        return list(zip(inside, self._written(inside), strict=True))

    def _powers(self) -> list[tuple[float, str]]:
        first, last = np.ceil(np.log10(self.low)), np.floor(np.log10(self.high))
        if last - first < 1:
            few = [step * 10.0**power for power in (first - 1, first) for step in (1, 2, 5)]
            return [(at, f"{at:g}") for at in few if self._holds(at)]
        powers = np.arange(first, last + 1, max(1, np.ceil((last - first) / self.ticks)))
        return [(10.0**power, f"10{_raised(int(power))}") for power in powers]

    def _holds(self, at: float) -> bool:
        slack = 1e-9 * abs(self.high - self.low)
        return self.low - slack <= at <= self.high + slack

    def _written(self, values: Sequence[float]) -> list[str]:
        if self.write is not None:
            return [self.write(at) for at in values]
        step = min(np.diff(values), default=abs(values[0]) if values else 1.0) or 1.0
        largest = max((abs(at) for at in values), default=0.0)
        if largest >= 1e5 or 0 < largest < 1e-3:
            return [f"{at:.2g}".replace("-", "−") for at in values]
        decimals = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
        while decimals < 4 and abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
            decimals += 1
        return [f"{at + 0.0:.{decimals}f}".replace("-", "−") for at in values]


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


class Panel:
    """Draws into ``box`` = left, bottom, right, top margins in inches; the frame is drawn on creation."""

    def __init__(self, figure: Figure, box: tuple[float, float, float, float], x: Scale, y: Scale):
        width, height = figure.get_size_inches()
        left, bottom, right, top = box
        self._figure, self.x, self.y = figure, x, y
        self._inch = 1 / width, 1 / height
        self._corner = np.array([left / width, bottom / height])
        self._extent = np.array([(width - left - right) / width, (height - bottom - top) / height])
        self._frame()

    def at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Data as places in the figure (N, 2)."""
        shares = np.column_stack([np.ravel(self.x.place(x)), np.ravel(self.y.place(y))])
        return np.asarray(self._corner + shares * self._extent)

    def line(
        self,
        x: ArrayLike,
        y: ArrayLike,
        color: str,
        width: float = 1.6,
        alpha: float = 1.0,
        dashes: Sequence[float] = (),
    ) -> None:
        """A line through the points, in their order."""
        from matplotlib.path import Path

        self._draw(Path(self._finite(self.at(x, y))), color, width, alpha, dashes)

    def dots(self, x: ArrayLike, y: ArrayLike, color: str, size: float = 3.4, alpha: float = 0.7) -> None:
        """Round dots as one path of zero-length strokes: a tenth of the bytes of as many markers."""
        places = self._finite(self.at(x, y))
        self._segments(np.repeat(places, 2, axis=0), color, size, alpha)

    def strokes(
        self, start: np.ndarray, end: np.ndarray, color: str, width: float, alpha: float = 1.0
    ) -> None:
        """Straight strokes from ``start`` (N, 2) to ``end`` (N, 2), all in one path."""
        ends = np.stack([start, end], axis=1).reshape(-1, 2)
        self._segments(self.at(ends[:, 0], ends[:, 1]), color, width, alpha)

    def fill(self, x: ArrayLike, y: ArrayLike, color: str, alpha: float) -> None:
        """The inside of a closed outline."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        outline = self._finite(self.at(x, y))
        if len(outline) > 2:
            patch = PathPatch(Path(outline), facecolor=color, edgecolor="none", linewidth=0, alpha=alpha)
            self._figure.add_artist(patch)

    def mark(self, x: float, y: float, color: str, gid: str) -> None:
        """A dot that the page's script can find by ``gid``."""
        from matplotlib.path import Path

        place = self.at([x], [y])
        self._draw(Path(np.repeat(place, 2, axis=0)), color, 1.0, 1.0, (), gid)

    def text(self, x: float, y: float, text: str, align: str = "right", below: bool = True) -> None:
        """A quiet remark at a point of the data."""
        across, up = self.at([x], [y])[0]
        shift = (-0.04 if below else 0.04) * self._inch[1]
        self._figure.text(
            across, up + shift, text, ha=align, va="top" if below else "bottom", color=MUTED, fontsize=7.5
        )

    def _frame(self) -> None:
        x_marks, y_marks = self.x.marks(), self.y.marks()
        (left, bottom), (right, top) = self._corner, self._corner + self._extent
        across = [self.at([value], [self.y.low])[0, 0] for value, _ in x_marks]
        up = [self.at([self.x.low], [value])[0, 1] for value, _ in y_marks]
        lines = [end for at in across for end in ((at, bottom), (at, top))]
        lines += [end for at in up for end in ((left, at), (right, at))]
        self._segments(np.reshape(lines, (-1, 2)), GRID, 0.7, 1.0)
        for at, (_, name) in zip(across, x_marks, strict=True):
            if not self.x.hidden:
                self._label(at, bottom - 0.05 * self._inch[1], name, "center", "top")
        for at, (_, name) in zip(up, y_marks, strict=True):
            self._label(left - 0.05 * self._inch[0], at, name, "right", "center_baseline")
        if not self.x.hidden:
            self._label((left + right) / 2, bottom - 0.22 * self._inch[1], self.x.label, "center", "top", 8.5)
        self._label(0.1 * self._inch[0], (bottom + top) / 2, self.y.label, "center", "center", 8.5, 90)

    def _label(
        self, x: float, y: float, text: str, ha: str, va: str, size: float = 8, rotation: float = 0
    ) -> None:
        if text:
            self._figure.text(x, y, text, ha=ha, va=va, color=MUTED, fontsize=size, rotation=rotation)

    def _segments(self, places: np.ndarray, color: str, width: float, alpha: float) -> None:
        from matplotlib.path import Path

        if len(places):
            codes = np.tile([Path.MOVETO, Path.LINETO], len(places) // 2)
            self._draw(Path(places, codes), color, width, alpha)

    def _draw(
        self,
        path: Path,
        color: str,
        width: float,
        alpha: float,
        dashes: Sequence[float] = (),
        gid: str = "",
    ) -> None:
        from matplotlib.patches import PathPatch

        if not np.size(path.vertices):
            return
        patch = PathPatch(
            path, facecolor="none", edgecolor=color, linewidth=width, alpha=alpha, capstyle="round"
        )
        if dashes:
            patch.set_linestyle((0, tuple(dashes)))
            patch.set_capstyle("butt")
        if gid:
            patch.set_gid(gid)
        self._figure.add_artist(patch)

    @staticmethod
    def _finite(places: np.ndarray) -> np.ndarray:
        return np.asarray(places[np.isfinite(places).all(axis=1)])


def diagonal(panel: Panel, low: float, high: float) -> None:
    """The dashed line on which both axes agree."""
    panel.line([low, high], [low, high], MUTED, 0.9, dashes=(3, 3))


def level(panel: Panel, y: float) -> None:
    """A dashed horizontal line across the panel."""
    panel.line([panel.x.low, panel.x.high], [y, y], MUTED, 0.9, dashes=(3, 3))
