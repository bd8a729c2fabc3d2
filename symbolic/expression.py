"""Formulas as frozen trees: `Variable`, `Constant`, `Apply`; their values, gradients, size and JSON.

A tree is plain data. Trees compare and hash by content, so they serve as keys. A candidate of the search is a
sum ``Σ_k c_k b_k(x)``; `linear` builds it and `expand_terms` takes it apart again::

    x0, x1 = Variable(0), Variable(1)
    tree = linear([1.0, 2.0], [Apply("*", (x0, x0)), Apply("sin", (x1,))])     # x0·x0 + 2·sin(x1)
    values, gradients = value_and_gradient(tree, X)                            # (N,), (N, d), float64
    constants(tree), with_constants(tree, [3.0]), substitute(tree, {0: tree})  # refine and compose
    d_gradients = gradient_by_constants(tree, X)                               # (N, d, p)

Operator names are those of `symbolic.operators`: ``+ - * / ^`` take two arguments, ``neg sin cos exp log …``
one. Nothing here recurses, so depth is bounded by memory only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interpret.errors import BadInput, ExpressionError
from symbolic.operators import Operator, lookup, table

Array = NDArray[np.float64]
Operators = Mapping[str, Operator] | Iterable[Operator] | None
Result = TypeVar("Result")

#: JSON nests as the tree does; deeper trees are refused rather than left to exhaust a stack.
MAX_DEPTH = 400


@dataclass(frozen=True, slots=True)
class Variable:
    """Input number ``index``, column ``index`` of X."""

    index: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A real number."""

    value: float


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator applied to its arguments."""

    name: str
    args: tuple[Tree, ...]


Tree = Variable | Constant | Apply
Leaf = Variable | Constant


def fold(
    tree: Tree, leaf: Callable[[Leaf], Result], apply: Callable[[Apply, list[Result]], Result]
) -> Result:
    """Combine a tree from its leaves upwards, left before right, without recursion."""
    pending: list[tuple[Tree, bool]] = [(tree, False)]
    done: list[Result] = []
    while pending:
        node, ready = pending.pop()
        if not isinstance(node, Apply):
            done.append(leaf(node))
        elif ready:
            first = len(done) - len(node.args)
            results = done[first:]
            del done[first:]
            done.append(apply(node, results))
        else:
            pending.append((node, True))
            pending.extend((child, False) for child in reversed(node.args))
    return done[0]


def nodes(tree: Tree) -> list[Tree]:
    """Every node, children before their parent."""
    found: list[Tree] = []
    fold(tree, found.append, lambda node, _: found.append(node))
    return found


def complexity(tree: Tree) -> int:
    """The number of nodes: every operator, variable and constant counts one, as in PySR."""
    return fold(tree, lambda _: 1, lambda _, sizes: 1 + sum(sizes))


def depth(tree: Tree) -> int:
    """The number of nodes on the longest path from the root."""
    return fold(tree, lambda _: 1, lambda _, depths: 1 + max(depths))


def variables(tree: Tree) -> tuple[int, ...]:
    """The indices of the variables that occur, in order."""
    return tuple(sorted({node.index for node in nodes(tree) if isinstance(node, Variable)}))


def operators_in(tree: Tree) -> tuple[str, ...]:
    """The names of the operators that occur, sorted."""
    return tuple(sorted({node.name for node in nodes(tree) if isinstance(node, Apply)}))


def constants(tree: Tree) -> tuple[float, ...]:
    """The constants from left to right; `with_constants` takes them in the same order."""
    return tuple(node.value for node in nodes(tree) if isinstance(node, Constant))


def with_constants(tree: Tree, values: Sequence[float] | Array) -> Tree:
    """The same tree with other constants.

    Raises:
        ExpressionError: the number of values is not the number of constants.
    """
    count = len(constants(tree))
    if len(values) != count:
        raise ExpressionError(f"the formula has {count} constants, got {len(values)} values")
    remaining = iter(values)
    return map_leaves(
        tree, lambda leaf: Constant(float(next(remaining))) if isinstance(leaf, Constant) else leaf
    )


def map_leaves(tree: Tree, replace: Callable[[Leaf], Tree]) -> Tree:
    """The same tree with every leaf, from left to right, replaced by another tree."""
    return fold(tree, replace, lambda node, args: Apply(node.name, tuple(args)))


def substitute(tree: Tree, replacements: Mapping[int, Tree]) -> Tree:
    """The same tree with variables replaced by trees; variables without a replacement stay."""
    return map_leaves(
        tree, lambda leaf: replacements.get(leaf.index, leaf) if isinstance(leaf, Variable) else leaf
    )


def linear(coefficients: Sequence[float] | Array, features: Sequence[Tree]) -> Tree:
    """The sum ``Σ_k c_k b_k``, left to right; coefficients of 1 are left out, zero terms dropped.

    A negative coefficient after the first becomes a difference, so that the sum prints as one would write it.

    Raises:
        ExpressionError: the two lengths differ.
    """
    if len(coefficients) != len(features):
        raise ExpressionError(f"got {len(coefficients)} coefficients for {len(features)} features")
    terms = [(float(c), b) for c, b in zip(coefficients, features, strict=True) if c != 0]
    if not terms:
        return Constant(0.0)
    total = _scaled(*terms[0])
    for coefficient, feature in terms[1:]:
        sign = "-" if coefficient < 0 else "+"
        total = Apply(sign, (total, _scaled(abs(coefficient), feature)))
    return total


def _scaled(coefficient: float, feature: Tree) -> Tree:
    if isinstance(feature, Constant):
        return Constant(coefficient * feature.value)
    if isinstance(feature, Apply) and feature.name == "/" and feature.args[0] == Constant(1.0):
        return Apply("/", (Constant(coefficient), feature.args[1]))
    if coefficient == -1:
        return Apply("neg", (feature,))
    return feature if coefficient == 1 else Apply("*", (Constant(coefficient), feature))


def expand_terms(tree: Tree) -> list[tuple[float, Tree]]:
    """The terms of the outermost sum as (coefficient, feature), like terms merged; a number comes as
    ``(c, Constant(1))``.

    Signs, differences, and products and quotients by numbers are taken into the coefficient; products of sums
    are not multiplied out (`symbolic.equivalence.multiply_out` does that). ``expand_terms(linear(c, b))`` is
    ``zip(c, b)``.
    """
    merged: dict[Tree, float] = {}
    pending: list[tuple[float, Tree]] = [(1.0, tree)]
    while pending:
        factor, node = pending.pop()
        parts = _sum_parts(node)
        if parts is None:
            key = Constant(1.0) if isinstance(node, Constant) else node
            merged[key] = merged.get(key, 0.0) + factor * (node.value if isinstance(node, Constant) else 1.0)
        else:
            pending.extend((factor * scale, part) for scale, part in reversed(parts))
    return [(c, feature) for feature, c in merged.items() if c != 0]


def _sum_parts(node: Tree) -> list[tuple[float, Tree]] | None:
    """The scaled parts whose sum the node is, or None where the node is no sum."""
    if not isinstance(node, Apply):
        return None
    first, last = node.args[0], node.args[-1]
    match node.name:
        case "+":
            return [(1.0, first), (1.0, last)]
        case "-":
            return [(1.0, first), (-1.0, last)]
        case "neg":
            return [(-1.0, first)]
        case "*" if isinstance(first, Constant):
            return [(first.value, last)]
        case "*" if isinstance(last, Constant):
            return [(last.value, first)]
        case "/" if isinstance(last, Constant) and last.value != 0:
            return [(1 / last.value, first)]
        case "/" if isinstance(first, Constant) and first.value != 1:
            return [(first.value, Apply("/", (Constant(1.0), last)))]
        case _:
            return None


def value_and_gradient(tree: Tree, X: ArrayLike, operators: Operators = None) -> tuple[Array, Array]:
    """Values (N,) and gradients (N, d) at the rows of X (N, d), in float64, by forward mode in one traversal.

    Outside the domain of an operator the result is NaN or infinite and no warning is given: the caller
    decides.

    Raises:
        BadInput: X is not a table of numbers, or has fewer columns than the formula has variables.
        ExpressionError: an unknown operator, or one with the wrong number of arguments.
    """
    points = _points(X, tree)
    used = variables(tree)
    value, gradient = _forward(tree, points, used, constants(tree), operators)
    values = np.broadcast_to(value, len(points)).astype(np.float64)
    gradients = np.zeros(points.shape)
    if used and gradient is not None:
        gradients[:, list(used)] = gradient
    return values, gradients


def evaluate(tree: Tree, X: ArrayLike, operators: Operators = None) -> Array:
    """Values (N,) at the rows of X (N, d), in float64."""
    points = _points(X, tree)
    value, _ = _forward(tree, points, (), constants(tree), operators)
    return np.broadcast_to(value, len(points)).astype(np.float64)


def gradient_by_constants(tree: Tree, X: ArrayLike, operators: Operators = None) -> Array:
    """How the gradient moves with each constant: ∂(∇T)/∂c as (N, d, p), constants in the order of
    `constants`.

    By the complex step (Squire & Trapp, SIAM Review 1998), which is exact to rounding; by central differences
    where an operator takes real arrays only.
    """
    points = _points(X, tree)
    values = constants(tree)
    used = list(variables(tree))
    known = table(operators)
    analytic = all(known[name].analytic for name in operators_in(tree))
    result = np.zeros((*points.shape, len(values)))
    for k, value in enumerate(values):
        step = 1e-30 if analytic else 6e-6 * max(1.0, abs(value))
        result[:, used, k] = _step(tree, points, values, k, step, known, analytic)
    return result


def _step(
    tree: Tree,
    points: Array,
    values: tuple[float, ...],
    k: int,
    step: float,
    known: Mapping[str, Operator],
    analytic: bool,
) -> Array:
    used = variables(tree)

    def gradient(shift: complex) -> Any:
        moved = (*values[:k], values[k] + shift, *values[k + 1 :])
        found = _forward(tree, points, used, moved, known)[1]
        return np.zeros((len(points), len(used))) if found is None else found

    if analytic:
        return np.asarray(np.imag(gradient(1j * step)) / step, dtype=np.float64)
    return np.asarray((gradient(step) - gradient(-step)) / (2 * step), dtype=np.float64)


def _points(X: ArrayLike, tree: Tree) -> Array:
    try:
        points = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"points must be a table of numbers (N, d), got {type(X).__name__}: {error}"
        ) from error
    if points.ndim != 2:
        raise BadInput(f"points must have two axes (N, d), got shape {points.shape}")
    used = variables(tree)
    if used and used[-1] >= points.shape[1]:
        raise BadInput(
            f"the formula uses column {used[-1]} and the points have columns 0 to {points.shape[1] - 1}"
        )
    return points


def _forward(
    tree: Tree, points: Array, wrt: tuple[int, ...], values: Sequence[complex], operators: Operators
) -> tuple[Any, Any]:
    """Value and gradient in the variables ``wrt``; a gradient of None is zero everywhere."""
    known = table(operators)
    seeds = dict(zip(wrt, np.eye(len(wrt)), strict=True))
    remaining = iter(values)

    def leaf(node: Leaf) -> tuple[Any, Any]:
        if isinstance(node, Constant):
            return np.asarray(next(remaining)), None
        seed = seeds.get(node.index)
        return points[:, node.index], None if seed is None else seed[None, :]

    def apply(node: Apply, parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        op = lookup(node.name, known)
        if len(parts) != op.arity:
            raise ExpressionError(f"operator {op.name!r} takes {op.arity} arguments, got {len(parts)}")
        arguments = [value for value, _ in parts]
        total: Any = None
        for (_, gradient), partial in zip(parts, op.partials, strict=True):
            if gradient is None:
                continue
            part = np.asarray(partial(*arguments))[..., None] * gradient
            total = part if total is None else total + part
        return np.asarray(op.function(*arguments)), total

    with np.errstate(all="ignore"):
        return fold(tree, leaf, apply)


def to_json(tree: Tree) -> str:
    """The tree as JSON text: numbers, ``{"x": index}``, and ``[operator, argument, …]``. Constants keep every
    bit.

    Raises:
        ExpressionError: a constant is not finite, or the tree is deeper than `MAX_DEPTH`.
    """
    return json.dumps(to_plain(tree), allow_nan=False)


def to_plain(tree: Tree) -> Any:
    """The tree as numbers, dicts and lists, to embed in a larger JSON document."""
    if depth(tree) > MAX_DEPTH:
        raise ExpressionError(f"the formula is nested {depth(tree)} deep; JSON takes at most {MAX_DEPTH}")
    for value in constants(tree):
        if not math.isfinite(value):
            raise ExpressionError(f"the formula holds the constant {value}, which JSON cannot")
    return fold(
        tree,
        lambda leaf: {"x": leaf.index} if isinstance(leaf, Variable) else leaf.value,
        lambda node, args: [node.name, *args],
    )


def from_json(text: str, operators: Operators = None) -> Tree:
    """The tree of `to_json`; nothing is evaluated, every operator must be in the table.

    Raises:
        ExpressionError: the text is not such JSON, names an unknown operator or gives it the wrong number of
        arguments.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExpressionError(f"not the JSON of a formula: {error}") from error
    return from_plain(plain, operators)


