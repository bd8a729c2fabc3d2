"""Formulas as frozen trees: `Variable`, `Constant`, `Apply`; their values, gradients, size and JSON.

A tree is plain data. Trees compare and hash by content, so they serve as keys. A candidate of the search is a
sum ``Σ_k c_k b_k(x)``; `linear` builds it and `expand_terms` takes it apart again::

    x0, x1 = Variable(0), Variable(1)
    tree = linear([1.0, 2.0], [Apply("*", (x0, x0)), Apply("sin", (x1,))])     # x0·x0 + 2·sin(x1)
    values, gradients = value_and_gradient(tree, X)                            # (N,), (N, d), float64
    constants(tree), with_constants(tree, [3.0]), substitute(tree, {0: tree})  # refine and compose

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
from symbolic.program import Program, Run, Step

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


class _Asked:
    """What a tree remembers once it was asked for. It is no part of what the tree is, nor of its pickle."""

    __slots__ = ("_constants", "_hash", "_program", "_size")

    _constants: tuple[float, ...]
    _hash: int
    _program: Program
    _size: int


@dataclass(frozen=True, slots=True)
class Apply(_Asked):
    """An operator applied to its arguments."""

    name: str
    args: tuple[Tree, ...]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Apply):
            return NotImplemented
        return self.name == other.name and self.args == other.args

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash((self.name, self.args)))
            return self._hash


Tree = Variable | Constant | Apply
Leaf = Variable | Constant


def fold(
    tree: Tree, leaf: Callable[[Leaf], Result], apply: Callable[[Apply, list[Result]], Result]
) -> Result:
    """Combine a tree from its leaves upwards, left before right, without recursion."""
    done: list[Result] = []
    for node in nodes(tree):
        if isinstance(node, Apply):
            first = len(done) - len(node.args)
            done[first:] = [apply(node, done[first:])]
        else:
            done.append(leaf(node))
    return done[0]


def nodes(tree: Tree) -> list[Tree]:
    """Every node, children before their parent."""
    found: list[Tree] = []
    pending: list[Tree] = [tree]
    while pending:
        node = pending.pop()
        found.append(node)
        if isinstance(node, Apply):
            pending.extend(node.args)
    # Taken down from the root, last argument first: this is the way up.
    found.reverse()
    return found


def complexity(tree: Tree) -> int:
    """The number of nodes: every operator, variable and constant counts one, as in PySR."""
    if not isinstance(tree, Apply):
        return 1
    try:
        return tree._size
    except AttributeError:
        object.__setattr__(tree, "_size", 1 + sum(map(_known_size, tree.args)))
        return tree._size


def _known_size(tree: Tree) -> int:
    """The size of a part: read where it is known, counted where not."""
    if not isinstance(tree, Apply):
        return 1
    try:
        return tree._size
    except AttributeError:
        return len(nodes(tree))


def depth(tree: Tree) -> int:
    """The number of nodes on the longest path from the root."""
    return fold(tree, lambda _: 1, lambda _, depths: 1 + max(depths))


def variables(tree: Tree) -> tuple[int, ...]:
    """The indices of the variables that occur, in order."""
    return program(tree).variables


def operators_in(tree: Tree) -> tuple[str, ...]:
    """The names of the operators that occur, sorted."""
    return tuple(sorted({node.name for node in nodes(tree) if isinstance(node, Apply)}))


def constants(tree: Tree) -> tuple[float, ...]:
    """The constants from left to right; `with_constants` takes them in the same order."""
    if not isinstance(tree, Apply):
        return (tree.value,) if isinstance(tree, Constant) else ()
    try:
        return tree._constants
    except AttributeError:
        _compile(tree)
        return tree._constants


def with_constants(tree: Tree, values: Sequence[float] | Array) -> Tree:
    """The same tree with other constants.

    Raises:
        ExpressionError: the number of values is not the number of constants.
    """
    count = len(constants(tree))
    if len(values) != count:
        raise ExpressionError(f"the formula has {count} constants, got {len(values)} values")
    plain = tuple(float(value) for value in values)
    remaining = iter(plain)
    changed = map_leaves(tree, lambda leaf: Constant(next(remaining)) if isinstance(leaf, Constant) else leaf)
    if isinstance(changed, Apply):
        _remember(changed, program(tree), plain)
    return changed


def program(tree: Tree) -> Program:
    """The tree as steps; trees that differ in their constants only may share it."""
    if isinstance(tree, Variable):
        return Program((tree.index,), (tree.index,))
    if isinstance(tree, Constant):
        return Program((~0,), ())
    try:
        return tree._program
    except AttributeError:
        return _compile(tree)


def _compile(tree: Apply) -> Program:
    steps: list[Step] = []
    found: list[float] = []
    open_: list[int] = []
    for at, node in enumerate(nodes(tree)):
        if isinstance(node, Apply):
            first = len(open_) - len(node.args)
            steps.append((node.name, tuple(open_[first:])))
            del open_[first:]
        elif isinstance(node, Variable):
            steps.append(node.index)
        else:
            steps.append(~len(found))
            found.append(node.value)
        open_.append(at)
    used = {step for step in steps if isinstance(step, int) and step >= 0}
    return _remember(tree, Program(tuple(steps), tuple(sorted(used))), tuple(found))


def _remember(tree: Apply, steps: Program, found: tuple[float, ...]) -> Program:
    object.__setattr__(tree, "_program", steps)
    object.__setattr__(tree, "_constants", found)
    return steps


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
    points = points_of(X, tree)
    used = variables(tree)
    with np.errstate(all="ignore"):
        run = Run(program(tree), points, constants(tree), used, table(operators))
    value, gradient = run.values[-1], run.slopes[-1]
    values = np.broadcast_to(value, len(points)).astype(np.float64)
    gradients = np.zeros(points.shape)
    if used and gradient is not None:
        gradients[:, list(used)] = gradient
    return values, gradients


def evaluate(tree: Tree, X: ArrayLike, operators: Operators = None) -> Array:
    """Values (N,) at the rows of X (N, d), in float64."""
    points = points_of(X, tree)
    with np.errstate(all="ignore"):
        run = Run(program(tree), points, constants(tree), (), table(operators))
    return np.broadcast_to(run.values[-1], len(points)).astype(np.float64)


def points_of(X: ArrayLike, tree: Tree) -> Array:
    """The rows of X (N, d) in float64, checked to hold every column that the formula names."""
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
