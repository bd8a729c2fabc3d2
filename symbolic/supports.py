"""Which features: forward beam, backward elimination and swaps on the Gram matrices, each support solved by IRLS.

Forward alone gets trapped where two features only help together; backward elimination from a well-conditioned
family gets past that. Both fill one pool of supports, which keeps the best few of every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbolic import gram
from symbolic.arrays import host, module, to_device

Array = NDArray[np.float64]
Support = tuple[int, ...]
Stop = Callable[[], bool]

#: Pairs solved at a time, so that what they need stays in the cache.
PAIRS = 1_000
#: Features measured at a time, for the same reason.
CHUNK = 32
#: Bisections after which it is clear of most features that others are better.
LOOK = 5


@dataclass(frozen=True)
class Effort:
    """How wide to search: members of the beam, candidates tried for each, pairs to start from."""

    beam: int = 8
    tries: int = 10
    pairs: int = 40
    most: int = 8
    backward: int = 24
    keep: int = 12
    swaps: bool = True
    paired: int = 120
    pair_points: int = 64


@dataclass
class Pool:
    """The best supports seen of every size: support → (misalignment, coefficients)."""

    keep: int = 12
    swaps: bool = True
    paired: int = 120
    pair_points: int = 64
    found: dict[int, dict[Support, tuple[float, Array]]] = field(default_factory=dict)

    def add(self, supports: Iterable[Support], solved: gram.Solved) -> None:
        """Enter solved supports; only the best few of each size stay."""
        for support, coefficients, loss in zip(
            supports, solved.coefficients, solved.misalignment, strict=True
        ):
            if np.isfinite(loss):
                self.found.setdefault(len(support), {})[support] = (float(loss), coefficients)
        for size, rows in self.found.items():
            if len(rows) > 4 * self.keep:
                kept = sorted(rows.items(), key=lambda item: item[1][0])[: self.keep]
                self.found[size] = dict(kept)

    def best(self, size: int, count: int) -> list[tuple[Support, float, Array]]:
        """The best supports of a size, best first."""
        rows = self.found.get(size, {})
        ordered = sorted(rows.items(), key=lambda item: (item[1][0], item[0]))
        return [(support, loss, c) for support, (loss, c) in ordered[:count]]

    def knows(self, support: Support) -> bool:
        """Whether the support was solved and kept."""
        return support in self.found.get(len(support), {})

    @property
    def sizes(self) -> list[int]:
        """Sizes that occur."""
        return sorted(self.found)

    @property
    def lowest(self) -> float:
        """The least misalignment of all."""
        return min((loss for rows in self.found.values() for loss, _ in rows.values()), default=np.inf)


def _ordered(*members: int) -> Support:
    return tuple(sorted(int(k) for k in members))


def never() -> bool:
    """Never stop."""
    return False


@dataclass
class Search:
    """A support search over turned features (K, N, d); ``pool`` is valid at any moment.

    ``nodes`` (K,) and ``most_nodes`` say which sums are short enough to be printed. With ``device`` the features live
    there as float64 tensors, and all sums over points are taken there.
    """

    turned: Array
    sizes: Array
    effort: Effort = field(default_factory=Effort)
    stop: Stop = never
    enough: float = 1e-11
    pool: Pool = field(default_factory=Pool)
    nodes: Array | None = None
    most_nodes: float = np.inf
    device: str | None = None

    def __post_init__(self) -> None:
        self.pool.keep = self.effort.keep
        self.turned = to_device(self.turned, self.device)
        self.xp = module(self.turned)
        self.along = self.xp.packed(self.turned[:, :, 0])
        step = CHUNK if self.device is None else max(len(self.turned), 1)
        parts = [gram.measured(self.turned[at : at + step]) for at in range(0, len(self.turned), step)]
        self.single, self.sign = (
            np.concatenate([np.atleast_1d(host(part[k])) for part in parts]) for k in (0, 1)
        )
        self.square = self.xp.joined([part.square for part in parts])
        self.square_along = self.along**2

    def run(self, families: Sequence[Sequence[int]] = ()) -> Pool:
        """Singles and pairs, forward steps, backward elimination from the families, swaps."""
        self._singles()
        self._pairs()
        for family in families:
            if self._done():
                return self.pool
            self._backward(list(family))
        for size in range(2, self.effort.most):
            if self._done():
                break
            self._forward(size)
            if self._saturated(size + 1):
                break
        if not self._done() and self.effort.backward:
            self._backward(self._greedy(self.effort.backward))
        return self.pool

    def eliminate(self, family: Sequence[int]) -> Pool:
        """Singles, the best few of them together, and backward elimination from one family, nothing else."""
        self._singles()
        if len(family) > 2 * self.effort.most:
            # Elimination takes its time: something sensible should stand before.
            best = [int(k) for k in np.argsort(self.single, kind="stable")]
            for size in range(2, self.effort.most + 1):
                self._solve([tuple(sorted(best[:size]))])
        self._backward(list(family))
        return self.pool

    def _saturated(self, size: int) -> bool:
        """Whether two more features in a row bought little."""
        losses = [
            self.pool.best(k, 1)[0][1] if self.pool.best(k, 1) else np.inf for k in (size - 2, size - 1, size)
        ]
        return size > 3 and losses[2] > 0.75 * losses[1] and losses[1] > 0.75 * losses[0]

    def _done(self) -> bool:
        return self.stop() or self._reached() < self.enough

    def _reached(self) -> float:
        """The least misalignment of supports that may be printed: a sum too long to print is no reason to stop."""
        if self.nodes is None:
            return self.pool.lowest
        least = np.inf
        for size, rows in self.pool.found.items():
            for support, (loss, _) in rows.items():
                if loss < least and self.nodes[list(support)].sum() + 3 * (size - 1) <= self.most_nodes:
                    least = loss
        return float(least)

    def _solve(self, supports: Sequence[Support], rounds: int = 3, several: bool = False) -> None:
        """Solve supports of one size in batches that stay in the cache."""
        new = [support for support in supports if not self.pool.knows(support)]
        if not new:
            return
        per = math.prod(self.turned.shape[1:]) * len(new[0])
        batch = max(1, int(150_000 // max(per, 1)))
        for start in range(0, len(new), batch):
            part = new[start : start + batch]
            solved = gram.solve(self.turned[np.array(part)], rounds=rounds, several=several)
            self.pool.add(part, gram.Solved(host(solved.coefficients), host(solved.misalignment)))
            if self.stop():
                return

    def _singles(self) -> None:
        loss = self.single
        order = np.lexsort((self.sizes, np.round(loss, 12)))
        for k in order[: self.pool.keep]:
            self.pool.found.setdefault(1, {})[(int(k),)] = (float(loss[k]), np.array([float(self.sign[k])]))

    def _pairs(self) -> None:
        """Pairs of the simpler features by closed-form IRLS on some points; the best of them then on all."""
        count = len(self.turned)
        if count < 2 or self.effort.most < 2 or self._done():
            return
        simple = np.argsort(self.sizes, kind="stable")[: self.effort.paired]
        some = self.turned[simple][:, :: max(1, self.turned.shape[1] // self.effort.pair_points)]
        first, second = np.triu_indices(len(simple), 1)
        losses = np.empty(len(first))
        for start in range(0, len(first), PAIRS):
            part = slice(start, start + PAIRS)
            losses[part] = host(gram.solve_pairs(some, first[part], second[part])[0])
            if self.stop():
                return
        take = np.argsort(losses, kind="stable")[: self.effort.pairs]
        self._solve([_ordered(simple[first[r]], simple[second[r]]) for r in take])

    def _forward(self, size: int) -> None:
        """Extend the best supports of a size by the features whose bordered pencil has the least eigenvalue."""
        extended: dict[Support, None] = {}
        for support, _, coefficients in self.pool.best(size, self.effort.beam):
            score = self._additions(support, coefficients, count=self.effort.tries)
            for k in np.argsort(score, kind="stable")[: self.effort.tries]:
                extended[tuple(sorted((*support, int(k))))] = None
            if self.stop():
                return
        self._solve(list(extended))
        if self.effort.swaps:
            self._swap(size + 1)

    def _swap(self, size: int) -> None:
        """Take each member out of the best support of a size and put the best others in."""
        tried: dict[Support, None] = {}
        for support, _, coefficients in self.pool.best(size, 1):
            for out in range(size):
                rest = support[:out] + support[out + 1 :]
                if not rest:
                    continue
                w = gram.weights(self._field(support, coefficients))
                score = self._additions(rest, None, w, count=4)
                for k in np.argsort(score, kind="stable")[:4]:
                    tried[tuple(sorted((*rest, int(k))))] = None
        self._solve([s for s in tried if len(set(s)) == size])

    def _additions(
        self, support: Support, coefficients: Array | None, w: Array | None = None, count: int | None = None
    ) -> Array:
        """The least eigenvalue (K,) of the pencil bordered by each feature, from one secular equation each; infinite
        for features that are not among the best ``count``, if so many are asked for.
        """
        chosen = self.turned[list(support)]
        if w is None:
            assert coefficients is not None
            w = gram.weights(self._field(support, coefficients))
        own_a, own_b = gram.pencil(chosen[None], w[None])
        alpha, vectors = gram.smallest(own_a, own_b, len(support))
        basis = self.xp.einsum("ik,knd->ind", vectors[0], chosen) * w[None, :, None]
        flat = self.turned.reshape(len(self.turned), -1)
        cross_b = flat @ basis.reshape(len(basis), -1).T
        along = self.along @ basis[:, :, 0].T
        cross_a = cross_b - along
        own = self.square @ w
        gamma = own - self.square_along @ w
        total = self.xp.total
        rest = own - total(cross_b**2)
        border = cross_a - cross_b * alpha[0]
        corner = gamma - 2 * total(cross_a * cross_b) + total(cross_b**2 * alpha[0])
        usable = rest > 1e-6 * own
        usable[list(support)] = False
        scale = self.xp.where(usable, rest, 1.0)
        border, corner = border / self.xp.sqrt(scale)[:, None], corner / scale
        return least(host(alpha[0]), host(border), host(corner), host(usable), count or len(corner))

    def _field(self, support: Sequence[int], coefficients: Array) -> Any:
        """Turned ∇T (n, d) of a sum of features."""
        c = to_device(coefficients, self.device)
        return self.xp.einsum("k,knd->nd", c, self.turned[list(support)])

    def _greedy(self, most: int) -> list[int]:
        """A family for elimination: the best support grown greedily, without waiting for the fit to improve."""
        best = min(
            (row for size in self.pool.sizes for row in self.pool.best(size, 1)), key=lambda row: row[1]
        )
        support, coefficients = list(best[0]), best[2]
        w = gram.weights(self._field(support, coefficients))
        while len(support) < min(most, len(self.turned)):
            score = self._additions(tuple(support), None, w, count=3)
            order = [int(k) for k in np.argsort(score, kind="stable")[:3] if np.isfinite(score[k])]
            if not order or self.stop():
                break
            support += order
        return support

    def _backward(self, family: list[int]) -> None:
        """Eliminate the least needed feature until few are left; every support on the way enters the pool."""
        family = list(dict.fromkeys(family))
        if len(family) < 2:
            return
        w = gram.weights_of_features(self.turned[None, family])[0]
        for _ in range(2):
            a, b = gram.pencil(self.turned[None, family], w[None])
            w = gram.weights(self._field(family, gram.smallest(a, b)[1][0, 0]))
        while len(family) > 1 and not self.stop():
            a, b = gram.pencil(self.turned[None, family], w[None])
            level, vectors = map(host, gram.smallest(a, b))
            c, a, b = vectors[0, 0], host(a), host(b)
            if len(family) <= self.effort.most:
                self._solve([tuple(sorted(family))], several=True)
            shifted = a[0] - level[0, 0] * b[0]
            scale = np.sqrt(np.maximum(np.diag(b[0]), 1e-300))
            ridge = shifted / np.outer(scale, scale) + 1e-10 * np.eye(len(family))
            spread = np.maximum(np.diag(np.linalg.pinv(ridge, hermitian=True)), 1e-300)
            cost = (c * scale) ** 2 / spread
            del family[int(np.argmin(cost))]
            again = gram.pencil(self.turned[None, family], w[None])
            w = gram.weights(self._field(family, gram.smallest(*again)[1][0, 0]))


def least(alpha: Array, border: Array, corner: Array, usable: NDArray[np.bool_], count: int) -> Array:
    """The values of `secular` (K,) that are among the ``count`` least of those usable, infinite elsewhere.

    A few bisections show which can be among them; those alone are bisected to the end.
    """
    found = np.full(len(corner), np.inf)
    left = np.flatnonzero(usable)
    if len(left) > 4 * count:
        low, high = brackets(alpha, border[left], corner[left], LOOK)
        # Not a number is left to sort itself out.
        left = left[~(low > np.partition(high, count - 1)[count - 1])]
    found[left] = secular(alpha, border[left], corner[left])
    return found


def secular(alpha: Any, border: Any, corner: Any, rounds: int = 18) -> Any:
    """Smallest eigenvalue (K,) of diag(alpha) bordered by vectors (K, m) with corners (K,), by bisection."""
    low, high = brackets(alpha, border, corner, rounds)
    return 0.5 * (low + high)


def brackets(alpha: Any, border: Any, corner: Any, rounds: int) -> tuple[Any, Any]:
    """Bounds (K,) of those eigenvalues after so many bisections."""
    xp = module(border)
    high = xp.minimum(corner, alpha[0])
    square = border**2
    low = high - xp.sqrt(xp.total(square))
    for _ in range(rounds):
        middle = 0.5 * (low + high)
        gap = xp.maximum(alpha[None, :] - middle[:, None], 1e-300)
        positive = corner - middle - xp.total(square / gap) > 0
        low, high = xp.where(positive, middle, low), xp.where(positive, high, middle)
    return low, high


def families(names: Sequence[tuple[str, frozenset[int]]]) -> list[list[int]]:
    """Well-conditioned families for elimination, from the kind and the inputs of every feature.

    All quadratics; and for every function of one input, that function beside all inputs and squares.
    """
    kinds: dict[str, list[int]] = {}
    for k, (kind, _) in enumerate(names):
        kinds.setdefault(kind, []).append(k)
    base = kinds.get("atom", []) + kinds.get("square", [])
    found = [base + kinds.get("product", [])]
    for kind, rows in kinds.items():
        if kind not in ("atom", "square", "product", ""):
            found.append(base + rows)
    found.append(kinds.get("atom", []))
    return [family for family in found if 2 < len(family) <= 64]
