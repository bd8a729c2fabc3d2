"""What a report is made from: a run, or explanations in memory; read one neuron at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from interpret.errors import UsageError
from interpret.explanation import NeuronExplanation

if TYPE_CHECKING:
    from interpret.runs.claims import Failure


@runtime_checkable
class Stored(Protocol):
    """A run: how many neurons it holds, and all of them one at a time."""

    def __len__(self) -> int:
        """How many."""
        ...

    def explanations(self) -> Iterator[NeuronExplanation]:
        """Each neuron's explanation, in the order of the report."""
        ...


@runtime_checkable
class Failing(Protocol):
    """A run that also knows which neurons it could not explain."""

    def failures(self) -> list[Failure]:
        """Those that still are not explained."""
        ...


@runtime_checkable
class Keyed(Stored, Protocol):
    """A run on a disk, which other processes may open as well and where each neuron has a number."""

    path: Path

    def keys(self) -> list[int]:
        """The number of each neuron, in the order of the report."""
        ...

    def explanation(self, key: int) -> NeuronExplanation:
        """The neuron of that number."""
        ...


Source = Stored | NeuronExplanation | Iterable[NeuronExplanation]


class Neurons:
    """A counted, repeatable pass over neurons, whichever way they came."""

    def __init__(self, source: Source):
        self._stored = source if isinstance(source, Stored) else None
        self._held = [] if isinstance(source, Stored) else _checked(source)

    def __len__(self) -> int:
        return len(self._held) if self._stored is None else len(self._stored)

    @property
    def run(self) -> Keyed | None:
        """The run that the neurons are in, where several processes can read it."""
        return self._stored if isinstance(self._stored, Keyed) else None

    @property
    def failures(self) -> list[Failure]:
        """Neurons that could not be explained; only a run knows of any."""
        return self._stored.failures() if isinstance(self._stored, Failing) else []

    def __iter__(self) -> Iterator[NeuronExplanation]:
        return iter(self._held) if self._stored is None else self._stored.explanations()


def _checked(source: NeuronExplanation | Iterable[NeuronExplanation]) -> list[NeuronExplanation]:
    if isinstance(source, NeuronExplanation):
        return [source]
    try:
        held = list(source.values()) if isinstance(source, Mapping) else list(source)
    except TypeError:
        raise UsageError(
            f"a report is made of a run or of neuron explanations, and {type(source).__name__} is neither. "
            f"Pass what interpret.explain or interpret.open_run returned."
        ) from None
    for at, neuron in enumerate(held):
        if not isinstance(neuron, NeuronExplanation):
            raise UsageError(
                f"a report is made of neuron explanations; item {at} is a {type(neuron).__name__}. "
                f"Pass what interpret.explain or interpret.open_run returned."
            )
    return held
