"""The examples half of an explanation: what the GP engine says of one head, on rows the GP has not seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interpret.errors import InterpretError
from interpret.explanation import (
    Array,
    ExamplePart,
    FidelityPoint,
    Indices,
    Neighbor,
    Prototypes,
    QueryCase,
    Suspect,
    Thumbnail,
)

if TYPE_CHECKING:
    from gp import Distillation
    from interpret.probe import Probe

#: Contributions that cancel more than this explain nothing and are not shown as an explanation.
CANCELLATION_LIMIT = 100.0
#: Points drawn in a scatter; more of them make the page heavy and no clearer.
SCATTER_POINTS = 400
NEIGHBORS = 10
LEVELS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class Rows:
    """Rows to explain from and rows to judge on, with what a person sees of them.

    ``numbers`` maps a position among the training rows to the caller's own row number.
    """

    X: Any
    X_test: Any
    numbers: Indices
    numbers_test: Indices
    y: np.ndarray | None
    y_test: np.ndarray | None
    thumbnail: Callable[[int], Thumbnail]
    thumbnail_test: Callable[[int], Thumbnail]
    held_out: bool = True
    predicted_test: np.ndarray | None = None


@dataclass(frozen=True)
class HeadFigures:
    """Network and GP side by side on the T test rows, in the neuron's own units.

    ``network, mean, deviation, novelty`` (T,); ``low, high`` (levels, T) bound the central intervals of `LEVELS`,
    ``low95, high95`` (T,) the 95 % one. ``deviation`` is the latent's.
    """

    network: Array
    mean: Array
    deviation: Array
    novelty: Array
    low: Array
    high: Array
    low95: Array
    high95: Array


@dataclass(frozen=True)
class LayerFigures:
    """The same for every head of a layer: arrays (T, L) and (levels, T, L)."""

    network: Array
    mean: Array
    deviation: Array
    novelty: Array
    low: Array
    high: Array
    low95: Array
    high95: Array

    def head(self, head: int) -> HeadFigures:
        """The figures of one head."""
        return HeadFigures(
            self.network[:, head], self.mean[:, head], self.deviation[:, head], self.novelty,
            self.low[..., head], self.high[..., head], self.low95[:, head], self.high95[:, head],
        )  # fmt: skip


def layer_figures(distillation: Distillation, probe: Probe, X_test: Any) -> LayerFigures:
    """Network beside GP on the test rows, for all heads in one pass."""
    prediction = distillation.predict(X_test)
    bounds = [prediction.interval(float(level)) for level in LEVELS]
    low95, high95 = prediction.interval(0.95)
    return LayerFigures(
        network=_heads(probe.values(X_test)),
        mean=_heads(prediction.mean),
        deviation=np.sqrt(_heads(prediction.variance)),
        novelty=np.asarray(distillation.novelty(X_test), dtype=np.float64).reshape(len(prediction.mean), -1)[
            :, 0
        ],
        low=np.stack([_heads(low) for low, _ in bounds]),
        high=np.stack([_heads(high) for _, high in bounds]),
        low95=_heads(low95),
        high95=_heads(high95),
    )


def _heads(values: Any) -> Array:
    """(T, *heads) as (T, L) float64."""
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(len(array), -1)


def example_part(
    distillation: Distillation, head: int, rows: Rows, figures: HeadFigures, is_output: bool
) -> ExamplePart:
    """Evidence for one head of a distillation: figures, chosen cases with neighbors, prototypes, suspects.

    Raises what the engine raises; a failure of one engine never stops the other, the caller sees to that.
    """
    started = time.perf_counter()
    fidelity = distillation.fidelity(rows.X_test)
    line = fidelity.iloc[head]
    chosen = _choose_cases(figures, rows, head if is_output else None)
    cases = tuple(_case(distillation, head, rows, figures, kind, row) for kind, row in chosen)
    prototypes = _prototypes(distillation, head, rows)
    shown = {n.index for case in cases for n in (*case.neighbors, *case.contributors)}
    shown |= set(prototypes.index if prototypes else ())
    position = {int(number): place for place, number in enumerate(rows.numbers)}
    suspects, left_out = _suspects(distillation, rows) if is_output else ((), ())
    shown |= {suspect.index for suspect in suspects}
    count = len(figures.network)
    draw = np.linspace(0, count - 1, min(count, SCATTER_POINTS)).astype(int)
    inside = (figures.low <= figures.network) & (figures.network <= figures.high)
    return ExamplePart(
        kernel=distillation.kernel if isinstance(distillation.kernel, str) else str(distillation.kernel),
        noise=float(np.max(distillation.noise)),
        examples=len(rows.numbers),
        pearson=float(line["pearson"]),
        r2=float(line["r2"]),
        mae=float(line["mae"]),
        coverage95=float(line["coverage95"]),
        loglik=float(line["loglik"]),
        cancellation=float(line["cancellation"]),
        agreement=float(fidelity.attrs.get("agreement", float("nan"))),
        held_out=rows.held_out,
        network=figures.network[draw],
        mean=figures.mean[draw],
        low=figures.low95[draw],
        high=figures.high95[draw],
        levels=LEVELS,
        coverage=inside.mean(axis=1),
        cases=cases,
        thumbnails=tuple(rows.thumbnail(position[index]) for index in sorted(shown)),
        prototypes=prototypes,
        suspects=suspects,
        notes=(*distillation.notes, *left_out),
        seconds=time.perf_counter() - started,
        baseline=float(np.ravel(distillation.baseline)[head]),
        frontier=tuple(
            FidelityPoint(p.metric, float(p.noise), float(p.r2), float(p.cancellation), bool(p.chosen))
            for p in distillation.frontier
        ),
        places=tuple(int(size) for size in distillation.places),
    )


def _choose_cases(figures: HeadFigures, rows: Rows, output: int | None) -> list[tuple[str, int]]:
    """Which test rows a reader should see: the typical one first, then where doubt is due."""
    value, predicted = figures.network, rows.predicted_test
    strong = np.flatnonzero(value >= np.quantile(value, 0.75))
    if output is not None and predicted is not None and (predicted == output).any():
        strong = np.flatnonzero(predicted == output)
    typical = int(strong[np.argmin(np.abs(value[strong] - np.median(value[strong])))])
    picked = [("typical", typical)]
    wrong: Sequence[int] = []
    if output is not None and predicted is not None and rows.y_test is not None:
        involved = (predicted == output) | (rows.y_test == output)
        wrong = np.flatnonzero((predicted != rows.y_test) & involved).tolist()
        wrong = sorted(wrong, key=lambda row: -abs(value[row]))
    for kind, order in (
        ("misclassified", wrong),
        ("most uncertain", np.argsort(-figures.deviation, kind="stable").tolist()),
        ("worst predicted", np.argsort(-np.abs(value - figures.mean), kind="stable").tolist()),
    ):
        taken = {row for _, row in picked}
        row = next((int(row) for row in order if row not in taken), None)
        if row is not None:
            picked.append((kind, row))
    return picked


def _case(
    distillation: Distillation, head: int, rows: Rows, figures: HeadFigures, kind: str, row: int
) -> QueryCase:
    x = rows.X_test[row : row + 1]
    contributions = np.asarray(distillation.contributions(x, head=head)).reshape(-1)
    near = distillation.neighbors(x, k=min(NEIGHBORS, len(rows.numbers)), head=head)
    scale = float(np.std(_targets(distillation, head)))
    cancellation = float(np.abs(contributions).sum() / max(abs(contributions.sum()), scale, 1e-300))
    order = np.argsort(-np.abs(contributions), kind="stable")[:NEIGHBORS]
    place = near.place
    return QueryCase(
        kind=kind,
        index=int(rows.numbers_test[row]),
        network=float(figures.network[row]),
        mean=float(figures.mean[row]),
        low=float(figures.low95[row]),
        high=float(figures.high95[row]),
        cancellation=cancellation,
        novelty=float(np.mean(figures.novelty <= figures.novelty[row])),
        neighbors=tuple(
            Neighbor(
                int(rows.numbers[i]),
                float(s),
                float(contributions[i]),
                None if place is None else tuple(int(v) for v in place[0, j]),
            )
            for j, (i, s) in enumerate(zip(near.index[0], near.similarity[0], strict=True))
            if i >= 0
        ),
        contributors=tuple(
            Neighbor(int(rows.numbers[i]), float("nan"), float(contributions[i])) for i in order
        ),
        thumbnail=rows.thumbnail_test(row),
        explains=cancellation <= CANCELLATION_LIMIT,
    )


def _targets(distillation: Distillation, head: int) -> Array:
    """What one head was fitted to, (M,); with places, at the head's own place."""
    targets = distillation.targets
    if targets.ndim == 2:
        return np.asarray(targets[:, head])
    return np.asarray(targets[:, distillation.heads.place[head], distillation.heads.channel[head]])


