"""What a report is made from: a run, or explanations in memory; read one neuron at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from interpret.errors import UsageError
from interpret.explanation import NeuronExplanation


@runtime_checkable
class Stored(Protocol):
    """A run: its addresses, and a neuron of each."""

    def addresses(self) -> Sequence[str]:
        """All addresses, in the order of the report."""
        ...

    def load(self, address: str) -> NeuronExplanation:
        """The explanation of one address."""
        ...


Source = Stored | Iterable[NeuronExplanation]


class Neurons:
    """A counted, repeatable pass over neurons, whichever way they came."""

    def __init__(self, source: Source):
        if isinstance(source, NeuronExplanation):
            source = [source]
        self._stored = source if isinstance(source, Stored) else None
        self._addresses = list(source.addresses()) if isinstance(source, Stored) else []
        self._held = [] if isinstance(source, Stored) else _checked(source)

    def __len__(self) -> int:
        return len(self._addresses) or len(self._held)

    def __iter__(self) -> Iterator[NeuronExplanation]:
        if self._stored is None:
            yield from self._held
        else:
            for address in self._addresses:
                yield self._stored.load(address)


def _checked(source: Iterable[NeuronExplanation]) -> list[NeuronExplanation]:
    try:
        held = list(source.values()) if isinstance(source, dict) else list(source)
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
