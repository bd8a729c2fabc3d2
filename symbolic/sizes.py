"""What a formula costs a reader: nodes, with whole powers cheap and wavy functions dear.

Counting nodes makes cos x cheaper than x², which it imitates near an extremum; a reader finds x² simpler.
"""

from __future__ import annotations

from functools import lru_cache

from symbolic.expression import Apply, Constant, Tree, Variable, expand_terms, fold

#: Functions that count for more than one node.
_ORDER = {"sin": 3.0, "cos": 3.0, "tan": 3.0, "tanh": 3.0, "abs": 1.5, "exp": 1.5, "log": 1.5, "sqrt": 1.5}
_DEAR = _ORDER | {"sin": 8.0, "cos": 8.0, "tan": 8.0}
_RARE = 2.5


@lru_cache(maxsize=100_000)
def cost(tree: Tree) -> float:
    """The size of a formula: 1 for a variable, a sum, a product, a coefficient; more for functions and for constants
    inside them.
    """
    return _sum(tree, _DEAR)


@lru_cache(maxsize=100_000)
def order(tree: Tree) -> float:
    """The size by which the search takes its turns: as `cost`, with waves no dearer than other functions.

    A concept may well hold a wave; it must be looked at early, and then pay for itself when a row is chosen.
    """
    return _sum(tree, _ORDER)


def _sum(tree: Tree, prices: dict[str, float]) -> float:
    def join(node: Apply, sizes: list[float]) -> float:
        return _join(node, sizes, prices)

    terms = expand_terms(tree)
    # A lone coefficient only scales T; one coefficient of a sum may always be made 1.
    scaled = max(sum(abs(c) != 1 for c, _ in terms) - (terms[0][0] != 1), 0) if terms else 0
    return 2.0 * scaled + max(len(terms) - 1, 0) + sum(fold(feature, _leaf, join) for _, feature in terms)


def _leaf(leaf: Variable | Constant) -> float:
    return 1.0 if isinstance(leaf, Variable) or float(leaf.value).is_integer() else 2.0


def _join(node: Apply, sizes: list[float], prices: dict[str, float]) -> float:
    last = node.args[-1]
    if node.name == "^" and isinstance(last, Constant) and float(last.value).is_integer():
        return sizes[0] + abs(last.value) - 1
    if node.name == "/" and isinstance(node.args[0], Constant):
        return sizes[1] + 1.5
    own = (
        1.0 if len(node.args) == 2 or node.name in ("neg", "square", "inv") else prices.get(node.name, _RARE)
    )
    return own + sum(sizes)
