"""Two models, or two stages of one training, neuron by neuron: the same concept or not, and how far apart.

Works on what runs hold; no model is needed. Concepts are compared by the directions of their formulas' gradients, so
that two formulas which differ by a monotone map count as one; behaviour is compared by what the two engines measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interpret.errors import UnknownNeuron
from interpret.evidence.crosscheck import mean_alignment
from interpret.explanation import Array, FormulaPart, NeuronExplanation
from interpret.outcome import EXACT_MISALIGNMENT, Verdict

if TYPE_CHECKING:
    import pandas as pd

SAME, CLOSE, DIFFERENT, UNKNOWN = "same concept", "close", "different", "cannot tell"
#: Two formulas further apart than this in 1 − |mean cos| are different concepts.
CLOSE_MISALIGNMENT = 0.05


@dataclass(frozen=True)
class NeuronComparison:
    """One address in both runs.

    ``distance`` is 1 − |mean cos| between the gradients of the two chosen formulas on the points of both runs, NaN
    where a formula is missing; ``behaviour`` the same between the two networks' own gradients, where the runs hold
    the same points. ``same`` is "same concept", "close", "different" or "cannot tell" (a side that claims no formula).
    """

    address: str
    same: str
    distance: float
    behaviour: float
    a: NeuronExplanation
    b: NeuronExplanation


@dataclass(frozen=True, repr=False)
class Comparison:
    """The neurons that two runs share; ``only_a`` and ``only_b`` are the addresses that they do not.

    ``notes`` say what makes the comparison doubtful, such as inputs of other names.
    """

    title_a: str
    title_b: str
    neurons: tuple[NeuronComparison, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.neurons)

    def __iter__(self) -> Iterator[NeuronComparison]:
        return iter(self.neurons)

    def __getitem__(self, address: str) -> NeuronComparison:
        for neuron in self.neurons:
            if neuron.address == address:
                return neuron
        raise UnknownNeuron(f"the two runs share no neuron {address!r}")

    @property
    def frame(self) -> pd.DataFrame:
        """A row per shared neuron: address, same, distance, behaviour, and both sides' verdict, formula and pearson."""
        import pandas as pd

        rows = [
            {
                "address": n.address, "same": n.same, "distance": n.distance, "behaviour": n.behaviour,
                "verdict_a": str(n.a.verdict), "verdict_b": str(n.b.verdict),
                "formula_a": n.a.formula.expression if n.a.formula else "",
                "formula_b": n.b.formula.expression if n.b.formula else "",
                "pearson_a": n.a.examples.pearson if n.a.examples else np.nan,
                "pearson_b": n.b.examples.pearson if n.b.examples else np.nan,
            }
            for n in self.neurons
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        lines = "\n".join(
            f"  {n.address}: {n.same} · {_formula(n.a)} · {_formula(n.b)}" for n in self.neurons[:20]
        )
        notes = "".join(f"  ! {note}\n" for note in self.notes)
        return f"Comparison of {len(self)} neurons, {self.title_a} beside {self.title_b}\n{notes}{lines}"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from interpret.report.notebooks import comparison

        return comparison(self)

    def __rich__(self) -> object:
        """What a terminal shows through rich."""
        from interpret.report.terminal import comparison

        return comparison(self)

    def report(self, path: str | Path) -> Path:
        """Write the comparison as one HTML page; returns its path."""
        from interpret.report import write_comparison

        return write_comparison(self, Path(path))


def _formula(neuron: NeuronExplanation) -> str:
    return neuron.formula.expression if neuron.formula else "–"


def compare(a: Any, b: Any) -> Comparison:
    """Compare two runs neuron by neuron; warns where their networks have different inputs.

    Args:
        a: a run (`interpret.open_run`), the path of one, `Explanations`, or a sequence of NeuronExplanation.
        b: the same.

    Raises:
        StoreError: a path holds no run.
        UnknownNeuron: the two share no address.
    """
    first, second = _neurons(a), _neurons(b)
    shared = [address for address in first if address in second]
    if not shared:
        raise UnknownNeuron(
            f"the two runs share no address; the first has {', '.join(list(first)[:5])} …, "
            f"the second {', '.join(list(second)[:5])} …"
        )
    neurons = tuple(_compared(first[address], second[address]) for address in shared)
    notes = _other_inputs(neurons)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return Comparison(
        title_a=next(iter(first.values())).model,
        title_b=next(iter(second.values())).model,
        neurons=neurons,
        only_a=tuple(address for address in first if address not in second),
        only_b=tuple(address for address in second if address not in first),
        notes=notes,
    )


def _other_inputs(neurons: Iterable[NeuronComparison]) -> tuple[str, ...]:
    """A note where neurons of one address are of networks with different inputs."""
    differing = [
        (mine, theirs)
        for pair in neurons
        if (mine := _inputs(pair.a)) and (theirs := _inputs(pair.b)) and mine != theirs
    ]
    if not differing:
        return ()
    (mine, theirs), count = differing[0], len(differing)
    return (
        f"{count} of the shared neurons are of networks with different inputs ({_few(mine)} and {_few(theirs)}): "
        f"the same address does not make them the same neuron, and their formulas cannot be compared",
    )


def _inputs(neuron: NeuronExplanation) -> tuple[str, ...]:
    """Names of its inputs; none where no formula tells them."""
    return neuron.formula.names if neuron.formula is not None else ()


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(name[:40] for name in names[:4]) + (" …" if len(names) > 4 else "")


def _neurons(source: Any) -> dict[str, NeuronExplanation]:
    """Neurons by address; where one run holds several models, the address carries the model's name."""
    if isinstance(source, str | Path):
        from interpret.store import open_run

        with open_run(source) as run:
            return _by_address(run.explanations())
    return _by_address(source.explanations() if hasattr(source, "explanations") else source)


def _by_address(neurons: Iterable[NeuronExplanation]) -> dict[str, NeuronExplanation]:
    kept = list(neurons)
    several = len({neuron.model for neuron in kept}) > 1
    return {f"{n.model} · {n.address}" if several else n.address: n for n in kept}


def _compared(a: NeuronExplanation, b: NeuronExplanation) -> NeuronComparison:
    distance = behaviour = float("nan")
    if a.formula is not None and b.formula is not None and a.formula.names == b.formula.names:
        distance = _distance(a.formula, b.formula)
        behaviour = _behaviour(a.formula, b.formula)
    return NeuronComparison(a.address, _same(a, b, distance), distance, behaviour, a, b)


def _same(a: NeuronExplanation, b: NeuronExplanation, distance: float) -> str:
    if Verdict.NONE in (a.verdict, b.verdict) or not np.isfinite(distance):
        return UNKNOWN
    if distance < EXACT_MISALIGNMENT:
        return SAME
    return CLOSE if distance < CLOSE_MISALIGNMENT else DIFFERENT


def _distance(a: FormulaPart, b: FormulaPart) -> float:
    from symbolic.expression import from_json, value_and_gradient

    points = np.concatenate([a.points, b.points])
    with np.errstate(all="ignore"):
        first, second = (value_and_gradient(from_json(part.tree), points)[1] for part in (a, b))
    return 1.0 - mean_alignment(first, second)


def _behaviour(a: FormulaPart, b: FormulaPart) -> float:
    """1 − |mean cos| between the networks' gradients at the points that both runs hold; NaN below ten of them."""
    where = {row.tobytes(): place for place, row in enumerate(np.ascontiguousarray(a.points))}
    pairs = [
        (where[row.tobytes()], place)
        for place, row in enumerate(np.ascontiguousarray(b.points))
        if row.tobytes() in where
    ]
    if len(pairs) < 10:
        return float("nan")
    mine, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    both: tuple[Array, Array] = a.directions[mine], b.directions[theirs]
    return 1.0 - mean_alignment(*both)
