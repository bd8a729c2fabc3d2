"""One neuron's search, stage by stage; `Run.candidates` is valid at any moment.

Grammar over the inputs; constants loosened in what that found; tuned functions; structure; evolution. A stage is left
out when what was found before is settled: simple, and aligned better than training a network could make it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from symbolic import banks, evolve, features, gram, limits, screening, structure, supports, tuned, units
from symbolic.backends.base import Progress, Settings
from symbolic.expression import Tree, Variable, complexity, linear, substitute
from symbolic.features import Bank, Grammar
from symbolic.findings import DONE, Findings, priced, printed_nodes
from symbolic.polish import Candidate, Field, candidate, polish
from symbolic.scoring import tidy
from symbolic.targets import Targets

Array = NDArray[np.float64]

#: Points used to choose supports, and to refine inner constants; the last polish takes all points of the fit.
SEARCH_POINTS, REFINE_POINTS = 400, 200
#: A short formula below this misalignment ends the search: closer than training brings a network to its concept.
TRAINED = 1.5e-3
#: The same where the gradients may be exact.
EXACT = 1e-9
#: The last stages are for neurons that are this much further away.
NEARLY = 4.0
#: Where nothing came nearer than this there is nothing to graft on.
HOPELESS = 0.1
#: Nodes that tidying may still take off a tree; rounds of grafting at most.
SLACK, GENERATIONS = 2, 3


@dataclass
class Run:
    """The state of one search. ``depth`` counts the reductions above it."""

    targets: Targets
    settings: Settings
    deadline: float | None = None
    depth: int = 0
    interrupted: bool = False
    messages: list[str] = field(default_factory=list)
    found: Findings = field(default_factory=Findings)

    def __post_init__(self) -> None:
        self.user = self.settings.user_operators
        self.grammar = Grammar(frozenset(self.settings.operators), self.user)
        self.rows = self.targets.fit[:SEARCH_POINTS]
        self.accuracy = float(self.settings.accuracy or EXACT)
        self.started = time.monotonic()
        self.consistent: Callable[[Tree], bool] | None = None
        if self.settings.units is not None:
            self.consistent = units.checker(self.settings.units, self.targets.width)

    def stop(self) -> bool:
        """Whether time is up."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        if late and not self.interrupted:
            self.interrupted = True
            self.messages.append("the time limit was reached: the frontier holds what was found until then")
        return late

    def deepen(self) -> None:
        """Stage after stage until the fit settles."""
        if len(self.targets.effective_inputs) > screening.MANY and screening.can_compress(self.targets):
            self.screen()
            return
        atoms = features.variables_bank(self.targets.points[self.rows], self.targets.effective_inputs)
        stages = (
            ("grammar", 1.0, lambda: self.grow(atoms)),
            ("constants", 1.0, self.loosen),
            ("tuned functions", 1.0, lambda: self.tune(atoms)),
            ("structure", NEARLY, self.split),
            ("grafts", NEARLY, lambda: self.graft(atoms)),
        )
        for name, slack, stage in stages:
            if self.stop() or self.settled(slack):
                return
            stage()
            self.report(name)

    def report(self, name: str) -> None:
        """Tell whoever listens how far the search is."""
        if self.settings.progress is not None and self.depth == 0:
            self.settings.progress(
                Progress("eigen", name, self.found.lowest(), time.monotonic() - self.started)
            )

    def screen(self) -> None:
        """Many inputs: linear formulas, then functions of the strong ones, then everything on the strongest."""
        levels = (
            (screening.WIDEST, "linear"),
            (screening.STRONG, "one input"),
            (screening.STRONGEST, "grammar"),
        )
        for count, kind in levels:
            if self.stop():
                return
            chosen = screening.strongest(self.targets, count)
            inner = Run(screening.compressed(self.targets, chosen), self.unitless, self.deadline, self.depth)
            {"linear": inner.linear_family, "one input": inner.additive, "grammar": inner.deepen}[kind]()
            self.interrupted |= inner.interrupted
            back: dict[int, Tree] = {k: Variable(i) for k, i in enumerate(chosen)}
            for tree, loss in inner.found.items():
                self.note(substitute(tree, back), loss)
            self.report(kind)
            left = len(self.targets.effective_inputs) - count
            if kind == "linear" and left > 0:
                share = screening.importance(self.targets)[list(chosen)].sum()
                self.messages.append(
                    f"the search kept to the {count} strongest of {count + left} inputs, which carry {share:.0%} of "
                    f"the direction"
                )

    def linear_family(self) -> None:
        """Weighted sums of the inputs: all of them, and what backward elimination leaves."""
        atoms = features.variables_bank(self.targets.points[self.rows], self.targets.effective_inputs)
        effort = supports.Effort(most=self.settings.max_terms)
        search = supports.Search(
            self.turn(atoms.gradients), atoms.sizes, effort, self.stop, device=self.settings.device
        )
        self.enter(search.eliminate(range(len(atoms))), atoms)

    def additive(self) -> None:
        """Sums of functions of one input."""
        atoms = features.variables_bank(self.targets.points[self.rows], self.targets.effective_inputs)
        bank = atoms.join(features.apply_unary(atoms, self.grammar.unaries()))
        kinds = features.kinds(bank, atoms.trees)
        effort = supports.Effort(most=self.most, beam=4, tries=6)
        self.support_search(bank, supports.families(kinds), effort, points=250)

    def grow(self, atoms: Bank) -> None:
        """The grammar of depth two over the atoms, and linear formulas whatever else there is."""
        self.linear_family()
        bank = self.kept("grammar", lambda: features.grow(atoms, self.grammar))
        kinds = features.kinds(bank, atoms.trees)
        self.support_search(bank, supports.families(kinds), supports.Effort(most=self.most))

    def loosen(self) -> None:
        """Free constants of one feature at a time in the best rows, and keep what it buys."""
        field_ = self.refining()
        tried: set[Tree] = set()
        for _ in range(3):
            improved = False
            for tree in self.found.promising(4):
                if tree in tried or (start := candidate(tree, self.user)) is None:
                    continue
                tried.add(tree)
                for changed in evolve.ranked(self.variants(start), field_, 3):
                    if self.stop() or self.done():
                        return
                    improved |= self.refine(changed, field_, rounds=10) < 0.3 * self.found[tree]
            if not improved:
                return

    def variants(self, start: Candidate) -> list[Tree]:
        """The candidate with one feature loosened, in every way."""
        found = []
        for k, feature in enumerate(start.features):
            for variant in tuned.loosened(feature):
                changed = (*start.features[:k], variant, *start.features[k + 1 :])
                found.append(linear(start.coefficients, changed))
        return found

    def tune(self, atoms: Bank) -> None:
        """Functions with inner constants on a grid; the best supports then refined."""
        few = len(atoms) <= 3

        def make() -> Bank:
            bank = tuned.bank(atoms, self.grammar, thorough=few, mixed=few)
            return features.grow_small(atoms, self.grammar).join(bank)

        bank = self.kept("tuned", make)
        effort = supports.Effort(beam=6, tries=8, pairs=80, most=min(4, self.most), backward=0, keep=48)
        pool = self.support_search(bank, [], effort, points=250, enter=False)
        field_ = self.refining()
        for size in pool.sizes:
            trees = {
                linear(c, [bank.trees[k] for k in support]): loss for support, loss, c in pool.best(size, 48)
            }
            worth = sorted(trees, key=lambda tree: priced(trees[tree], tree))
            for tree in worth[:8]:
                if self.stop() or self.done():
                    return
                self.refine(tree, field_, rounds=10)
        self.loosen()

    def split(self) -> None:
        """Merge inputs into units, then search over the units."""
        if self.depth > 3 or self.targets.projector is not None:
            return
        units = structure.inputs(self.targets)
        if len(units) < 3:
            return
        merged = self.merge(units)
        if len(merged) == len(units):
            return
        if len(merged) == 1:
            self.refine(merged[0].tree, self.refining(), rounds=20)
            return
        self.descend(merged)

    def merge(self, units: list[structure.Unit]) -> list[structure.Unit]:
        """Merge pairs of units while some pair has a concept of its own."""
        tried: set[frozenset[Tree]] = set()
        again = True
        while again and len(units) > 1 and not self.stop():
            again = False
            for i, j in self.pairs_to_try(units, tried):
                tried.add(frozenset((units[i].tree, units[j].tree)))
                tree = self.concept([units[i], units[j]])
                if tree is not None:
                    both = units[i].inputs | units[j].inputs
                    units = [u for k, u in enumerate(units) if k not in (i, j)]
                    units.append(structure.Unit(tree, both))
                    again = True
                    break
        return units

    def pairs_to_try(
        self, units: Sequence[structure.Unit], tried: set[frozenset[Tree]]
    ) -> list[tuple[int, int]]:
        """Pairs whose direction looks like their own, the clearest first."""
        ranked = []
        for i in range(len(units)):
            for j in range(i + 1, len(units)):
                if frozenset((units[i].tree, units[j].tree)) in tried or len(units) == 2:
                    continue
                problem = structure.reduced(self.targets, [units[i], units[j]])
                if problem is None:
                    continue
                near, anywhere = structure.disagreement(problem)
                if near < structure.AGREEMENT * anywhere or near < 1e-4:
                    ranked.append((near / max(anywhere, 1e-9), i, j))
        return [(i, j) for _, i, j in sorted(ranked)]

    def concept(self, units: Sequence[structure.Unit]) -> Tree | None:
        """What two units encode together, if their own problem has a clear answer."""
        problem = structure.reduced(self.targets, units)
        if problem is None:
            return None
        inner = Run(problem, self.unitless, self.deadline, self.depth + 1)
        inner.deepen()
        self.interrupted |= inner.interrupted
        best = inner.found.leading(1)
        if not best or inner.found[best[0]] > max(structure.CLEAR, 3 * inner.found.lowest()):
            return None
        found = candidate(best[0], self.user)
        assert found is not None
        return structure.written(tidy(found, inner.refining()).tree, units)

    def descend(self, units: Sequence[structure.Unit]) -> None:
        """The problem in the merged units, searched like any other; its rows come back in the inputs."""
        problem = structure.reduced(self.targets, units)
        if problem is None:
            return
        inner = Run(problem, self.unitless, self.deadline, self.depth + 1)
        inner.deepen()
        self.interrupted |= inner.interrupted
        field_ = self.refining()
        for tree in inner.candidates():
            self.refine(structure.written(tree, units), field_, rounds=12)

    def graft(self, atoms: Bank) -> None:
        """Put new parts inside the functions of the best rows, generation after generation."""
        if self.found.lowest() > HOPELESS:
            return
        field_ = self.refining()
        pieces = evolve.Pieces(evolve.parts(atoms.trees[:6], self.grammar.names), field_)
        tried: set[Tree] = set()
        for _ in range(GENERATIONS):
            improved = False
            best = self.found.lowest()
            for tree in self.found.promising(6):
                start = candidate(tree, self.user)
                if tree in tried or start is None:
                    continue
                tried.add(tree)
                for changed in evolve.best_grafts(start, pieces, field_, 4):
                    if self.stop() or self.done():
                        return
                    improved |= self.refine(changed, field_, rounds=15) < 0.5 * best
            self.loosen()
            if not improved or self.done():
                return

    @property
    def unitless(self) -> Settings:
        """The settings for other variables than the inputs; what comes back is checked against the units here."""
        return replace(self.settings, units=None)

    @property
    def most(self) -> int:
        """Terms at most, while searching."""
        return min(6 if self.depth else 8, self.settings.max_terms)

    def kept(self, kind: str, make: Callable[[], Bank]) -> Bank:
        """A bank over the inputs, shared with the unit before where that had the same points; none is kept of units'
        own sums, which no other unit has.
        """
        if self.depth:
            return make()
        what = (kind, self.targets.effective_inputs, self.grammar.names, self.user)
        return banks.kept(self.targets.points[self.rows], what, make)

    def support_search(
        self,
        bank: Bank,
        families: list[list[int]],
        effort: supports.Effort,
        points: int = SEARCH_POINTS,
        enter: bool = True,
    ) -> supports.Pool:
        """Search supports of a bank and enter the best of every size."""
        if self.consistent is not None:
            bank = bank.take([k for k, tree in enumerate(bank.trees) if self.consistent(tree)])
            families = []
        turned = self.turn(bank.gradients)[:, :points]
        search = supports.Search(turned, bank.sizes, effort, self.stop, device=self.settings.device)
        search.nodes = np.array([complexity(tree) for tree in bank.trees], dtype=np.float64)
        search.most_nodes = self.settings.max_complexity
        try:
            search.run(families)
        finally:
            if enter:
                self.enter(search.pool, bank)
        return search.pool

    def turn(self, gradients: Array) -> Array:
        """Gradients (K, n, d) at the search's rows, projected and turned."""
        projected = self.targets.project(gradients, self.rows)
        return np.asarray(gram.turn(projected, self.targets.directions[self.rows]))

    def refining(self) -> Field:
        """The field that inner constants are refined on."""
        return Field(self.targets, self.rows[:REFINE_POINTS], self.user)

    def refine(self, tree: Tree, field_: Field, rounds: int) -> float:
        """Polish all constants of a tree and enter the result; returns its misalignment."""
        start = candidate(tree, self.user)
        if start is None:
            return np.inf
        with np.errstate(all="ignore"):
            better, loss = polish(start, field_, rounds, patience=0.0)
        if np.isfinite(loss):
            better, loss = limits.settle(better, field_, loss)
            self.note(better.tree, loss)
        return loss

    def note(self, tree: Tree, loss: float) -> None:
        """Enter a tree with its misalignment, unless it is too long to be printed."""
        if printed_nodes(tree) > self.settings.max_complexity + SLACK:
            return
        if self.consistent is not None and not self.consistent(tree):
            return
        self.found[tree] = min(loss, self.found.get(tree, np.inf))

    def enter(self, pool: supports.Pool, bank: Bank, each: int = 3) -> None:
        """Turn the best supports of a pool into candidate trees."""
        for size in pool.sizes:
            for support, loss, coefficients in pool.best(size, each):
                self.note(linear(coefficients, [bank.trees[k] for k in support]), loss)

    def done(self) -> bool:
        """Whether an exact formula was found."""
        return self.found.lowest() < DONE

    def settled(self, slack: float = 1.0) -> bool:
        """Whether deeper stages are worth their time."""
        if self.done():
            return True
        short = self.found.short()
        if not short:
            return False
        # Parts of a formula must be better than the whole: their errors add up.
        return self.found[min(short, key=self.found.price)] < slack * self.accuracy * 0.1**self.depth

    def candidates(self) -> list[Tree]:
        """The trees worth polishing, simplest first; the strongest input where nothing was found."""
        if not self.found:
            return [Variable(i) for i in screening.strongest(self.targets, 1)]
        return self.found.candidates()
