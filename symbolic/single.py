"""One effective input: every formula in it has the right direction, so the values g(x) themselves are fitted.

Functions of that input from the grammar and the tuned grid are fitted by least squares, one to three at a time; inner
constants follow by `scipy.optimize.least_squares`. Nothing found here is ever EXACT by alignment: there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpret.outcome import EXACT_LINK_R2, Verdict
from symbolic import features, scoring, tuned
from symbolic.backends.base import Settings
from symbolic.expression import Tree, Variable, evaluate, linear
from symbolic.features import Grammar
from symbolic.judge import Judgement
from symbolic.polish import Candidate, candidate, move, parameters
from symbolic.scoring import Scored
from symbolic.simplify import tidy
from symbolic.sizes import cost
from symbolic.targets import Targets

Array = NDArray[np.float64]

#: One more unit of cost must lower the log of the unexplained variance by this.
PRICE = 0.2
#: Unexplained shares below this are rounding.
ROUNDING = 1e-12
#: Points fitted; as many are held out.
POINTS = 600


@dataclass(frozen=True)
class Fitted:
    """A formula of the one input with its held-out R² in the values."""

    row: Scored
    r2: float


def fit(targets: Targets, settings: Settings) -> list[Fitted]:
    """Formulas of the one effective input, simplest first; without values only the input itself."""
    (only,) = targets.effective_inputs
    trees: list[Tree] = [Variable(only)]
    if targets.everywhere is not None:
        x, values = targets.everywhere
        rows = x[:POINTS], values[:POINTS]
        starts = _supports(rows, only, settings)
        trees += [tidy(_refined(start, rows, settings), settings.user_operators) for start in starts]
    found: dict[Tree, Fitted] = {}
    for tree in trees:
        plain = candidate(tree, settings.user_operators)
        row = None if plain is None else scoring.row_of(_rounded(plain), targets)
        if row is not None and row.complexity <= settings.max_complexity:
            found[row.tree] = Fitted(row, _r2(row.tree, targets, settings))
    return _frontier(list(found.values()))


def _supports(rows: tuple[Array, Array], only: int, settings: Settings) -> list[Tree]:
    """The best single functions, pairs and triples by least squares."""
    points, values = rows
    grammar = Grammar(frozenset(settings.operators), settings.user_operators)
    atoms = features.variables_bank(points, [only])
    bank = features.grow(atoms, grammar).join(tuned.bank(atoms, grammar, thorough=True, mixed=False))
    basis = bank.values - bank.values.mean(1, keepdims=True)
    size = np.linalg.norm(basis, axis=1)
    keep = size > 1e-9 * np.abs(bank.values).max(1)
    bank, basis = bank.take(np.flatnonzero(keep)), basis[keep] / size[keep, None]
    g = values - values.mean()
    gram, along = basis @ basis.T, basis @ g
    first, second = np.triu_indices(len(basis), 1)
    lead = np.maximum(1 - gram[first, second] ** 2, 1e-8)
    pair = (
        along[first] ** 2 + along[second] ** 2 - 2 * gram[first, second] * along[first] * along[second]
    ) / lead
    chosen: list[tuple[int, ...]] = [(int(k),) for k in np.argsort(-(along**2), kind="stable")[:12]]
    pairs: list[tuple[int, ...]] = [
        (int(first[k]), int(second[k])) for k in np.argsort(-pair, kind="stable")[:12]
    ]
    chosen += pairs + _thirds(pairs[:4], basis, g)
    return [_least_squares(support, bank, basis, g, size[keep]) for support in chosen]


def _thirds(pairs: Sequence[tuple[int, ...]], basis: Array, g: Array) -> list[tuple[int, ...]]:
    """Each pair with the function that explains most of what it leaves."""
    found: list[tuple[int, ...]] = []
    for pair in pairs:
        q = np.linalg.qr(basis[list(pair)].T)[0]
        rest = g - q @ (q.T @ g)
        others = basis - (basis @ q) @ q.T
        length = np.maximum(np.linalg.norm(others, axis=1), 1e-4)
        best = np.argsort(-np.abs(others @ rest) / length, kind="stable")[:2]
        found += [(*pair, int(k)) for k in best if int(k) not in pair]
    return found


def _least_squares(
    support: tuple[int, ...], bank: features.Bank, basis: Array, g: Array, size: Array
) -> Tree:
    c = np.linalg.lstsq(basis[list(support)].T, g, rcond=None)[0] / size[list(support)]
    return linear(c, [bank.trees[k] for k in support])


def _refined(tree: Tree, rows: tuple[Array, Array], settings: Settings) -> Tree:
    """Coefficients and inner constants refined on the values; a shift of the values is free."""
    from scipy.optimize import least_squares

    start = candidate(tree, settings.user_operators)
    if start is None:
        return tree
    points, values = rows
    origin = parameters(start)

    def residual(p: Array) -> Array:
        with np.errstate(all="ignore"):
            t = evaluate(move(start, p - origin).tree, points, settings.user_operators or None)
        misfit = (t - t.mean()) - (values - values.mean())
        return np.asarray(np.nan_to_num(misfit, nan=1e6, posinf=1e6, neginf=-1e6))

    solved = least_squares(residual, origin, max_nfev=40, x_scale=np.maximum(np.abs(origin), 1e-3))
    return move(start, solved.x - origin).tree


def _rounded(found: Candidate) -> Candidate:
    p = parameters(found)
    digits = np.array([float(f"{v:.{scoring.DIGITS}g}") for v in p])
    return move(found, digits - p)


def _r2(tree: Tree, targets: Targets, settings: Settings) -> float:
    """Held-out R² of a·T + b for the values; NaN without values."""
    if targets.everywhere is None:
        return float("nan")
    x, values = targets.everywhere
    with np.errstate(all="ignore"):
        t = evaluate(tree, x, settings.user_operators or None)
    half = min(POINTS, len(x) // 2)
    design = np.column_stack([t[:half], np.ones(half)])
    if not np.isfinite(t).all():
        return float("-inf")
    slope, shift = np.linalg.lstsq(design, values[:half], rcond=None)[0]
    rest = values[half:] - slope * t[half:] - shift
    return float(1 - (rest**2).sum() / max(((values[half:] - values[half:].mean()) ** 2).sum(), 1e-300))


def _frontier(found: list[Fitted]) -> list[Fitted]:
    kept: list[Fitted] = []
    for item in sorted(found, key=lambda f: (f.row.cost, -f.r2)):
        if not kept or not np.isfinite(item.r2) or item.r2 > kept[-1].r2 + 0.01 * (1 - kept[-1].r2):
            kept.append(item)
    return sorted(kept, key=lambda f: (f.row.complexity, -f.r2))


def choose(found: Sequence[Fitted]) -> int:
    """The formula whose R² pays for its length."""
    if not any(np.isfinite(item.r2) for item in found):
        return 0
    price = [np.log(max(1 - item.r2, ROUNDING)) + PRICE * cost(item.row.tree) for item in found]
    return int(np.argmin(price))


def judge(item: Fitted, targets: Targets) -> Judgement:
    """APPROXIMATE where the values are reproduced, NONE otherwise; never EXACT."""
    name = targets.names[targets.effective_inputs[0]]
    said = f"only {name!r} matters, so the gradient's direction carries no information: any formula in it is aligned"
    if not np.isfinite(item.r2):
        return Judgement(
            Verdict.NONE, (f"{said}; without the unit's values nothing can be fitted",), ("pass values=",)
        )
    how = f"the values were fitted instead, with R² {item.r2:.6f} on held-out points"
    if item.r2 >= EXACT_LINK_R2:
        return Judgement(Verdict.APPROXIMATE, (said, how))
    return Judgement(Verdict.NONE, (said, f"{how}; a claim needs {EXACT_LINK_R2:g}"))
