"""Which training examples are behind an output: contributions, and the exact k best of them, in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gp.conditioning import as_numpy
from gp.kernels import Array
from gp.results import Neighbors
from interpret.errors import RowsNotStored, UsageError

if TYPE_CHECKING:
    from gp.distillation import Distillation

Tensor = torch.Tensor
ORDERS = ("similarity", "contribution", "positive", "negative", "alike")


def correction(d: Distillation) -> Tensor | None:
    """See ``gp.distillation.Distillation.correction``."""
    posterior = d.posterior
    mean_kernel = posterior.basis.eigenvalues.sum(-1) / d.passed.sums.count
    # Rounding of α is about 1e-15·|v|/σ² a row; it is seen in a mean once that times k reaches 1e-13 or so.
    if bool((posterior.noise > 1e-2 * mean_kernel).all()):
        return None
    values = posterior.basis.eigenvalues
    strong = values > 1e-13 * values.amax(-1, keepdim=True)
    inverse = torch.where(strong, 1 / values.clamp_min(1e-300), torch.zeros_like(values))[..., None]
    q = torch.zeros_like(posterior.weights)
    for _ in range(2):
        made = torch.zeros_like(q)
        for block, z in d.blocks():
            groups, n, places, _ = z.shape
            v = block.targets.reshape(n, places, groups, -1).permute(2, 0, 1, 3).to(z)
            alpha = (v - posterior.mean(z)) / posterior.noise[:, None, None, None] + z @ q[:, None]
            made += z.flatten(1, 2).transpose(1, 2) @ alpha.flatten(1, 2)
        q = q + inverse * (posterior.weights - made)
    return q


def contributions(d: Distillation, z: Tensor, head: int, by: str) -> Array:
    """(N, M) or (N, M, P) contributions to queries z (N, E) at one head."""
    parts = []
    for kernel, alpha, _ in _sections(d, z, head):
        c = kernel * alpha
        parts.append(c if by == "place" else c.sum(-1))
    whole = as_numpy(torch.cat(parts, 1))
    if by == "place" and not d.places:
        return unpooled(d, z, head, whole)
    return whole


def unpooled(d: Distillation, z: Tensor, head: int, whole: Array) -> Array:
    """Contributions (N, M, P_in) at the places that a pooled row is a mean of; as they are where nothing is pooled."""
    if not d.pooled:
        return whole
    pool = getattr(d.map, "pool", None)
    if pool is None or d.X is None:
        raise RowsNotStored(
            "contributions by place of a head that is a mean over places need the training inputs, which a file does "
            "not hold; ask the distillation before it is saved, or distil anew"
        )
    if len(d.row_ids) != d.examples or not np.array_equal(d.row_ids, np.arange(d.examples)):
        raise UsageError(
            "contributions by place of a pooled head need all the training rows; use the original one"
        )
    basis, group, place = d.posterior.basis, d.group(head), int(d.heads.place[head])
    profile = pool[place].to(z)
    parts, alphas = [], whole[:, :, 0]
    for block in d.map.blocks(d.X, unpooled=True):  # type: ignore[union-attr, call-arg]
        at_places = basis.one(group, block.features[group])
        kernel = torch.einsum("qe,npe,p->qnp", z, at_places, profile)
        total = kernel.sum(-1)
        share = torch.from_numpy(alphas[:, block.rows]).to(total) / torch.where(total == 0, 1.0, total)
        parts.append(kernel * share[..., None])
    return as_numpy(torch.cat(parts, 1))


def _sections(d: Distillation, z: Tensor, head: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Per block: kernel (N, n, P) with the queries, alpha (n, P) of the head, z (n, P, E) of the rows."""
    group, column = d.group(head), d.column(head)
    for block in d.rows.blocks():
        if d.correction is None:
            at = d.posterior.basis.one(group, block.features[group])
            alpha = d.alpha_of(block.targets, at, head)
        else:  # it corrects the rounding of one way to compute alpha, so that way it must be
            every = d.posterior.basis(block.features)
            at, alpha = every[group], d.alphas(block.targets, every)[group, ..., column]
        kernel = (z @ at.reshape(-1, at.shape[-1]).T).reshape(len(z), *at.shape[:2])
        yield kernel, alpha, at


@dataclass
class _Best:
    """The best candidates so far: (N, K) score, similarity, contribution, index, place, and a fingerprint each."""

    keep: int
    columns: list[Tensor] | None = None

    def add(self, columns: list[Tensor]) -> None:
        """Merge (N, n) columns, the first of which is the score."""
        if self.columns is not None:
            columns = [torch.cat([old, new], 1) for old, new in zip(self.columns, columns, strict=True)]
        order = columns[0].topk(min(self.keep, columns[0].shape[1]), dim=1, sorted=True).indices
        self.columns = [c.gather(1, order) for c in columns]


