"""``interpret.explain``: several neurons of one model, explained, kept and written as one report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import torch

from interpret.address import expand
from interpret.errors import UnknownNeuron, UsageError
from interpret.evidence.explainer import Explainer, Settings
from interpret.evidence.thumbnails import Render
from interpret.explanation import NeuronExplanation

Progress = Callable[[str, int, int], None]


class Explanations(Sequence[NeuronExplanation]):
    """What `explain` returns: a sequence in the order asked for, and a mapping by address."""

    def __init__(self, neurons: Sequence[NeuronExplanation], folder: Path | None = None) -> None:
        self._neurons = tuple(neurons)
        self.folder = folder

    @overload
    def __getitem__(self, key: int | str) -> NeuronExplanation: ...
    @overload
    def __getitem__(self, key: slice) -> Explanations: ...
    def __getitem__(self, key: int | str | slice) -> NeuronExplanation | Explanations:
        """A neuron by position or by address; a slice gives Explanations.

        Raises:
            UnknownNeuron: no neuron of that address. IndexError: a position out of range.
        """
        if isinstance(key, slice):
            return Explanations(self._neurons[key], self.folder)
        if isinstance(key, int):
            return self._neurons[key]
        for neuron in self._neurons:
            if neuron.address == key:
                return neuron
        raise UnknownNeuron(f"no neuron {key!r} here; there are {', '.join(self.addresses[:20]) or 'none'}")

    def __len__(self) -> int:
        return len(self._neurons)

    def __iter__(self) -> Iterator[NeuronExplanation]:
        return iter(self._neurons)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses in order."""
        return tuple(neuron.address for neuron in self._neurons)

    def report(self, path: str | Path, title: str | None = None) -> Path:
        """Write one HTML report and return its path. It needs no network, no server and no script to be read.

        Args:
            path: of the page to write; a page that is there is replaced.
            title: of the page.

        Raises:
            ReportError: there is no neuron to report, or the page cannot be written.
        """
        from interpret.report import write

        return write(self, Path(path), title=title or "What these neurons compute, and what they go by")

    def __repr__(self) -> str:
        lines = "\n".join(f"  {n.address}: {n.verdict} · {n.claim}" for n in self._neurons[:20])
        return f"Explanations of {len(self)} neurons\n{lines}"

    def __rich__(self) -> object:
        """What a terminal shows through rich."""
        from interpret.report.terminal import table

        return table(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from interpret.report import notebook

        return notebook(self)


def explain(
    model: torch.nn.Module,
    addresses: str | Sequence[str],
    X: Any,
    y: Any = None,
    *,
    names: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    render: Render | None = None,
    out: str | Path | None = None,
    test: tuple[Any, Any] | None = None,
    engine: str = "both",
    seed: int = 0,
    time_limit: float | None = None,
    title: str = "model",
    search: str = "auto",
    kernel: str = "activation",
    wrt: str = "",
    progress: Progress | None = None,
) -> Explanations:
    """Explain neurons by formula and by example.

    Args:
        model: any module; it is left as found.
        addresses: one or several, ``"fc2[3]"``; slices such as ``"fc1[0:3]"`` stand for each of their units.
        X: (N, *input) training rows: array, tensor, DataFrame, or what the model takes as a batch.
        y: (N,) labels, for misclassified cases and label suspects.
        names: of the d inputs, text of any kind; a DataFrame brings its own.
        units: of measurement, one for each input.
        render: ``render(x)`` → str, PNG bytes or image array, to show one row.
        out: a folder that keeps the run (`interpret.open_run`); a neuron already there is not explained again.
        test: (X, y) rows the network has not seen; otherwise a seeded fifth of X is held out.
        engine: "both", "symbolic" or "gp".
        seed: fixes every random choice.
        time_limit: seconds for one neuron's formula search.
        title: the model's name in reports.
        search: the symbolic backend.
        kernel: of the GP.
        wrt: where the gradient is taken (`interpret.Probe`).
        progress: called with (address, done, total).

    Raises:
        InterpretError: one of `interpret.errors`, before anything is written, for an address or data of no use.
    """
    settings = Settings(engine, search, kernel, seed, time_limit, title, wrt)
    explainer = Explainer(model, X, y, test=test, names=names, units=units, render=render, settings=settings)
    asked = [addresses] if isinstance(addresses, str) else list(addresses)
    if not asked:
        raise UsageError("no address was given; interpret.layers(model, X) lists all there are")
    wanted = list(dict.fromkeys(unit for text in asked for unit in expand(model, explainer.sample, text)))
    run = None
    if out is not None:
        from interpret.store import create_run

        run = create_run(out)
        mixed = run.mixed(title, *explainer.hashes)
        if mixed:
            warnings.warn(mixed, stacklevel=2)
    neurons: list[NeuronExplanation] = []
    for done, address in enumerate(wanted):
        if progress is not None:
            progress(address, done, len(wanted))
        kept = run.find(address, title, explainer.fingerprint) if run is not None else None
        neuron = kept or explainer.explain(address)
        if run is not None and kept is None:
            run.add(neuron)
        neurons.append(neuron)
    if progress is not None:
        progress("", len(wanted), len(wanted))
    return Explanations(neurons, None if out is None else Path(out))
