"""What a formula costs a reader: nodes, with whole powers cheap and wavy functions dear.

Counting nodes makes cos x cheaper than x², which it imitates near an extremum; a reader finds x² simpler.
"""

from __future__ import annotations

from symbolic.expression import Apply, Constant, Tree, fold

#: Functions that count for more than one node.
_DEAR = {"sin": 2.0, "cos": 2.0, "tan": 2.5, "tanh": 2.0, "abs": 1.5, "exp": 1.5, "log": 1.5, "sqrt": 1.5}
_RARE = 2.5


def cost(tree: Tree) -> float:
    """The size of a formula: 1 for a variable, a constant, a sum, product or power; more for functions."""
    return fold(tree, lambda _: 1.0, _join)


def _join(node: Apply, sizes: list[float]) -> float:
    last = node.args[-1]
    if node.name == "^" and isinstance(last, Constant) and float(last.value).is_integer():
        return sizes[0] + abs(last.value) - 1
    if node.name == "/" and isinstance(node.args[0], Constant):
        return sizes[1] + 1.5
    own = 1.0 if len(node.args) == 2 or node.name in ("neg", "square", "inv") else _DEAR.get(node.name, _RARE)
    return own + sum(sizes)
