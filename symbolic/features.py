"""The feature grammar: from atoms (inputs, and sums found before) to a bank of features with their gradients.

A bank is three arrays and a list of trees. Features that cannot be told from a simpler one (their gradients are
proportional) are removed by a fingerprint, invalid and exploding ones are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from symbolic.expression import Apply, Constant, Tree, Variable, value_and_gradient, variables
from symbolic.operators import BUILTIN, Operator
from symbolic.sizes import order

Array = NDArray[np.float64]

#: A feature whose largest gradient exceeds its median by this factor explodes somewhere and is dropped.
EXPLODING = 1e5
#: A feature varies when its values differ by more than this share of the largest.
VARYING = 1e-11


@dataclass(frozen=True)
class Unary:
    """A function of one atom: how it is written, its value and its derivative, both vectorised."""

    name: str
    write: Callable[[Tree], Tree]
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    even: bool = False


@dataclass(frozen=True)
class Bank:
    """K features at N points: ``values`` (K, N), ``gradients`` (K, N, d), a tree and a size for each."""

    trees: tuple[Tree, ...]
    values: Array
    gradients: Array
    sizes: Array
    masks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.trees)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Bank:
        """The features at those positions."""
        index = np.asarray(rows, dtype=np.int64)
        return Bank(
            tuple(self.trees[i] for i in index),
            self.values[index],
            self.gradients[index],
            self.sizes[index],
            self.masks[index],
        )

    def join(self, other: Bank) -> Bank:
        """Both banks' features, duplicates removed in favour of the simpler."""
        return distinct(
            Bank(
                (*self.trees, *other.trees),
                np.concatenate([self.values, other.values]),
                np.concatenate([self.gradients, other.gradients]),
                np.concatenate([self.sizes, other.sizes]),
                np.concatenate([self.masks, other.masks]),
            )
        )


@dataclass(frozen=True)
class Grammar:
    """Which operators may be used, and the user's own."""

    names: frozenset[str]
    user: tuple[Operator, ...] = ()
    allowed: Callable[[Tree], bool] = field(default=lambda tree: True)

    def unaries(self) -> list[Unary]:
        """Functions of one argument, the most ordinary first."""
        found = []
        if "*" in self.names or "^" in self.names:
            found.append(Unary("square", _power(2.0), np.square, lambda v: 2 * v, even=True))
        for name in ("log", "exp", "sin", "cos", "sqrt", "tanh", "abs", *sorted(self._other())):
            if name in self.names:
                op = BUILTIN[name]
                found.append(Unary(name, _call(name), op.function, op.partials[0]))
        if "/" in self.names or "inv" in self.names:
            found.append(Unary("inv", _inverse, lambda v: 1 / v, lambda v: -1 / v**2))
        if "^" in self.names:
            found.append(Unary("cube", _power(3.0), lambda v: v**3, lambda v: 3 * v**2))
        found += [
            Unary(op.name, _call(op.name), op.function, op.partials[0]) for op in self.user if op.arity == 1
        ]
        return found

    def _other(self) -> set[str]:
        usual = {"log", "exp", "sin", "cos", "sqrt", "tanh", "abs", "square", "cube", "inv", "neg"}
        return {name for name in self.names if name in BUILTIN and BUILTIN[name].arity == 1} - usual


def _power(exponent: float) -> Callable[[Tree], Tree]:
    return lambda tree: Apply("^", (tree, Constant(exponent)))


def _call(name: str) -> Callable[[Tree], Tree]:
    return lambda tree: Apply(name, (tree,))


def _inverse(tree: Tree) -> Tree:
    return Apply("/", (Constant(1.0), tree))


def evaluate(trees: Iterable[Tree], points: Array, user: tuple[Operator, ...] = ()) -> Bank:
    """A bank of any trees at points (N, d); nothing is dropped."""
    listed = tuple(trees)
    pairs = [value_and_gradient(tree, points, user or None) for tree in listed]
    count, width = points.shape
    masks = np.zeros((len(listed), width), dtype=bool)
    for k, tree in enumerate(listed):
        masks[k, list(variables(tree))] = True
    return Bank(
        listed,
        np.array([value for value, _ in pairs]).reshape(len(listed), count),
        np.array([gradient for _, gradient in pairs]).reshape(len(listed), count, width),
        np.array([order(tree) for tree in listed], dtype=np.float64),
        masks,
    )


