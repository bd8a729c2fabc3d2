"""One visual language for every figure: a few inks, a thin grid, no boxes, the page's own colours.

Matplotlib draws with stand-in colours; on the way out each becomes a CSS variable, so one SVG serves light,
dark and print. Ids are dropped and numbers rounded: figures are small, never clash, and have the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#101112", "#202122", "#303132", "#404142"
FORMULA, EXAMPLE, WARN, SOFT = "#505152", "#606162", "#707172", "#808182"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    FORMULA: "--formula",
    EXAMPLE: "--example",
    WARN: "--warn",
    SOFT: "--soft",
}
#: Inches of every figure, and its margins left, bottom, right, top: one size, so that captions line up.
SIZE = (3.3, 2.6)
BOX = (0.54, 0.42, 0.1, 0.1)
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "twinscope",
    "path.simplify": False,
    "text.parse_math": False,
    "font.size": 9,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "text.usetex": False,
}
_TEXT_STYLE = re.compile(
    r"font-size: ([\d.]+)px; font-family: [^;\"]*(;|(?=\"))|font: ([\d.]+)px [^;\"]*(;|(?=\"))"
)
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_TAG = re.compile(r"<[^>]+>")
_GROUP = re.compile(
    r'<g id="data-([a-z]+)-(\d+)">\s*<path d="M ([\d.]+) ([\d.]+)[^"]*"[^>]*stroke: (#\w+)[^>]*>'
)
_CLIPS = re.compile(r"<defs>\s*<clipPath.*?</defs>", re.DOTALL)
_IDS = re.compile(r' (?:id|clip-path)="[^"]*"')
_LEVEL = re.compile(r' transform="rotate\(-?0 [^)]*\)"')


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of ``width`` by ``height`` inches under shared settings; the user's own are kept."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        yield Figure((width, height))


def thin_out(count: int, most: int) -> np.ndarray:
    """Row numbers of at most ``most`` of ``count`` points, evenly spaced, so that a page stays small."""
    return (
        np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
        if count
        else np.arange(0)
    )


def span(*parts: ArrayLike, margin: float = 0.05) -> tuple[float, float]:
    """Limits around all finite values of ``parts`` with a margin; (0, 1) when there are none."""
    values = np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = (high - low) * margin or max(abs(high), 1.0) * margin
    return low - pad, high + pad


def to_svg(figure: Figure, label: str, titles: Sequence[str] = ()) -> Markup:
    """The figure as inline SVG for the page.

    Artists whose gid is ``data-NAME-NUMBER`` become ``<g data-NAME="NUMBER">`` for the script, with that
    number's entry of ``titles`` as the tooltip that browsers show without any script.
    """
    buffer = io.BytesIO()
    figure.patch.set_visible(False)
    blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # Texts stay texts in the SVG, and the browser has the letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="svg", metadata=blank)
    text = buffer.getvalue().decode("utf-8")
    body = text[text.index("</defs>") + len("</defs>") :] if "<style" in text else text[text.index("<g") :]
    return _framed(body, text, label, titles)


def _framed(body: str, text: str, label: str, titles: Sequence[str]) -> Markup:
    box = re.search(r'viewBox="([\d. ]+)"', text)
    body = _TAG.sub(_shortened, _CLIPS.sub("", body))
    body = _GROUP.sub(lambda found: _marked(found, titles), body)
    body = _LEVEL.sub("", _IDS.sub("", body))
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, f"var({variable})")
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><").replace("<g></g>", "")
    view = box[1] if box else "0 0 300 200"
    opening = Markup('<svg class="figure" role="img" aria-label="{}" viewBox="{}">')
    return opening.format(label, view) + Markup(body.strip())


def _shortened(tag: re.Match[str]) -> str:
    """An element without font lists, its coordinates to a hundredth of a point; text is not touched."""
    plain = _TEXT_STYLE.sub(lambda found: f"font-size: {found[1] or found[3]}px;", tag[0])
    return _NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), plain)


def _marked(found: re.Match[str], titles: Sequence[str]) -> str:
    name, number, x, y, color = found[1], int(found[2]), found[3], found[4], found[5]
    title = Markup("<title>{}</title>").format(titles[number]) if number < len(titles) else ""
    # A wide clear circle around the visible one is easier to hit with a finger.
    circles = (
        f'<circle cx="{x}" cy="{y}" r="11" fill="transparent"/>'
        f'<circle class="dot" cx="{x}" cy="{y}" r="3.6" fill="{color}"/>'
    )
    return f'<g data-{name}="{number}">{title}{circles}'
