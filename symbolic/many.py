"""All units of a layer at once: one gradient pass, one bank of features, one set of controls, then unit after unit.

A unit gets the grammar over the inputs with a narrower beam, and no deeper stage: look at the interesting ones with
`symbolic.fit` afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from interpret.errors import BadInput, DeadUnit, InterpretError, TooFewPoints
from symbolic import assemble, derivatives, features, supports, targets
from symbolic.backends.base import DEFAULT_OPERATORS, SearchResult, Settings
from symbolic.deepen import TRAINED, Run
from symbolic.features import Bank, Grammar
from symbolic.formula import Formula
from symbolic.inputs import as_points, device_of, prepare, settings_of
from symbolic.operators import Operator
from symbolic.targets import Targets

if TYPE_CHECKING:
    from interpret.probe import Probe

Array = NDArray[np.float64]

#: Rows looked at, and how many of them each unit fits and judges on.
ROWS, FIT, HELD_OUT, LINK = 2_000, 300, 400, 400
#: The narrower beam.
QUICK = supports.Effort(beam=3, tries=5, pairs=16, most=5, backward=0, swaps=False, paired=60, pair_points=32)
#: Points on which a quick search chooses supports.
POINTS = 160


@dataclass(frozen=True)
class Skipped:
    """A unit without a formula, and why: dead, or without enough usable points."""

    unit: int
    reason: str


def fit_many(
    probe: Probe,
    X: Any,
    names: Sequence[str] | None = None,
    operators: Iterable[str | Operator] = DEFAULT_OPERATORS,
    max_terms: int = 10,
    max_complexity: int = 30,
    seed: int = 0,
    time_limit: float | None = None,
) -> list[Formula | Skipped]:
    """Formulas of all units of a layer, such as ``Probe(model, "fc1[:]")``, in the units' order.

    Args:
        probe: of a one-dimensional layer; its units share points, features and controls.
        X: (N, *input) points; at most 2,000 of them are looked at.
        names: one for each flattened input.
        operators: as in `symbolic.fit`.
        max_terms: as in `symbolic.fit`.
        max_complexity: as in `symbolic.fit`.
        seed: everything random follows from it.
        time_limit: seconds for the whole layer; units that are not reached get what the grammar's first look finds.

    Raises:
        BadInput: the probe names a single unit, or more than one axis of units.
    """
    settings = settings_of(
        operators,
        max_terms=max_terms,
        max_complexity=max_complexity,
        seed=seed,
        time_limit=time_limit,
        accuracy=TRAINED,
        device=device_of(probe),
    )
    x, _ = prepare(X, ROWS, seed)
    gradients = _units(probe.gradients(x))
    values = np.asarray(probe.values(x).double().numpy(), dtype=np.float64)
    other = None if probe.wrt else _units(probe.reinitialized(seed).gradients(x))
    return fit_units(as_points(probe, x), gradients, values, settings, names, other)


def _units(gradients: Any) -> Array:
    array = np.asarray(gradients.double().numpy(), dtype=np.float64)
    if array.ndim < 3:
        raise BadInput(
            f"fit_many needs a layer such as 'fc1[:]'; gradients came as {array.shape}, one unit's"
        )
    return array.reshape(len(array), array.shape[1], -1)


def fit_units(
    points: ArrayLike,
    gradients: ArrayLike,
    values: ArrayLike,
    settings: Settings,
    names: Sequence[str] | None = None,
    redrawn: Array | None = None,
) -> list[Formula | Skipped]:
    """The same from arrays: points (N, d), gradients (N, units, d), values (N, units)."""
    x, g = np.asarray(points, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
    v = np.asarray(values, dtype=np.float64)
    deadline = None if settings.time_limit is None else time.monotonic() + settings.time_limit
    derivatives.check(settings.user_operators, x)
    found: list[Formula | Skipped] = []
    with threadpool_limits(1), np.errstate(all="ignore"):
        shared = Shared(x, settings)
        for unit in range(g.shape[1]):
            field_ = None if redrawn is None else redrawn[:, unit]
            found.append(_unit(unit, shared, g[:, unit], v[:, unit], names, field_, deadline))
    return found


def _unit(
    unit: int,
    shared: Shared,
    gradients: Array,
    values: Array,
    names: Sequence[str] | None,
    redrawn: Array | None,
    deadline: float | None,
) -> Formula | Skipped:
    started = time.monotonic()
    settings = shared.settings
    try:
        aim = targets.build(
            shared.points,
            gradients,
            values,
            names=names,
            seed=settings.seed,
            fit_points=FIT,
            held_out_points=HELD_OUT,
            link_points=LINK,
        )
        run = Quick(aim, settings, deadline)
        run.look(shared)
        again = None if redrawn is None else lambda seed, rows: redrawn[rows]
        result = SearchResult(tuple(run.candidates()[:8]), run.interrupted, tuple(run.messages))
        return assemble.assemble(result, "eigen", aim, settings, started, again, contenders=1)
    except (DeadUnit, TooFewPoints, BadInput) as error:
        return Skipped(unit, str(error))
    except InterpretError as error:
        return Skipped(unit, f"{type(error).__name__}: {error}")


class Shared:
    """What the units of a layer share: the points and the bank of features at all of them."""

    def __init__(self, points: Array, settings: Settings) -> None:
        self.points = points
        self.settings = settings
        self.grammar = Grammar(frozenset(settings.operators), settings.user_operators)
        width = points.shape[1]
        self.small = width <= 8
        varying = np.flatnonzero(points.std(0) > 0).tolist()
        self.atoms = features.variables_bank(points, varying)
        self.bank = features.grow(self.atoms, self.grammar, most=300) if self.small else self.atoms
        self.families = supports.families(features.kinds(self.bank, self.atoms.trees))[:1]

    def bank_of(self, aim: Targets, rows: NDArray[np.int64]) -> Bank:
        """The bank at some of a unit's points."""
        at = aim.rows[rows]
        bank = self.bank
        return replace(bank, values=bank.values[:, at], gradients=bank.gradients[:, at])


@dataclass
class Quick(Run):
    """A search with a bank made beforehand and a narrow beam."""

    def look(self, shared: Shared) -> None:
        """Linear formulas first: most first-layer units are done with that. Then the shared bank."""
        if len(self.targets.effective_inputs) == 0:
            return
        self.linear_family()
        if self.settled() or self.stop():
            return
        if not shared.small:
            self.screen()
            return
        self.rows = self.rows[:POINTS]
        bank = shared.bank_of(self.targets, self.rows)
        used = np.flatnonzero(~bank.masks[:, self.idle()].any(1))
        bank = bank.take(used)
        self.support_search(
            bank, shared.families if len(used) == len(shared.bank) else [], QUICK, points=POINTS
        )

    def idle(self) -> list[int]:
        """Inputs that this unit does not depend on."""
        return [i for i in range(self.targets.width) if i not in self.targets.effective_inputs]
