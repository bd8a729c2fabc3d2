"""Where a formula does not hold: a shallow decision tree over the inputs finds the region, in the inputs' own names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interpret.explanation import Array, FailingRegion

#: A region is reported when the misfit inside it is at least this many times the misfit outside …
CONTRAST = 3.0
#: … and at least this large: below it the formula holds everywhere for all practical purposes.
SMALLEST_MISFIT = 5e-3
#: A leaf holds at least this share of the points, so that a handful of outliers is not a region.
SMALLEST_SHARE = 0.05


def failing_region(
    points: Array, cosines: Array, names: Sequence[str], depth: int = 2
) -> FailingRegion | None:
    """The leaf of a regression tree on the misfit 1 − |cos| in which the formula is worst.

    ``points`` (N, d) in the inputs' units, ``cosines`` (N,) between the formula's and the network's gradient,
    already signed so that their mean is positive. Returns None where the misfit is small or the same everywhere.
    The tree is grown on two thirds of the points and the figures are those of the rest.
    """
    from sklearn.tree import DecisionTreeRegressor

    misfit = np.clip(1.0 - np.nan_to_num(cosines, nan=0.0), 0.0, 2.0)
    n = len(misfit)
    if n < 60 or misfit.mean() < SMALLEST_MISFIT / 2:
        return None
    held_out = np.arange(n) % 3 == 0
    tree = DecisionTreeRegressor(
        max_depth=depth,
        min_samples_leaf=max(10, int(SMALLEST_SHARE * n)),
        min_impurity_decrease=1e-9,
        random_state=0,
    ).fit(points[~held_out], misfit[~held_out])
    grown = tree.tree_
    worst = max(
        (leaf for leaf in range(grown.node_count) if grown.children_left[leaf] == -1),
        key=lambda leaf: float(grown.value[leaf, 0, 0]),
    )
    path = _trimmed(_path_to(grown, worst), points[~held_out], misfit[~held_out])
    inside = satisfies(points, path)
    judged_in, judged_out = inside & held_out, ~inside & held_out
    if not path or judged_in.sum() < 5 or judged_out.sum() < 5:
        return None
    bad, good = float(misfit[judged_in].mean()), float(misfit[judged_out].mean())
    if bad < SMALLEST_MISFIT or bad < CONTRAST * good:
        return None
    return FailingRegion(_rule(path, names), float(inside.mean()), bad, good, conditions=tuple(path))


def middle(region: FailingRegion, points: Array, count: int = 5) -> tuple[int, ...]:
    """Positions of the ``count`` rows (N, d) inside the region that lie nearest to its middle, nearest first."""
    rows = np.flatnonzero(satisfies(points, region.conditions))
    if not len(rows):
        return ()
    within = points[rows]
    scale = np.where(points.std(0) > 0, points.std(0), 1.0)
    far = (((within - np.median(within, axis=0)) / scale) ** 2).sum(1)
    return tuple(int(row) for row in rows[np.argsort(far, kind="stable")[:count]])


Condition = tuple[int, bool, float]  # column, whether it must exceed the threshold, the threshold


def _path_to(grown: object, leaf: int) -> list[Condition]:
    """The conditions from the root down to ``leaf``."""
    left, right = grown.children_left, grown.children_right  # type: ignore[attr-defined]
    parent = {
        int(child): node for node in range(len(left)) for child in (left[node], right[node]) if child != -1
    }
    path: list[Condition] = []
    node = leaf
    while node in parent:
        up = parent[node]
        path.append((int(grown.feature[up]), bool(right[up] == node), float(grown.threshold[up])))  # type: ignore[attr-defined]
        node = up
    return path[::-1]


def satisfies(points: Array, path: Sequence[Condition]) -> np.ndarray:
    """Which rows (N,) of the points (N, d) meet every condition."""
    inside = np.ones(len(points), dtype=bool)
    for column, above, threshold in path:
        inside &= (points[:, column] > threshold) == above
    return inside


def _trimmed(path: list[Condition], points: Array, misfit: Array) -> list[Condition]:
    """Drops deeper conditions that hardly raise the misfit: the shorter rule is the better description."""
    while len(path) > 1:
        shorter = path[:-1]
        inside = satisfies(points, shorter)
        if misfit[inside].mean() < 0.7 * misfit[satisfies(points, path)].mean():
            break
        path = shorter
    return path


def _rule(path: Sequence[Condition], names: Sequence[str]) -> str:
    return " and ".join(
        f"{names[column]} {'>' if above else '≤'} {threshold:.3g}" for column, above, threshold in path
    )
