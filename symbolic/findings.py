"""What a search has found so far: trees with their misalignments, and which of them are worth more work."""

from __future__ import annotations

import numpy as np

from symbolic.expression import Tree, complexity, expand_terms, variables
from symbolic.sizes import order

#: Below this misalignment nothing is left to find.
DONE = 1e-10
#: Short formulas cost at most this.
SHORT = 20.0
#: One more unit of cost must lower the log of the misalignment by this to count while searching.
PRICE = 0.2
#: Formulas this near the leading one, and at most so much longer, are its rivals; so many are scored.
NEAR, LONGER, RIVALS = 1.3, 4.0, 4
#: Coefficients whose ratio is this near one are printed without it, once they are polished.
EQUAL = 0.01


class Findings(dict[Tree, float]):
    """Misalignments by tree."""

    def lowest(self) -> float:
        """The least misalignment."""
        return min(self.values(), default=float("inf"))

    def price(self, tree: Tree) -> float:
        """What the choice will weigh: the log of the misalignment and the length."""
        return priced(self[tree], tree)

    def short(self, within: float = SHORT) -> list[Tree]:
        """The trees of at most that cost."""
        return [tree for tree in self if order(tree) <= within]

    def leading(self, count: int) -> list[Tree]:
        """The trees that pay best for their length."""
        return sorted(self, key=lambda tree: (self.price(tree), order(tree)))[:count]

    def promising(self, count: int) -> list[Tree]:
        """The trees that pay best, and the best aligned of few terms."""
        closest = sorted(self.short(1.5 * SHORT), key=lambda tree: (self[tree], order(tree)))[:count]
        return list(dict.fromkeys([*self.leading(2), *closest]))[:count]

    def rivals(self) -> list[Tree]:
        """The trees that come near the leading one and are hardly longer, best paid first."""
        if not self:
            return []
        (leader,) = self.leading(1)
        limit, longest = max(NEAR * self[leader], DONE), order(leader) + LONGER
        near = [tree for tree in self if self[tree] <= limit and order(tree) <= longest]
        return sorted(near, key=lambda tree: (self.price(tree), order(tree)))[:RIVALS]

    def candidates(self) -> list[Tree]:
        """The trees worth polishing: near the frontier of size against misalignment, simplest first."""
        kept = self.leading(3)
        best = np.inf
        for tree in sorted(self, key=lambda t: (order(t), self[t])):
            if self[tree] < 0.95 * best:
                kept.append(tree)
                best = self[tree]
            elif len(kept) < 10 and self[tree] < NEAR * best:
                kept.append(tree)
        return sorted(dict.fromkeys([*kept, *self.rivals()]), key=lambda t: (order(t), self[t]))


def priced(loss: float, tree: Tree) -> float:
    """The log of a misalignment and the length it is reached with."""
    return float(np.log(max(loss, DONE)) + PRICE * order(tree))


def printed_nodes(tree: Tree) -> int:
    """The nodes a tree will have when printed: scaled so that as many coefficients as can be are one, and vanish."""
    terms = [(abs(c), feature) for c, feature in expand_terms(tree) if variables(feature) and c]
    if not terms:
        return complexity(tree)
    sizes = np.array([c for c, _ in terms])
    alike = (np.abs(sizes[:, None] / sizes[None] - 1) < EQUAL).sum(0).max()
    return sum(complexity(b) for _, b in terms) + len(terms) - 1 + 2 * (len(terms) - int(alike))
