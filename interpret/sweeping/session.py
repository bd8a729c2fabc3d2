"""One process's share of a sweep: model, data and explainer, loaded once and asked for one neuron after
another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret.threads import one_thread

if TYPE_CHECKING:
    from interpret.evidence.explainer import Explainer
    from interpret.explanation import NeuronExplanation


@dataclass(frozen=True)
class Order:
    """What a sweep is asked to do, in plain values, so that it can be sent to any worker.

    ``model`` is ``file.py:name``; ``data`` and ``weights`` are files; ``neurons`` are addresses, slices
    allowed; ``label`` names the data's column of labels, ``categorical`` and ``boolean`` its columns that
    are no quantities; ``limit`` bounds one neuron's time and ``search_time`` its formula search,
    in seconds.
    """

    model: str
    data: str
    neurons: tuple[str, ...]
    weights: str | None = None
    label: str | None = None
    categorical: tuple[str, ...] = ()
    boolean: tuple[str, ...] = ()
    engine: str = "both"
    search: str = "auto"
    kernel: str = "activation"
    seed: int = 0
    limit: float | None = None
    search_time: float | None = None
    wrt: str = ""
    title: str = ""

    def to_json(self) -> str:
        """The order as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Order:
        """The order that ``to_json`` wrote."""
        values: dict[str, Any] = json.loads(text)
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)


@dataclass(frozen=True)
class Prepared:
    """What is known once model and data are loaded: the units to explain and what their explanations depend
    on.
    """

    addresses: tuple[str, ...]
    fingerprint: str
    title: str
    data_hash: str = ""
    model_hash: str = ""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Prepared:
        """What ``dataclasses.asdict`` made of one, also by way of JSON."""
        return cls(**{**plain, "addresses": tuple(plain["addresses"])})


class Session:
    """Model, data and explainer of an order; loaded when first needed, the model before the data."""

    def __init__(self, order: Order) -> None:
        self.order = order

    @cached_property
    def model(self) -> Any:
        """The network."""
        from interpret.loading import load_model

        return load_model(self.order.model, self.order.weights)

    @cached_property
    def explainer(self) -> Explainer:
        """The explainer over the order's data."""
        from interpret.evidence.explainer import Explainer, Settings

        model = self.model
        from interpret.data import load

        order = self.order
        data = load(order.data, target=order.label, categorical=order.categorical, boolean=order.boolean)
        settings = Settings(
            engine=order.engine,
            search=order.search,
            kernel=order.kernel,
            seed=order.seed,
            time_limit=order.search_time,
            title=order.title or title_of(order.model),
            wrt=order.wrt,
        )
        names, units = data.names or None, data.units or None
        return Explainer(model, data.X, data.y, names=names, units=units, settings=settings)

    def prepare(self) -> Prepared:
        """Expand the order's neurons.

        Raises:
            InterpretError: the model, the data or an address cannot be used.
        """
        from interpret.address import expand

        explainer = self.explainer
        units = [u for text in self.order.neurons for u in expand(self.model, explainer.sample, text)]
        data, model = explainer.hashes
        addresses = tuple(dict.fromkeys(units))
        return Prepared(addresses, explainer.fingerprint, explainer.settings.title, data, model)

    def explain(self, address: str) -> NeuronExplanation:
        """One neuron's explanation, computed with one thread whatever the caller's setting."""
        with one_thread():
            return self.explainer.explain(address)


def title_of(model: str) -> str:
    """The name that a network goes by when none is given: ``nets/net.py:model`` is ``net:model``."""
    file, _, name = model.rpartition(":")
    return f"{Path(file).stem}:{name}" if file else model


def one_thread_environment() -> dict[str, str]:
    """Variables that make a new process use one thread from its start."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1")}
