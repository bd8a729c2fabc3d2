"""A sheet that figures are drawn on, written as SVG directly.

A report of two hundred neurons holds over a thousand figures of a few paths and labels each. General-purpose
plotting takes 8 ms for one, most of it for measuring letters that the browser sets anyway; this takes well under one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from interpret.report.clean import escaped

#: One place in inches.
Place = tuple[float, float]
#: SVG units per inch, so that sizes of strokes and letters are in points.
_POINTS = 72.0
#: Parts of the letters' size that lie above and below the line they stand on.
_ASCENT, _DESCENT = 0.76, 0.24
_SHIFT = {"top": _ASCENT, "middle": (_ASCENT - _DESCENT) / 2, "bottom": -_DESCENT}


class Canvas:
    """``width`` by ``height`` inches; places are (N, 2) in inches from the lower left corner.

    Colours are CSS, so that one drawing serves light, dark and print. There are no ids, which could clash.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []  # escaped already: only titles, texts and labels are anybody else's

    def segments(self, ends: ArrayLike, color: str, width: float, alpha: float = 1.0) -> None:
        """Strokes from each even row of ``ends`` (2N, 2) to the row after it, all in one path."""
        numbers = self._numbers(ends)
        self._path("M{} {}L{} {}" * (len(numbers) // 4), numbers, _stroke(color, width, alpha))

    def dots(self, places: ArrayLike, color: str, size: float, alpha: float = 1.0) -> None:
        """Round dots: strokes of no length with round ends, a tenth of the bytes of as many circles."""
        numbers = self._numbers(places)
        self._path("M{} {}h0" * (len(numbers) // 2), numbers, _stroke(color, size, alpha))

    def line(
        self, places: ArrayLike, color: str, width: float, alpha: float = 1.0, dashes: Sequence[float] = ()
    ) -> None:
        """A line through the places, in their order."""
        numbers = self._numbers(places)
        style = _stroke(color, width, alpha, dashes)
        self._path("M{} {}" + "L{} {}" * (len(numbers) // 2 - 1), numbers, style)

    def fill(self, outline: ArrayLike, color: str, alpha: float) -> None:
        """The inside of a closed outline."""
        numbers = self._numbers(outline)
        style = f"fill: {color}; opacity: {alpha:g}"
        self._path("M{} {}" + "L{} {}" * (len(numbers) // 2 - 1) + "Z", numbers, style)

    def mark(self, place: Place, color: str, name: str, number: int, title: str) -> None:
        """A dot that the page's script finds by ``data-NAME``, with a tooltip that needs no script."""
        x, y = self._point(place)
        # A wide clear circle around the visible one is easier to hit with a finger.
        self._parts.append(
            f'<g data-{name}="{number}"><title>{escaped(title)}</title>'
            f'<circle cx="{x}" cy="{y}" r="11" fill="transparent"/>'
            f'<circle class="dot" cx="{x}" cy="{y}" r="3.6" fill="{color}"/></g>'
        )

    def text(
        self, place: Place, text: str, color: str, size: float, align: str = "start", stand: str = "middle",
        turned: bool = False,
    ) -> None:  # fmt: skip
        """A text whose ``align`` (start, middle, end) and ``stand`` (top, middle, bottom) is at the place.

        ``turned`` reads upwards. Letters are set by the page in its own font.
        """
        x, y = self._point(place)
        down = _SHIFT[stand] * size
        x, y = (_written(x + down), y) if turned else (x, _written(y + down))
        turn = f' transform="rotate(-90 {x} {y})"' if turned else ""
        style = f"font-size: {size:g}px; text-anchor: {align}; fill: {color}"
        self._parts.append(f'<text style="{style}" x="{x}" y="{y}"{turn}>{escaped(text)}</text>')

    def svg(self, label: str) -> Markup:
        """The drawing; ``label`` is what is read out in its place."""
        box = f"0 0 {_written(self.width * _POINTS)} {_written(self.height * _POINTS)}"
        opening = f'<svg class="figure" role="img" aria-label="{escaped(label)}" viewBox="{box}">'
        return Markup("".join([opening, *self._parts, "</svg>"]))

    def _numbers(self, places: ArrayLike) -> list[float]:
        """Coordinates in points, y downwards, to a hundredth."""
        at = np.asarray(places, dtype=np.float64).reshape(-1, 2) * _POINTS
        at[:, 1] = self.height * _POINTS - at[:, 1]
        found: list[float] = (at.round(2) + 0.0).ravel().tolist()
        return found

    def _point(self, place: Place) -> tuple[float, float]:
        """``_numbers`` of one place, without arrays: most of what is drawn is a text or a dot."""
        x, y = place
        return _hundredths(x * _POINTS), _hundredths(self.height * _POINTS - y * _POINTS)

    def _path(self, form: str, numbers: list[float], style: str) -> None:
        if numbers:
            path = form.replace("{}", "%g") % tuple(numbers)
            self._parts.append(f'<path d="{path}" style="{style}"/>')


def _stroke(color: str, width: float, alpha: float, dashes: Sequence[float] = ()) -> str:
    style = f"fill: none; stroke: {color}; stroke-width: {width:g}"
    style += "" if alpha == 1 else f"; stroke-opacity: {alpha:g}"
    if dashes:
        return style + f"; stroke-dasharray: {' '.join(f'{at * width:g}' for at in dashes)}"
    return style + "; stroke-linecap: round; stroke-linejoin: round"


def _hundredths(value: float) -> float:
    """``value`` rounded as an array is; no −0."""
    return round(value * 100) / 100 + 0.0 if math.isfinite(value) else value


def _written(value: float) -> float:
    """A hundredth of a point is the finest that is written."""
    return round(value, 2)
