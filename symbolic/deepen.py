"""One neuron's search, stage by stage; `Run.candidates` is valid at any moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from symbolic import features, gram, supports
from symbolic.backends.base import Settings
from symbolic.expression import Tree, linear
from symbolic.features import Bank, Grammar
from symbolic.sizes import cost
from symbolic.targets import Targets

Array = NDArray[np.float64]

#: Points used to choose supports; coefficients are polished on all points of the fit.
SEARCH_POINTS = 400


@dataclass
class Run:
    """The state of one search."""

    targets: Targets
    settings: Settings
    deadline: float | None = None
    interrupted: bool = False
    messages: list[str] = field(default_factory=list)
    found: dict[Tree, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = frozenset(self.settings.operators)
        self.grammar = Grammar(names, self.settings.user_operators)
        self.rows = self.targets.fit[:SEARCH_POINTS]

    def stop(self) -> bool:
        """Whether time is up."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        if late and not self.interrupted:
            self.interrupted = True
            self.messages.append("the time limit was reached: the frontier holds what was found until then")
        return late

    def deepen(self) -> None:
        """Stage after stage until the fit saturates."""
        atoms = features.variables_bank(self.targets.points[self.rows], self.targets.effective_inputs)
        self.support_search(features.grow(atoms, self.grammar), atoms)

    def support_search(self, bank: Bank, atoms: Bank) -> None:
        """Search supports of a bank and enter the best of every size."""
        turned = self.turn(bank.gradients)
        effort = supports.Effort(most=min(8, self.settings.max_terms))
        search = supports.Search(turned, bank.sizes, effort, self.stop)
        try:
            search.run(supports.families(features.kinds(bank, atoms.trees)))
        finally:
            self.enter(search.pool, bank)

    def turn(self, gradients: Array) -> Array:
        """Gradients (K, n, d) at the search's rows, projected and turned."""
        return gram.turn(self.targets.project(gradients, self.rows), self.targets.directions[self.rows])

    def enter(self, pool: supports.Pool, bank: Bank, each: int = 3) -> None:
        """Turn the best supports of a pool into candidate trees."""
        for size in pool.sizes:
            for support, loss, coefficients in pool.best(size, each):
                tree = linear(coefficients, [bank.trees[k] for k in support])
                self.found[tree] = min(loss, self.found.get(tree, np.inf))

    def candidates(self) -> list[Tree]:
        """The trees worth polishing: near the frontier of size against misalignment, simplest first."""
        kept: list[Tree] = []
        best = np.inf
        for tree in sorted(self.found, key=lambda t: (cost(t), self.found[t])):
            if self.found[tree] < 1.2 * best:
                kept.append(tree)
            best = min(best, self.found[tree])
        return kept
