"""Explains one neuron after another of one model on one data set, sharing what neurons of a layer have in common.

This is the only place where both engines meet; each may fail without taking the other's answer along.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interpret.address import parse
from interpret.errors import InterpretError, UsageError
from interpret.evidence.crosscheck import attribution_shares
from interpret.evidence.examples import LayerFigures, Rows, example_part, layer_figures, residual_r2
from interpret.evidence.failing import middle
from interpret.evidence.merging import Fresh, merged
from interpret.evidence.split import Split, length, split, take
from interpret.evidence.thumbnails import ROW_VALUES, Render, Thumbnailer
from interpret.evidence.verdict import judge
from interpret.explanation import (
    Array,
    CrossCheck,
    ExamplePart,
    FormulaPart,
    Indices,
    NeuronExplanation,
    Provenance,
    Thumbnail,
)
from interpret.probe import Probe
from interpret.probing.hashing import data_hash, model_hash, versions
from interpret.runs.rows import fingerprint
from interpret.threads import one_thread

if TYPE_CHECKING:
    from gp import Distillation
    from symbolic import Formula

ENGINES = ("both", "symbolic", "gp")
#: The names that the symbolic engine has for its backends; not imported from there, for that takes a second.
SEARCHES = ("auto", "eigen", "pysr")
#: Rows on which gradients are taken for the symbolic engine and for the cross-checks.
SYMBOLIC_ROWS = 4000
CHECK_ROWS = 400
#: A layer whose units times rows exceed this is distilled unit by unit, to bound memory.
SHARED_TARGETS = 20_000_000


@dataclass(frozen=True)
class Settings:
    """What an explanation depends on besides model and data; two equal ones give the same answer.

    ``engine`` is "both", "symbolic" or "gp"; ``search`` the symbolic backend; ``time_limit`` in seconds for one
    neuron's search; ``title`` names the model in reports.
    """

    engine: str = "both"
    search: str = "auto"
    kernel: str = "activation"
    seed: int = 0
    time_limit: float | None = None
    title: str = "model"
    wrt: str = ""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"engine must be one of {', '.join(ENGINES)}; got {self.engine!r}")
        if self.search not in SEARCHES:
            raise UsageError(f"search must be one of {', '.join(SEARCHES)}; got {self.search!r}")

    def require(self) -> None:
        """Ask for what these settings need, before any work is done.

        Raises:
            BackendMissing: the search backend asked for by name is not installed.
        """
        if self.search == "pysr" and self.engine != "gp":
            from symbolic.backends.pysr import shared

            missing = shared().available()
            if missing is not None:
                raise missing.error()


class Explainer:
    """``Explainer(model, X, y).explain("fc2[3]")`` gives that neuron's page.

    X (N, *input) are the training rows, an array, tensor or DataFrame; y (N,) optional labels. ``test=(X, y)`` are
    rows the network has not seen; without it a fifth of the rows, at most 1,000, is held out from the GP.
    ``render(x)`` makes a picture or text of one row. Nothing about the model changes.

    Raises:
        UsageError: an unknown engine or search. BackendMissing: the search asked for is not installed. BadInput and
        its kin: data that cannot be used (`interpret.errors`).
    """

    def __init__(
        self,
        model: torch.nn.Module,
        X: Any,
        y: Any = None,
        *,
        test: tuple[Any, Any] | None = None,
        names: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
        render: Render | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.model, self.settings = model, settings or Settings()
        self.settings.require()
        self.split: Split = split(X, y, test, self.settings.seed)
        self.names = tuple(names) if names is not None else _columns(X)
        self.units = tuple(units) if units is not None else None
        self.render = render
        # All that the data's hash is of: labels decide which rows are suspect, names how a formula reads.
        self._given = (X, y, *(test or ()), self.names, self.units)
        self._layers: dict[str, tuple[Distillation, LayerFigures]] = {}

    @property
    def sample(self) -> Any:
        """A few rows, enough to learn the shapes of everything."""
        return take(self.split.X, slice(0, 8))

    @cached_property
    def fingerprint(self) -> str:
        """Names model, data and settings: what an explanation of an address depends on."""
        return fingerprint(self._provenance(0.0))

    @cached_property
    def hashes(self) -> tuple[str, str]:
        """Of the data and of the model, as provenance names them."""
        given = [part for part in self._given if part is not None]
        return data_hash(given[0] if len(given) == 1 else given), model_hash(self.model)

    @cached_property
    def _predicted(self) -> np.ndarray | None:
        """Class the model's output predicts for each test row; None where the labels are no numbers of its classes."""
        labels = self.split.y_test
        if labels is None or labels.dtype.kind not in "biuf":
            return None
        out = Probe(self.model, "").values(self.split.X_test)
        if out.ndim != 2 or not np.isin(labels, np.arange(max(out.shape[1], 2))).all():
            return None
        return (out.argmax(1) if out.shape[1] > 1 else (out[:, 0] > 0).long()).numpy()

    def explain(self, address: str) -> NeuronExplanation:
        """The page of one scalar unit.

        Raises:
            AddressError, UnknownLayer, IndexOutOfRange and kin: before any engine runs. An engine that fails on a good
            address does not raise: its error is listed in ``failures``.
        """
        with one_thread():
            return self._explained(address)

    def _explained(self, address: str) -> NeuronExplanation:
        started = time.perf_counter()
        probe = Probe(self.model, address, wrt=self.settings.wrt)
        shape = tuple(probe.values(self.sample).shape[1:])
        if shape:
            raise UsageError(
                f"{address!r} names {shape} units; explain one at a time, such as {address}[0], "
                f"or list them with interpret.address.expand"
            )
        failures: list[tuple[str, str]] = []
        formula = self._formula(probe, failures) if self.settings.engine != "gp" else None
        examples = self._examples(probe, failures) if self.settings.engine != "symbolic" else None
        part, check = self._merge(probe, formula, examples)
        example = examples[0] if examples else None
        said = judge(part, example, check, failures)
        return NeuronExplanation(
            address=address,
            title=f"{self.settings.title} · {address}",
            model=self.settings.title,
            verdict=said.verdict,
            claim=said.claim,
            reasons=said.reasons,
            advice=said.advice,
            formula=part,
            examples=example,
            crosscheck=check,
            provenance=self._provenance(time.perf_counter() - started),
            failures=tuple(failures),
            units=tuple(zip(self.names or (), self.units or (), strict=False)),
        )

    def _formula(self, probe: Probe, failures: list[tuple[str, str]]) -> Formula | None:
        import symbolic

        rng = np.random.default_rng(self.settings.seed)
        count = length(self.split.X)
        rows = np.sort(rng.permutation(count)[:SYMBOLIC_ROWS])
        try:
            return symbolic.fit(
                probe, take(self.split.X, rows), names=self.names, engine=self.settings.search,
                seed=self.settings.seed, time_limit=self.settings.time_limit,
                focus="all" if _measured(self.split.y) else "auto",
            )  # fmt: skip
        except InterpretError as error:
            failures.append(("symbolic", str(error)))
            return None

    def _examples(
        self, probe: Probe, failures: list[tuple[str, str]]
    ) -> tuple[ExamplePart, Distillation, int] | None:
        try:
            layer, head = self._layer_of(probe)
            distillation, figures = self._distilled(layer)
            one = figures.head(head)
            part = example_part(distillation, head, self._rows, one, self._is_output(layer))
        except InterpretError as error:
            failures.append(("gp", str(error)))
            return None
        return part, distillation, head

    def _layer_of(self, probe: Probe) -> tuple[str, int]:
        """A layer with one axis of units is distilled once for all of them; anything else unit by unit."""
        address = parse(str(probe.address))
        whole = address.with_index(None)
        shape = tuple(probe.at(str(whole)).values(take(self.split.X_test, slice(0, 2))).shape[1:])
        index = address.index or ()
        plain = len(shape) == 1 and len(index) == 1 and isinstance(index[0], int)
        if plain and shape[0] * length(self.split.X) <= SHARED_TARGETS:
            return str(whole), int(index[0]) % shape[0]
        return str(address), 0

    def _distilled(self, layer: str) -> tuple[Distillation, LayerFigures]:
        if layer not in self._layers:
            import gp

            probe = Probe(self.model, layer, wrt=self.settings.wrt)
            made = gp.distill(probe, self.split.X, kernel=self.settings.kernel, seed=self.settings.seed)
            self._layers[layer] = made, layer_figures(made, probe, self.split.X_test)
        return self._layers[layer]

    def _is_output(self, layer: str) -> bool:
        """Whether the layer's values are the model's own output, so that its heads are classes."""
        rows = take(self.split.X_test, slice(0, 4))
        ours, out = Probe(self.model, layer).values(rows), Probe(self.model, "").values(rows)
        return ours.shape == out.shape and bool(torch.equal(ours, out))

    @cached_property
    def _rows(self) -> Rows:
        shown = self.split
        return Rows(
            X=shown.X,
            X_test=shown.X_test,
            numbers=shown.rows,
            numbers_test=shown.rows_test,
            y=shown.y,
            y_test=shown.y_test,
            thumbnail=self._thumbnailer(shown.X, shown.y, shown.rows),
            thumbnail_test=self._thumbnailer(shown.X_test, shown.y_test, shown.rows_test),
            held_out=True,
            predicted_test=self._predicted,
        )

    def _thumbnailer(self, X: Any, y: np.ndarray | None, numbers: Indices) -> Callable[[int], Thumbnail]:
        """Thumbnails by position, which carry the caller's own row numbers."""
        make = Thumbnailer(X, self.names, self.render, self._order, y)
        return lambda position: replace(make(position), index=int(numbers[position]))

    @cached_property
    def _order(self) -> list[int] | None:
        """Columns of a table by how much the model's output moves with them; None where rows are no table."""
        if self.names is None or len(self.names) <= ROW_VALUES:
            return None
        out = Probe(self.model, "").values(take(self.split.X_test, slice(0, 1)))
        top = "[" + ", ".join("0" for _ in out.shape[1:]) + "]" if out.ndim > 1 else ""
        rows = take(self.split.X_test, slice(0, CHECK_ROWS))
        gradients = _flat(Probe(self.model, top).gradients(rows))
        shares = attribution_shares(gradients, _flat(rows))
        return [int(column) for column in np.argsort(-shares, kind="stable")]

    def _merge(
        self,
        probe: Probe,
        formula: Formula | None,
        examples: tuple[ExamplePart, Distillation, int] | None,
    ) -> tuple[FormulaPart | None, CrossCheck | None]:
        """Put formula, GP and network side by side on rows that neither engine has seen."""
        if formula is None:
            return None, None
        rows = take(self.split.X_test, slice(0, CHECK_ROWS))
        points = _flat(rows if not probe.wrt else probe.capture(rows, [probe.wrt])[probe.wrt])
        fresh = Fresh(points, _flat(probe.gradients(rows)), _flat(probe.values(rows))[:, 0])
        mean = None
        if examples is not None and not probe.wrt:
            mean = _flat(examples[1].mean_gradients(rows, head=examples[2]))
        part, check = merged(formula, fresh, mean)
        if check is not None and examples is not None and formula is not None and formula.link is not None:
            check = replace(check, residual_r2=self._left_over(probe, formula, examples[1], examples[2]))
        if part is not None and part.failing is not None and not probe.wrt:
            near = middle(part.failing, _flat(take(self.split.X, slice(0, SYMBOLIC_ROWS))))
            region = replace(part.failing, nearest=tuple(int(self.split.rows[row]) for row in near))
            part = replace(part, failing=region)
        return part, check

    def _left_over(self, probe: Probe, formula: Formula, made: Distillation, head: int) -> float:
        """What the formula misses, as far as the network's features know it; NaN where rows are no points."""
        if probe.wrt:
            return float("nan")
        rows = take(self.split.X, slice(0, SYMBOLIC_ROWS)), take(self.split.X_test, slice(0, CHECK_ROWS))
        residual, test = (_flat(probe.values(part))[:, 0] - formula.predict(_flat(part)) for part in rows)
        return residual_r2(made, head, residual, rows, test)

    def _provenance(self, seconds: float) -> Provenance:
        data, model = self.hashes
        return Provenance(
            seed=self.settings.seed,
            data_hash=data,
            model_hash=model,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(),
            settings=tuple((key, str(value)) for key, value in asdict(self.settings).items()),
            seconds=seconds,
        )


def _columns(X: Any) -> tuple[str, ...] | None:
    columns = getattr(X, "columns", None)
    return None if columns is None else tuple(str(column) for column in columns)


def _flat(rows: Any) -> Array:
    """Rows of any shape as (N, d) float64."""
    if hasattr(rows, "detach"):
        rows = rows.detach().cpu()
    array = np.asarray(rows, dtype=np.float64)
    return array.reshape(len(array), -1)


def _measured(y: np.ndarray | None) -> bool:
    """Whether labels are measured values: a network that was fitted to these decides nothing, whatever its size."""
    return y is not None and y.dtype.kind == "f" and bool((y != np.round(y)).any())
