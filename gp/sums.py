"""Streaming sums of features and targets: all that the posterior needs, in float64, mergeable and removable.

Memory does not depend on the number of rows. Features are shifted by the mean of the first chunk before they are
squared, so that centring afterwards does not cancel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from interpret.errors import BadInput, TooFewPoints

Tensor = torch.Tensor


@dataclass(frozen=True)
class Sums:
    """Sums over rows, for G groups with D features and K = C / G channels each.

    count     rows (examples times places)
    shift_h   (G, D), shift_v (G, K): what was subtracted from features and targets before summing
    sum_h     (G, D), gram (G, D, D), cross (G, D, K), sum_v (G, K), square_v (G, K): sums of the shifted
    """

    count: int
    shift_h: Tensor
    shift_v: Tensor
    sum_h: Tensor
    gram: Tensor
    cross: Tensor
    sum_v: Tensor
    square_v: Tensor

    @classmethod
    def start(cls, features: Tensor, targets: Tensor, center: bool = True) -> Sums:
        """Sums of the first chunk: features (G, R, D), targets (G, R, K). Uncentred features are not shifted."""
        groups, _, width = features.shape
        shift_h = features.mean(1) if center else features.new_zeros(groups, width)
        return cls.of(features, targets, shift_h, targets.mean(1))

    @classmethod
    def of(cls, features: Tensor, targets: Tensor, shift_h: Tensor, shift_v: Tensor) -> Sums:
        """Sums of one chunk about given shifts."""
        if features.shape[:2] != targets.shape[:2]:
            raise BadInput(
                f"features have {features.shape[1]} rows and targets {targets.shape[1]}; they must be the same"
            )
        h, v = features - shift_h[:, None], targets - shift_v[:, None]
        transposed = h.transpose(1, 2)
        made = cls(
            features.shape[1],
            shift_h,
            shift_v,
            h.sum(1),
            transposed @ h,
            transposed @ v,
            v.sum(1),
            (v * v).sum(1),
        )
        # One value that is not finite spoils these sums, so that looking at them is enough.
        if not bool(torch.isfinite(made.gram.sum() + made.cross.sum() + made.square_v.sum())):
            _name_broken(features, targets)
        return made

    def add(self, features: Tensor, targets: Tensor) -> Sums:
        """These sums and one more chunk."""
        return self._plus(Sums.of(features, targets, self.shift_h, self.shift_v), 1)

    def remove(self, features: Tensor, targets: Tensor) -> Sums:
        """These sums without rows that are in them."""
        return self._plus(Sums.of(features, targets, self.shift_h, self.shift_v), -1)

    def merge(self, other: Sums) -> Sums:
        """Sums over both, whatever their shifts: how partial sums of several processes come together."""
        return self._plus(other.about(self.shift_h, self.shift_v), 1)

    def about(self, shift_h: Tensor, shift_v: Tensor) -> Sums:
        """The same sums about other shifts."""
        a, b = (self.shift_h - shift_h), (self.shift_v - shift_v)
        outer_h = self.sum_h[:, :, None] * a[:, None, :]
        gram = self.gram + outer_h + outer_h.transpose(1, 2) + self.count * a[:, :, None] * a[:, None, :]
        cross = (
            self.cross
            + self.sum_h[:, :, None] * b[:, None, :]
            + a[:, :, None] * self.sum_v[:, None, :]
            + self.count * a[:, :, None] * b[:, None, :]
        )
        square = self.square_v + 2 * b * self.sum_v + self.count * b * b
        return Sums(
            self.count,
            shift_h,
            shift_v,
            self.sum_h + self.count * a,
            gram,
            cross,
            self.sum_v + self.count * b,
            square,
        )

    def _plus(self, other: Sums, sign: int) -> Sums:
        names = ("sum_h", "gram", "cross", "sum_v", "square_v")
        merged = {n: torch.add(getattr(self, n), getattr(other, n), alpha=sign) for n in names}
        return replace(self, count=self.count + sign * other.count, **merged)

    def centred(self, center: bool = True) -> Centred:
        """Means and sums about them. Without centring the features' origin stays, the targets' mean does not.

        Raises:
            TooFewPoints: fewer than two rows.

        """
        if self.count < 2:
            raise TooFewPoints(
                f"a Gaussian process needs two rows or more to learn from; there are {self.count}"
            )
        mean_v = self.shift_v + self.sum_v / self.count
        square = self.square_v - self.sum_v**2 / self.count
        if center:
            mean_h = self.shift_h + self.sum_h / self.count
            gram = self.gram - self.sum_h[:, :, None] * self.sum_h[:, None, :] / self.count
            cross = self.cross - self.sum_h[:, :, None] * self.sum_v[:, None, :] / self.count
            return Centred(self.count, mean_h, mean_v, gram, cross, square, torch.zeros_like(mean_h))
        raw = self.about(torch.zeros_like(self.shift_h), mean_v)
        return Centred(
            self.count, torch.zeros_like(self.shift_h), mean_v, raw.gram, raw.cross, square, raw.sum_h
        )


@dataclass(frozen=True)
class Centred:
    """Sums about the means: ``gram`` Σhhᵀ, ``cross`` Σh(v−b), ``square`` Σ(v−b)²; b is ``mean_v`` (G, K).

    ``total`` (G, D) is Σh: zero where the features are centred.
    """

    count: int
    mean_h: Tensor
    mean_v: Tensor
    gram: Tensor
    cross: Tensor
    square: Tensor
    total: Tensor


def flat(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(G, R, D) and (G, R, K) from a block's (G, n, P, D) and (n, P, C): one row for each example and place."""
    groups, count, places, width = features.shape
    channels = targets.shape[-1]
    rows = count * places
    v = targets.reshape(rows, groups, channels // groups).permute(1, 0, 2)
    return features.reshape(groups, rows, width), v


def _name_broken(features: Tensor, targets: Tensor) -> None:
    for name, values in (("features", features), ("targets", targets)):
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0][1])
            raise BadInput(
                f"the {name} hold a value that is not finite, first in row {row} of a chunk; drop or fill it"
            )
    raise BadInput("the features or targets are so large that their squares overflow; scale them")
