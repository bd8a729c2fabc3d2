"""A plot's frame with two scales: thin grid, quiet labels, no boxes, and no more work than that.

Data are mapped to the canvas here and drawn as a few paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from interpret.report.figures.canvas import Canvas
from interpret.report.figures.style import GRID, MUTED

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
        at, (start, length) = np.asarray(values, dtype=np.float64), self._way
        return np.asarray(((np.log10(at) if self.log else at) - start) / length)

    def share(self, value: float) -> float:
        """``place`` of one value: a frame has dozens of lines, and an array for each would be most of its time."""
        start, length = self._way
        return ((float(np.log10(value)) if self.log else value) - start) / length

    @cached_property
    def _way(self) -> tuple[float, float]:
        """Where the scale starts and how long it is, in decades where it is logarithmic."""
        low, high = np.log10([self.low, self.high]).tolist() if self.log else (self.low, self.high)
        return low, (high - low) or 1.0

    def marks(self) -> list[tuple[float, str]]:
        """Values that get a grid line, each with its text."""
        if self.log:
            return self._powers()
        inside = self._round_values()
        return list(zip(inside, self._written(inside), strict=True))

    def _round_values(self) -> list[float]:
        """Multiples of the smallest round step that gives at most ``ticks`` of them, or of a finer one for two."""
        length = self.high - self.low
        if not (math.isfinite(length) and length > 0):
            return [self.low] if math.isfinite(self.low) else []
        power = math.floor(math.log10(length / self.ticks))
        steps = [digit * 10.0 ** (power + up) for up in (-1, 0, 1, 2) for digit in (1, 2, 2.5, 5)]
        if self.integer:
            steps = [step for step in steps if step >= 1 and step == round(step)] or [1.0]
        enough = next((at for at, step in enumerate(steps) if step >= length / self.ticks * (1 - 1e-9)), 0)
        values: list[float] = []
        for step in reversed(steps[: enough + 1]):
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            values = [at * step + 0.0 for at in range(first, last + 1)]  # no −0
            if len(values) > 1:
                break
        return [at for at in values if self._holds(at)]

    def _powers(self) -> list[tuple[float, str]]:
        first, last = math.ceil(np.log10(self.low)), math.floor(np.log10(self.high))
        if last - first < 1:
            few = [step * 10.0**power for power in (first - 1, first) for step in (1, 2, 5)]
            return [(at, f"{at:g}") for at in few if self._holds(at)]
        powers = range(first, last + 1, max(1, math.ceil((last - first) / self.ticks)))
        return [(10.0**power, f"10{_raised(power)}") for power in powers]

    def _holds(self, at: float) -> bool:
        slack = 1e-9 * abs(self.high - self.low)
        return self.low - slack <= at <= self.high + slack

    def _written(self, values: Sequence[float]) -> list[str]:
        if self.write is not None:
            return [self.write(at) for at in values]
        steps = (after - before for before, after in pairwise(values))
        step = min(steps, default=abs(values[0]) if values else 1.0) or 1.0
        largest = max((abs(at) for at in values), default=0.0)
        if largest >= 1e5 or 0 < largest < 1e-3:
            return [f"{at + 0.0:.2g}".replace("-", "−") for at in values]
        decimals = max(0, math.ceil(-math.log10(step) - 1e-9))
        while decimals < 4 and abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
            decimals += 1
        return [f"{at + 0.0:.{decimals}f}".replace("-", "−") for at in values]


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


class Panel:
    """Draws into ``box`` = left, bottom, right, top margins in inches; the frame is drawn on creation."""

    def __init__(self, canvas: Canvas, box: tuple[float, float, float, float], x: Scale, y: Scale) -> None:
        left, bottom, right, top = box
        self._canvas, self.x, self.y = canvas, x, y
        self._left, self._bottom = left, bottom
        self._width, self._height = canvas.width - left - right, canvas.height - bottom - top
        self._frame()

    def at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Data as places on the canvas in inches (N, 2)."""
        across, up = self.x.place(x).ravel(), self.y.place(y).ravel()
        places = np.empty((len(across), 2))
        places[:, 0] = self._left + across * self._width
        places[:, 1] = self._bottom + up * self._height
        return places

    def _across(self, x: float) -> float:
        return self._left + self.x.share(x) * self._width

    def _up(self, y: float) -> float:
        return self._bottom + self.y.share(y) * self._height

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
        self._canvas.line(_finite(self.at(x, y)), color, width, alpha, dashes)

    def dots(self, x: ArrayLike, y: ArrayLike, color: str, size: float = 3.4, alpha: float = 0.7) -> None:
        """A round dot per point."""
        self._canvas.dots(_finite(self.at(x, y)), color, size, alpha)

    def strokes(
        self, start: np.ndarray, end: np.ndarray, color: str, width: float, alpha: float = 1.0
    ) -> None:
        """Straight strokes from ``start`` (N, 2) to ``end`` (N, 2), all in one path."""
        ends = np.concatenate([self.at(*start.T), self.at(*end.T)], axis=1)
        self._canvas.segments(_finite(ends), color, width, alpha)

    def fill(self, x: ArrayLike, y: ArrayLike, color: str, alpha: float) -> None:
        """The inside of a closed outline."""
        outline = _finite(self.at(x, y))
        if len(outline) > 2:
            self._canvas.fill(outline, color, alpha)

    def mark(self, x: float, y: float, color: str, row: int, title: str) -> None:
        """A dot that stands for a row of a table, with a tooltip."""
        place = self._across(x), self._up(y)
        if all(map(math.isfinite, place)):
            self._canvas.mark(place, color, "row", row, title)

    def text(self, x: float, y: float, text: str, align: str = "end", below: bool = True) -> None:
        """A quiet remark at a point of the data."""
        shift = -0.04 if below else 0.04
        place = self._across(x), self._up(y) + shift
        self._canvas.text(place, text, MUTED, 7.5, align, "top" if below else "bottom")

    def _frame(self) -> None:
        x_marks, y_marks = self.x.marks(), self.y.marks()
        left, bottom = self._left, self._bottom
        right, top = left + self._width, bottom + self._height
        across = [self._across(value) for value, _ in x_marks]
        up = [self._up(value) for value, _ in y_marks]
        lines = [end for at in across for end in ((at, bottom), (at, top))]
        lines += [end for at in up for end in ((left, at), (right, at))]
        self._canvas.segments(lines, GRID, 0.7)
        for at, (_, name) in zip(across, x_marks, strict=True):
            if not self.x.hidden:
                self._canvas.text((at, bottom - 0.05), name, MUTED, 8, "middle", "top")
        for at, (_, name) in zip(up, y_marks, strict=True):
            self._canvas.text((left - 0.05, at), name, MUTED, 8, "end")
        if self.x.label and not self.x.hidden:
            middle = ((left + right) / 2, bottom - 0.22)
            self._canvas.text(middle, self.x.label, MUTED, 8.5, "middle", "top")
        if self.y.label:
            self._canvas.text((0.1, (bottom + top) / 2), self.y.label, MUTED, 8.5, "middle", turned=True)


def _finite(places: np.ndarray) -> np.ndarray:
    """Rows (N, 2), or strokes (N, 4) as their 2N ends, that can be drawn."""
    finite = np.isfinite(places)
    kept = places if finite.all() else places[finite.all(axis=1)]
    return kept.reshape(-1, 2)


def diagonal(panel: Panel, low: float, high: float) -> None:
    """The dashed line on which both axes agree."""
    panel.line([low, high], [low, high], MUTED, 0.9, dashes=(3, 3))


def level(panel: Panel, y: float) -> None:
    """A dashed horizontal line across the panel."""
    panel.line([panel.x.low, panel.x.high], [y, y], MUTED, 0.9, dashes=(3, 3))
