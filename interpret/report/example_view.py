"""From what the GP engine says to what a page shows."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from interpret.explanation import ExamplePart, Neighbor, QueryCase, Thumbnail
from interpret.report import pictures
from interpret.report.clean import close_to_one, count, number, percent, signed, visible, within
from interpret.report.figures import examples as figures
from interpret.report.tables import closest_columns, ranges, shades, widest_columns
from interpret.report.view import NO_EXAMPLES, NOTHING, Case, Example, Examples, Figure, Listing, Stat

#: Contributions that cancel by more than this are large numbers of both signs, and explain nothing.
CANCELLATION_LIMIT = 100.0
_WHY = {
    "typical": "an example as ordinary as they come",
    "most uncertain": "where the Gaussian process knows least",
    "worst predicted": "where it misses the network most",
    "misclassified": "where the network's answer is wrong",
}


class Gallery:
    """Training examples by row number, as a page shows them."""

    def __init__(self, thumbnails: Iterable[Thumbnail], places: tuple[int, ...] = ()):
        self._places = places
        self._by_index = {thumbnail.index: thumbnail for thumbnail in thumbnails}
        self._looks: dict[int, Look] = {}

    def raw(self, index: int) -> Thumbnail:
        """The thumbnail of training row ``index``; a bare number where none was kept."""
        return self._by_index.get(index, Thumbnail(index, "missing"))

    def look(self, index: int) -> Look:
        """How training row ``index`` looks; a page shows the same few rows again and again."""
        if index not in self._looks:
            self._looks[index] = look(self.raw(index))
        return self._looks[index]

    @cached_property
    def every(self) -> tuple[Thumbnail, ...]:
        """All thumbnails, by row."""
        return tuple(self._by_index[at] for at in sorted(self._by_index))

    def listed(self, indices: Sequence[int], values: Sequence[str] = ()) -> Listing:
        """Training rows as a page lists them; ``values`` are shown as what each one adds."""
        raw = [self.raw(at) for at in indices]
        rows = [at for at in raw if at.kind == "row"]
        columns = widest_columns(rows, self.every)
        scale = ranges(self.every, columns)
        shown = [
            drawn(at, self.look(at.index), contribution=value, columns=columns, scale=scale)
            for at, value in zip(raw, values or [""] * len(raw), strict=True)
        ]
        names = tuple(visible(rows[0].names[at], 40) for at in columns) if rows else ()
        return Listing(tuple(shown), names)

    def neighbor(
        self, neighbor: Neighbor, longest: float, columns: Sequence[int], scale: Sequence[tuple]
    ) -> Example:
        """A neighbor with similarity and signed contribution; ``longest`` is the case's largest in size."""
        seen = self.look(neighbor.index)
        return drawn(
            self.raw(neighbor.index),
            seen,
            similarity=number(neighbor.similarity, 2),
            contribution=signed(neighbor.contribution),
            bar=round(100 * neighbor.contribution / longest, 1) if longest else 0.0,
            place=_place(neighbor.place),
            spot=_spot(neighbor.place, self._places) if seen.kind == "image" else None,
            columns=columns,
            scale=scale,
        )


@dataclass(frozen=True)
class Look:
    """What of an example is the same wherever it stands on a page."""

    kind: str
    label: str
    text: str
    source: Markup = NOTHING
    pixelated: bool = False
    width: int = 0
    height: int = 0
    spark: Markup = NOTHING


def look(thumbnail: Thumbnail) -> Look:
    """A picture, a sparkline or a text, with its label."""
    label, text = visible(thumbnail.label, 40), visible(thumbnail.text, 400)
    if thumbnail.kind == "image":
        image = pictures.picture(thumbnail.png)
        if image is None:
            return Look("missing", label, text)
        source = Markup("data:image/png;base64," + base64.b64encode(image.png).decode())
        pixelated = max(image.width, image.height) <= 64
        return Look("image", label, text, source, pixelated, image.width, image.height)
    if thumbnail.kind == "series":
        spark = figures.sparkline(thumbnail.values, f"series {thumbnail.index} {label}")
        return Look("series", label, text, spark=spark)
    return Look(thumbnail.kind, label, text)


def drawn(
    thumbnail: Thumbnail,
    seen: Look,
    *,
    similarity: str = "",
    contribution: str = "",
    bar: float = 0.0,
    place: str = "",
    spot: tuple[float, float, float, float] | None = None,
    columns: Sequence[int] = (),
    scale: Sequence[tuple] = (),
) -> Example:
    """A thumbnail as a page shows it: how it looks, the cells of a table row, and what it has to do with a query."""
    values: list[float] = []
    if thumbnail.kind == "row":
        values = [thumbnail.values[at] for at in columns if at < len(thumbnail.values)]
    return Example(
        number=f"{thumbnail.index}",
        kind=seen.kind,
        label=seen.label,
        source=seen.source,
        pixelated=seen.pixelated,
        spark=seen.spark,
        text=seen.text,
        cells=tuple([number(value) for value in values]),
        shades=shades(values, scale),
        similarity=similarity,
        contribution=contribution,
        bar=bar,
        place=place,
        spot=spot,
        width=seen.width,
        height=seen.height,
    )


def _place(place: tuple[int, ...] | None) -> str:
    return "" if place is None else "at " + ", ".join(str(at) for at in place)


def _spot(place: tuple[int, ...] | None, grid: tuple[int, ...]) -> tuple[float, float, float, float] | None:
    """A cell (row, column) of ``grid`` as left, top, width and height in percent of a picture."""
    if place is None or len(place) != 2 or len(grid) != 2 or min(grid) < 1:
        return None
    (row, column), (rows, columns) = place, grid
    left, top = 100 * column / columns, 100 * row / rows
    return round(left, 2), round(top, 2), round(100 / columns, 2), round(100 / rows, 2)