def residual_r2(
    distillation: Distillation, head: int, residual: Array, rows: tuple[Any, Any], test: Array
) -> float:
    """Share of what a formula leaves over that the network's own features account for, on rows not fitted to.

    ``residual`` (M,) on ``rows[0]`` and ``test`` (T,) on ``rows[1]`` are g − φ(T). A GP on the head's features is
    fitted to the first and judged on the second: near 1, the formula misses something the network does; near 0,
    only noise.
    """
    import gp

    features, judged = (np.asarray(distillation.query(part, head)) for part in rows)
    kept, told = np.isfinite(residual), np.isfinite(test)
    if kept.sum() < 20 or told.sum() < 5 or np.std(test[told]) == 0:
        return float("nan")
    fitted = gp.fit_features(features[kept], residual[kept], metric="none", center=False)
    missed = test[told] - np.asarray(fitted.predict_features(judged[told]).mean).reshape(-1)
    return float(1.0 - np.mean(missed**2) / np.var(test[told]))


def _prototypes(distillation: Distillation, head: int, rows: Rows) -> Prototypes | None:
    found = distillation.prototypes(k=min(12, len(rows.numbers)), head=head)
    return Prototypes(
        tuple(int(rows.numbers[i]) for i in found.index),
        tuple(float(w) for w in found.weight),
        tuple(float(r) for r in found.r2),
    )


def _suspects(
    distillation: Distillation, rows: Rows, count: int = 10
) -> tuple[tuple[Suspect, ...], tuple[str, ...]]:
    """Rows whose labels their neighbors contradict, and a note where labels are none, as in a regression."""
    if rows.y is None:
        return (), ()
    try:
        table = distillation.suspects(rows.y).head(count)
    except InterpretError as error:
        return (), (f"Suspect labels are left out: {str(error).rstrip('.')}.",)
    columns = (table[name].tolist() for name in ("index", "label", "suggested", "score"))
    return tuple(
        Suspect(int(rows.numbers[int(row)]), str(label), str(suggested), float(score))
        for row, label, suggested, score in zip(*columns, strict=True)
        if str(label) != str(suggested)
    ), ()