def neighbors(d: Distillation, z: Tensor, k: int, head: int, by: str) -> Neighbors:
    """The k best training examples for queries z (N, E) at one head, repeated examples once.

    Raises:
        UsageError: another order, or k below one.

    """
    if by not in ORDERS:
        raise UsageError(f"by is one of {', '.join(ORDERS)}; got {by!r:.40}")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"k is a positive integer; got {k!r:.40}")
    k = min(int(k), d.examples)
    keep = 2 * k + 8
    while True:
        columns = _candidates(d, z, head, by, keep)
        chosen, enough = _distinct(columns, k)
        if enough or columns[0].shape[1] >= d.examples:
            return _result(d, columns, chosen)
        keep *= 4  # the best are copies of few examples: look further


def _candidates(d: Distillation, z: Tensor, head: int, by: str, keep: int) -> list[Tensor]:
    """The best examples: (N, K) score, similarity, contribution, index, place, fingerprint."""
    best = _Best(min(keep, d.examples))
    length = z.norm(dim=1).clamp_min(1e-300)[:, None]
    mark = torch.randn(z.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(z)
    start = 0
    for kernel, alpha, at in _sections(d, z, head):
        norms = at.norm(dim=-1).clamp_min(1e-300)
        cosine, place = (kernel / norms).max(-1) if at.shape[1] > 1 else (kernel[..., 0] / norms[:, 0], None)
        if by == "similarity":
            top = (cosine / length).topk(min(best.keep, cosine.shape[1]), dim=1)
            chosen = kernel.gather(1, top.indices[..., None].expand(-1, -1, kernel.shape[2]))
            share = (chosen * alpha[top.indices]).sum(-1)
        else:
            shares = (kernel * alpha).sum(-1)
            top = _SCORES[by](shares, cosine).topk(min(best.keep, shares.shape[1]), dim=1)
            share = shares.gather(1, top.indices)
        order = top.indices
        where = torch.zeros_like(order) if place is None else place.gather(1, order)
        prints = (at @ mark).sum(-1) / norms.sum(-1) + 1e3 * norms.sum(-1)
        best.add([top.values, (cosine / length).gather(1, order), share, order + start, where, prints[order]])
        start += at.shape[0]
    assert best.columns is not None
    return best.columns


#: order -> score of (share, cosine); −∞ where an example does not belong there at all.
_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "contribution": lambda share, _: share.abs(),
    "positive": lambda share, _: share.where(share > 0, -torch.inf),
    "negative": lambda share, _: (-share).where(share < 0, -torch.inf),
    "alike": lambda share, cosine: share.abs().where(cosine > 0, -torch.inf),
}


def _distinct(columns: list[Tensor], k: int) -> tuple[np.ndarray, bool]:
    """(N, k) positions of the first k examples that repeat none before them; −1 where there are fewer."""
    score, marks, contribution, index = (as_numpy(columns[i]) for i in (0, 5, 2, 3))
    chosen = np.full((len(marks), k), -1)
    for n, (row, share) in enumerate(zip(marks, contribution, strict=True)):
        # Among equal scores the lowest row number stands for its copies.
        tolerance = 1e-9 * (np.abs(row) + 1e-300)
        found: list[int] = []
        for j in range(int(np.isfinite(score[n]).sum())):
            same = [i for i in found if abs(row[i] - row[j]) <= tolerance[j] and _same(share[i], share[j])]
            if same:
                first = same[0]
                if index[n, j] < index[n, first]:
                    found[found.index(first)] = j
                continue
            if len(found) == k:
                break
            found.append(j)
        chosen[n, : len(found)] = found
    return chosen, bool((chosen >= 0).all())


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * (abs(a) + abs(b)) + 1e-300


def _result(d: Distillation, columns: list[Tensor], chosen: np.ndarray) -> Neighbors:
    # Columns that no query fills are left out; −1 and NaN stand only where one query has fewer than another.
    chosen = chosen[:, (chosen >= 0).any(0)]
    missing = chosen < 0
    at = np.where(missing, 0, chosen)
    _, similarity, contribution, index, place, _ = (np.take_along_axis(as_numpy(c), at, 1) for c in columns)
    ids = np.where(missing, -1, d.row_ids[index])
    where = None
    if d.places:
        where = np.stack(np.unravel_index(place, d.places), -1)
        where[missing] = -1
    return Neighbors(
        ids, np.where(missing, np.nan, similarity), np.where(missing, np.nan, contribution), where
    )