def from_plain(plain: Any, operators: Operators = None) -> Tree:
    """The tree of `to_plain`."""
    return _from_plain(plain, table(operators), 1)


def _from_plain(plain: Any, known: Mapping[str, Operator], level: int) -> Tree:
    if level > MAX_DEPTH:
        raise ExpressionError(f"the formula is nested more than {MAX_DEPTH} deep")
    if isinstance(plain, bool):
        raise ExpressionError("expected a number, a variable or an operator, got a truth value")
    if isinstance(plain, (int, float)) and math.isfinite(plain):
        return Constant(float(plain))
    if isinstance(plain, dict) and set(plain) == {"x"}:
        index = plain["x"]
        if isinstance(index, int) and not isinstance(index, bool) and index >= 0:
            return Variable(index)
        raise ExpressionError(f"a variable's index must be a whole number from 0, got {index!r:.40}")
    if isinstance(plain, list) and plain and isinstance(plain[0], str):
        op = lookup(plain[0], known)
        if len(plain) - 1 != op.arity:
            raise ExpressionError(f"operator {op.name!r} takes {op.arity} arguments, got {len(plain) - 1}")
        return Apply(op.name, tuple(_from_plain(part, known, level + 1) for part in plain[1:]))
    raise ExpressionError(f"expected a number, a variable or an operator, got {plain!r:.60}")
