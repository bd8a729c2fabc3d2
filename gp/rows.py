"""Training rows as a source that can be read again and again in blocks: held in memory, streamed, or gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from gp.sums import flat
from interpret.errors import RowsNotStored

Tensor = torch.Tensor


@dataclass(frozen=True)
class RowBlock:
    """Examples ``rows`` of the source: raw features (G, n, P, D) and targets (n, P, C), float64."""

    rows: slice
    features: Tensor
    targets: Tensor

    def flat(self) -> tuple[Tensor, Tensor]:
        """(G, n·P, D) and (G, n·P, K)."""
        return flat(self.features, self.targets)


class Rows(Protocol):
    """What the explanations by example read."""

    @property
    def examples(self) -> int:
        """How many."""

    def blocks(self) -> Iterator[RowBlock]:
        """All rows in order.

        Raises:
            RowsNotStored: there are none to read.

        """


@dataclass(frozen=True)
class Held:
    """Rows in memory: features (G, M, P, D) in any float type, targets (M, P, C)."""

    features: Tensor
    targets: Tensor
    step: int

    @property
    def examples(self) -> int:
        """M."""
        return len(self.targets)

    def blocks(self) -> Iterator[RowBlock]:
        """Slices, made float64 one at a time."""
        for start in range(0, self.examples, self.step):
            rows = slice(start, min(start + self.step, self.examples))
            yield RowBlock(rows, self.features[:, rows].double(), self.targets[rows].double())


@dataclass(frozen=True)
class Streamed:
    """Rows made anew on each reading, by running the model or calling the user's source again."""

    make: Callable[[], Iterator[RowBlock]]
    examples: int

    def blocks(self) -> Iterator[RowBlock]:
        """Whatever the source gives."""
        return self.make()


@dataclass(frozen=True)
class Gone:
    """No rows; ``why`` is the reason the reader gets."""

    why: str
    examples: int

    def blocks(self) -> Iterator[RowBlock]:
        """Always raises."""
        raise RowsNotStored(self.why)


@dataclass(frozen=True)
class Kept:
    """The rows of another source at which ``keep`` (M,) is true, numbered anew."""

    source: Rows
    keep: Tensor

    @property
    def examples(self) -> int:
        """How many are kept."""
        return int(self.keep.sum())

    def blocks(self) -> Iterator[RowBlock]:
        """Blocks of the source without the others; empty ones are skipped."""
        start = 0
        for block in self.source.blocks():
            chosen = self.keep[block.rows]
            count = int(chosen.sum())
            if count:
                rows = slice(start, start + count)
                yield RowBlock(rows, block.features[:, chosen], block.targets[chosen])
            start += count


def held(blocks: list[RowBlock], step: int) -> Held:
    """Keep in memory what was read block by block."""
    return Held(torch.cat([b.features for b in blocks], 1), torch.cat([b.targets for b in blocks]), step)