def examples(part: ExamplePart) -> Examples:
    """The page's example section."""
    gallery = Gallery(part.thumbnails, part.places)
    reached, suspects = part.prototypes, part.suspects[:12]
    return Examples(
        kernel=part.kernel,
        stats=_stats(part),
        figures=_figures(part),
        cases=tuple(case(at, gallery, part.baseline) for at in part.cases),
        prototypes=gallery.listed(reached.index[:16]) if reached else NO_EXAMPLES,
        prototype_note=f"The first {len(reached.r2)} reach R² {close_to_one(reached.r2[-1])}."
        if reached and reached.r2
        else "",
        suspects=gallery.listed([at.index for at in suspects], [number(at.score) for at in suspects]),
        suggested=tuple(_class_name(at.suggested) for at in suspects),
        notes=part.notes,
    )


def _class_name(label: str) -> str:
    """A class that came as a number reads as one: 5, not 5.0."""
    return label[:-2] if label.endswith(".0") and label[:-2].lstrip("-").isdigit() else label


def _stats(part: ExamplePart) -> tuple[Stat, ...]:
    where = "on rows it has not seen" if part.held_out else "on the rows it was fitted to: no test of it"
    return (
        Stat(
            "Pearson r",
            close_to_one(part.pearson),
            f"Correlation of the Gaussian process with the network, {where}.",
        ),
        Stat("R²", close_to_one(part.r2), f"Share of the output's variance that it reproduces, {where}."),
        Stat("mean error", number(part.mae, 2), "Mean absolute difference, in the output's own units."),
        Stat(
            "coverage",
            percent(part.coverage95),
            "Share of outputs inside the 95 % interval; 95 % would be honest.",
        ),
        Stat(
            "agreement",
            percent(part.agreement),
            "Share of the ten nearest neighbors that belong to the predicted class.",
        ),
        Stat(
            "cancellation",
            number(part.cancellation),
            "Absolute contributions over their sum; near 1 they pull one way, at 100 they explain nothing.",
        ),
    )


def _figures(part: ExamplePart) -> tuple[Figure, ...]:
    drawn_figures = []
    if len(part.network):
        drawn_figures.append(
            Figure(
                "Gaussian process against network",
                "Each dot is an example: on the dashed line both give the same number. Below, what is left "
                "between them, with 95 % intervals.",
                figures.fidelity(part),
            )
        )
    if len(part.levels):
        drawn_figures.append(
            Figure(
                "Calibration",
                "Intervals that promise a share should hold that share: under the dashed line they are too "
                "narrow, above it too wide.",
                figures.calibration(part.levels, part.coverage),
            )
        )
    if len(part.frontier) > 1:
        drawn_figures.append(
            Figure(
                "Fit against clarity",
                "Each dot is a setting that was tried: lower fits the network more closely, further left keeps "
                "contributions from cancelling. The ringed one is used.",
                figures.settings(part.frontier),
            )
        )
    if part.prototypes is not None and len(part.prototypes.r2) > 1:
        drawn_figures.append(
            Figure(
                "Prototypes",
                "How much of the output a handful of training examples carries: R² of the first k alone.",
                figures.prototypes(part.prototypes),
            )
        )
    return tuple(drawn_figures)


def case(query: QueryCase, gallery: Gallery, baseline: float) -> Case:
    """One held-out example with its neighbors, in the rendering its data ask for."""
    near, far = query.neighbors[:10], query.contributors[:5]
    longest = max((abs(at.contribution) for at in (*near, *far)), default=0.0)
    own = query.thumbnail or Thumbnail(query.index, "missing")
    strip = [gallery.raw(at.index) for at in near]
    columns = closest_columns(own, strip, gallery.every)
    scale = ranges((own, *gallery.every), columns)
    # A table lists its neighbors only.
    shown_far = () if own.kind == "row" else far
    cancels = not query.explains or query.cancellation > CANCELLATION_LIMIT
    return Case(
        kind=query.kind,
        why=_WHY.get(query.kind, ""),
        query=drawn(own, look(own), columns=columns, scale=scale),
        figures=_case_stats(query),
        neighbors=tuple(gallery.neighbor(at, longest, columns, scale) for at in near),
        contributors=tuple(gallery.neighbor(at, longest, columns, scale) for at in shown_far),
        columns=tuple(visible(own.names[at], 40) for at in columns),
        summary=_summary(query, near, baseline),
        warning=(
            f"Contributions cancel {number(query.cancellation)} to 1 here: large numbers of both signs "
            "whose sum is small. They are not an explanation of this output."
            if cancels
            else ""
        ),
    )


def _case_stats(query: QueryCase) -> tuple[Stat, ...]:
    mean, low, high = within(query.mean, query.low, query.high)
    return (
        Stat("network", number(query.network), "The network's own output for this example."),
        Stat(
            "GP mean",
            f"{mean} ({low} to {high})",
            "Its mean, with its 95 % interval.",
        ),
        Stat("cancellation", number(query.cancellation, 2), "1: all contributions pull one way."),
        Stat(
            "novelty",
            percent(query.novelty),
            "Share of held-out examples no more novel than this one; near 100 % is unlike the training data.",
        ),
    )


def _summary(query: QueryCase, near: Sequence[Neighbor], baseline: float) -> str:
    shown = sum(at.contribution for at in near)
    if not near or math.isnan(baseline):
        return ""
    total = query.mean - baseline
    return (
        f"Baseline {number(baseline)}, all training examples together {signed(total)}; "
        f"of these the {count(len(near), 'neighbor')} shown give {signed(shown)}."
    )
