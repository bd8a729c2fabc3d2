"""Writing a formula more simply without changing what it encodes: tidy arithmetic, and no outer monotone function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symbolic.expression import Apply, Constant, Tree, evaluate, fold, variables
from symbolic.operators import BUILTIN, Operator

Array = NDArray[np.float64]


def simplified(tree: Tree) -> Tree:
    """The same function with factors of ±1, additions of 0 and products with reciprocals written plainly."""
    return fold(tree, lambda leaf: leaf, lambda node, args: _rule(Apply(node.name, tuple(args))))


def _rule(node: Apply) -> Tree:
    if len(node.args) == 1:
        return _unary(node)
    first, last = node.args
    if isinstance(first, Constant) and isinstance(last, Constant):
        return node
    if node.name == "*":
        return _product(node, first, last)
    if node.name in ("+", "-"):
        return _sum(node, first, last)
    if node.name == "^" and last == Constant(1.0):
        return first
    return node


def _unary(node: Apply) -> Tree:
    (inner,) = node.args
    if node.name == "neg" and isinstance(inner, Constant):
        return Constant(-inner.value)
    return node


def _product(node: Apply, first: Tree, last: Tree) -> Tree:
    for one, other in ((first, last), (last, first)):
        if one == Constant(1.0):
            return other
        if one == Constant(-1.0):
            return Apply("neg", (other,))
        if isinstance(one, Apply) and one.name == "/" and one.args[0] == Constant(1.0):
            return Apply("/", (other, one.args[1]))
    return node


def _sum(node: Apply, first: Tree, last: Tree) -> Tree:
    if last == Constant(0.0):
        return first
    if first == Constant(0.0) and node.name == "+":
        return last
    minus = "-" if node.name == "+" else "+"
    if isinstance(last, Apply) and last.name == "neg":
        return Apply(minus, (first, last.args[0]))
    if isinstance(last, Constant) and last.value < 0:
        return Apply(minus, (first, Constant(-last.value)))
    if isinstance(last, Apply) and last.name == "*" and isinstance(last.args[0], Constant):
        factor = last.args[0].value
        if factor < 0:
            scaled = last.args[1] if factor == -1 else Apply("*", (Constant(-factor), last.args[1]))
            return Apply(minus, (first, scaled))
    return node


def stripped(tree: Tree, points: Array, user: tuple[Operator, ...] = ()) -> Tree:
    """The tree without outer functions that are strictly monotone at the points: they belong to the link.

    The result encodes the same concept: its gradient is parallel to the tree's at every point.
    """
    known = {**BUILTIN, **{op.name: op for op in user}}
    while isinstance(tree, Apply):
        inner = _inside(tree, known, points, user)
        if inner is None or not variables(inner):
            return tree
        tree = inner
    return tree


def _inside(tree: Apply, known: dict[str, Operator], points: Array, user: tuple[Operator, ...]) -> Tree | None:
    """What a strictly monotone outer function is applied to; None where there is none."""
    first, last = tree.args[0], tree.args[-1]
    if len(tree.args) == 1:
        kind = known[tree.name].monotone
        if kind == "all" or (kind == "sign" and _one_sign(first, points, user)):
            return first
        return None
    if isinstance(first, Constant) and first.value != 0:
        if tree.name in ("*", "+", "-"):
            return last
        if tree.name == "/" and _one_sign(last, points, user):
            return last
    if isinstance(last, Constant):
        if tree.name in ("+", "-") or (tree.name in ("*", "/") and last.value != 0):
            return first
        odd = float(last.value).is_integer() and last.value % 2 == 1 and last.value > 0
        if tree.name == "^" and last.value != 0 and (odd or _one_sign(first, points, user)):
            return first
    return None


def _one_sign(tree: Tree, points: Array, user: tuple[Operator, ...]) -> bool:
    with np.errstate(all="ignore"):
        values = evaluate(tree, points, user or None)
    return bool(np.isfinite(values).all() and ((values > 0).all() or (values < 0).all()))