def valid(bank: Bank) -> Bank:
    """The features that are finite, depend on the inputs, and do not explode."""
    with np.errstate(all="ignore"):
        length = np.sqrt((bank.gradients**2).sum(-1))
        top, middle = length.max(1), np.median(length, axis=1)
        fine = np.isfinite(bank.values).all(1) & np.isfinite(top) & (top > 0)
        # A value that never moves has a gradient of rounding errors; inputs and gradients may be of any size.
        fine &= np.ptp(bank.values, axis=1) > VARYING * np.abs(bank.values).max(1)
        # A feature may be flat on most points (its median slope zero) and still matter: compare with its mean too.
        fine &= top < EXPLODING * np.maximum(middle, 1e-3 * length.mean(1))
    return bank.take(np.flatnonzero(fine))


def distinct(bank: Bank) -> Bank:
    """One feature for each direction of gradient field: the simplest, earlier ones first among equals."""
    if len(bank) == 0:
        return bank
    flat = bank.gradients.reshape(len(bank), -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    probes = np.random.default_rng(12345).standard_normal((flat.shape[1], 4))
    print_ = flat @ probes
    print_ = np.round(print_ * np.where(print_[:, :1] < 0, -1.0, 1.0), 7)
    ranked = np.argsort(bank.sizes, kind="stable")
    seen: set[bytes] = set()
    keep = []
    for i in ranked:
        key = (print_[i] + 0.0).tobytes()
        if key not in seen:
            seen.add(key)
            keep.append(int(i))
    return bank.take(keep)


def variables_bank(points: Array, inputs: Sequence[int]) -> Bank:
    """The inputs themselves as atoms."""
    return evaluate([Variable(int(i)) for i in inputs], points)


def apply_unary(
    atoms: Bank, unaries: Sequence[Unary], skip: Callable[[Tree, Unary], bool] | None = None
) -> Bank:
    """Every function of every atom, by the chain rule on arrays."""
    trees: list[Tree] = []
    values, gradients, masks = [], [], []
    with np.errstate(all="ignore"):
        for function in unaries:
            value, slope = function.value(atoms.values), function.slope(atoms.values)
            for k, tree in enumerate(atoms.trees):
                if skip is not None and skip(tree, function):
                    continue
                trees.append(function.write(tree))
                values.append(value[k])
                gradients.append(slope[k][:, None] * atoms.gradients[k])
                masks.append(atoms.masks[k])
    return valid(_bank(trees, values, gradients, masks, atoms))


def products(left: Bank, right: Bank, pairs: Sequence[tuple[int, int]], sign: str = "*") -> Bank:
    """Products or quotients of pairs (row of left, row of right)."""
    if not pairs:
        return left.take([])
    i, j = np.array(pairs).T
    a, b = left.values[i], right.values[j]
    with np.errstate(all="ignore"):
        if sign == "*":
            value = a * b
            gradient = a[:, :, None] * right.gradients[j] + b[:, :, None] * left.gradients[i]
        else:
            value = a / b
            gradient = (left.gradients[i] - value[:, :, None] * right.gradients[j]) / b[:, :, None]
    trees = [Apply(sign, (left.trees[p], right.trees[q])) for p, q in pairs]
    return valid(_bank(trees, list(value), list(gradient), list(left.masks[i] | right.masks[j]), left))


def sums(atoms: Bank, pairs: Sequence[tuple[int, int]]) -> Bank:
    """Sums and differences of pairs of atoms."""
    if not pairs:
        return atoms.take([])
    trees: list[Tree] = []
    values, gradients, masks = [], [], []
    for i, j in pairs:
        for name, sign in (("+", 1.0), ("-", -1.0)):
            trees.append(Apply(name, (atoms.trees[i], atoms.trees[j])))
            values.append(atoms.values[i] + sign * atoms.values[j])
            gradients.append(atoms.gradients[i] + sign * atoms.gradients[j])
            masks.append(atoms.masks[i] | atoms.masks[j])
    return valid(_bank(trees, values, gradients, masks, atoms))


def _bank(
    trees: Sequence[Tree], values: list[Array], gradients: list[Array], masks: list, like: Bank
) -> Bank:
    if not trees:
        return like.take([])
    sizes = np.array([order(tree) for tree in trees])
    return Bank(tuple(trees), np.array(values), np.array(gradients), sizes, np.array(masks, dtype=bool))


def grow(atoms: Bank, grammar: Grammar, most: int = 600) -> Bank:
    """The bank of depth two over the atoms: functions, products, quotients, functions of sums and of products.

    ``most`` bounds the number of features kept; the larger ones go first.
    """
    unaries = grammar.unaries()
    single = apply_unary(atoms, unaries)
    count = len(atoms)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    ordered = [(i, j) for i in range(count) for j in range(count) if i != j]
    bank = atoms.join(single)
    parts: list[Bank] = []
    product = products(atoms, atoms, pairs) if "*" in grammar.names else atoms.take([])
    quotient = products(atoms, atoms, ordered, "/") if "/" in grammar.names else atoms.take([])
    total = sums(atoms, pairs) if {"+", "-"} <= grammar.names else atoms.take([])
    parts += [product, quotient]
    quick = [u for u in unaries if u.name != "cube"]
    parts.append(apply_unary(total, quick))
    parts.append(apply_unary(product, [u for u in unaries if u.name not in ("log", "cube", "abs")]))
    parts.append(
        apply_unary(
            quotient, [u for u in unaries if u.name in ("sin", "cos", "exp", "sqrt", "tanh", "square")]
        )
    )
    if "*" in grammar.names and len(single):
        mixed = [
            (s, a)
            for s in range(len(single))
            for a in range(count)
            if not (single.masks[s] & atoms.masks[a]).any()
        ]
        parts.append(products(single, atoms, mixed))
    parts.append(_curved(atoms, grammar))
    for part in parts:
        bank = bank.join(part) if len(part) else bank
    if grammar.user or not _free(grammar):
        bank = bank.take([k for k, tree in enumerate(bank.trees) if grammar.allowed(tree)])
    return bank.take(range(min(len(bank), most)))


def grow_small(atoms: Bank, grammar: Grammar) -> Bank:
    """The bank that goes with tuned functions: atoms, their functions, products and quotients."""
    count = len(atoms)
    bank = atoms.join(apply_unary(atoms, grammar.unaries()))
    if "*" in grammar.names:
        part = products(atoms, atoms, [(i, j) for i in range(count) for j in range(i + 1, count)])
        bank = bank.join(part) if len(part) else bank
    return bank


def _free(grammar: Grammar) -> bool:
    return grammar.allowed.__name__ == "<lambda>"


def _curved(atoms: Bank, grammar: Grammar) -> Bank:
    """Functions of 1 + a² and exp(−a²): the bells and rational curves that a sum of powers cannot imitate."""
    one_plus = [Apply("+", (Constant(1.0), Apply("^", (tree, Constant(2.0))))) for tree in atoms.trees]
    square = atoms.values**2
    slope = 2 * atoms.values[:, :, None] * atoms.gradients
    trees: list[Tree] = []
    values, gradients, masks = [], [], []

    def add(tree: Tree, k: int, value: Array, factor: Array) -> None:
        trees.append(tree)
        values.append(value)
        gradients.append(factor[:, None] * slope[k])
        masks.append(atoms.masks[k])

    with np.errstate(all="ignore"):
        for k, base in enumerate(one_plus):
            s = square[k]
            if "/" in grammar.names:
                add(Apply("/", (Constant(1.0), base)), k, 1 / (1 + s), -1 / (1 + s) ** 2)
            if "log" in grammar.names:
                add(Apply("log", (base,)), k, np.log1p(s), 1 / (1 + s))
            if "sqrt" in grammar.names:
                add(Apply("sqrt", (base,)), k, np.sqrt(1 + s), 0.5 / np.sqrt(1 + s))
            if "exp" in grammar.names:
                minus = Apply("neg", (Apply("^", (atoms.trees[k], Constant(2.0))),))
                add(Apply("exp", (minus,)), k, np.exp(-s), -np.exp(-s))
    return valid(_bank(trees, values, gradients, masks, atoms))


def kinds(bank: Bank, atoms: Sequence[Tree]) -> list[tuple[str, frozenset[int]]]:
    """For every feature a kind ("atom", "square", "product", the name of a function of one atom, or "") and its
    inputs: what families for elimination are made of.
    """
    known = set(atoms)
    return [
        (_kind(tree, known), frozenset(np.flatnonzero(mask).tolist()))
        for tree, mask in zip(bank.trees, bank.masks, strict=True)
    ]


def _kind(tree: Tree, atoms: set[Tree]) -> str:
    if tree in atoms:
        return "atom"
    if not isinstance(tree, Apply):
        return ""
    first, last = tree.args[0], tree.args[-1]
    if len(tree.args) == 1:
        return tree.name if first in atoms else ""
    if tree.name == "*" and first in atoms and last in atoms:
        return "product"
    if tree.name == "^" and first in atoms and isinstance(last, Constant):
        return "square" if last.value == 2 else f"^{last.value:g}"
    if tree.name == "/" and isinstance(first, Constant) and last in atoms:
        return "inv"
    return ""
