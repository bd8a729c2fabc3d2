"""Functions with inner constants, started on a coarse grid: sin ωa, exp κa, log(a + δ), 1/(δ + a²), a^p, …

The grid is laid relative to the spread of each atom, fine enough that Levenberg–Marquardt on the loss itself
(`symbolic.polish`) reaches the right constant from the nearest start: a frequency within half a turn over the data's
range, the others within a factor of about three.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symbolic.expression import Apply, Constant, Tree, Variable, expand_terms, linear, substitute, variables
from symbolic.features import Bank, Grammar, apply_unary, distinct, products, sums, valid
from symbolic.operators import Operator
from symbolic.sizes import order

Array = NDArray[np.float64]
_A = Variable(0)
#: Where kinks are tried, as shares of the range: near enough that the right gap is found from there.
KINKS = tuple(np.arange(1, 16) / 16)


def _c(value: float) -> Constant:
    """A starting constant; a plain 1 would read as structural, so it is moved a little."""
    value = float(f"{value:.3g}")
    return Constant(value if value != 1.0 else 1.001)


def _times(k: float, tree: Tree) -> Tree:
    return Apply("*", (_c(k), tree))


def _plus(k: float, tree: Tree) -> Tree:
    return Apply("+", (_c(k), tree))


#: Functions tried of a² ± b; exp of it is a product.
_OF_SUMS = ("sin", "cos", "log", "sqrt", "tanh")
_SQUARE = Apply("^", (_A, Constant(2.0)))


def grid(values: Array, names: frozenset[str], thorough: bool = False) -> list[Tree]:
    """Trees in Variable(0), the atom with these values (N,), on the grid of starting constants."""
    low, high = float(values.min()), float(values.max())
    half = max(0.5 * (high - low), 1e-12)
    top = max(abs(low), abs(high), 1e-12)
    found: list[Tree] = []
    turns = (1.0, 2.2, 3.5, 5.0, 6.5, 8.0) if thorough else (1.0, 2.2, 3.5, 5.0)
    for name in ("sin", "cos"):
        if name in names:
            found += [Apply(name, (_times(w / half, _A),)) for w in turns]
            if thorough:
                found += [Apply(name, (_plus(0.25 * np.pi, _times(w / half, _A)),)) for w in turns]
    if thorough and {"exp", "sin"} <= names:
        found += [Apply("exp", (Apply("sin", (_times(w / half, _A),)),)) for w in turns]
    if "exp" in names:
        found += [Apply("exp", (_times(s * k / half, _A),)) for k in (0.5, 1.5, 3.5) for s in (1, -1)]
        found += [Apply("exp", (_times(-k / top**2, _SQUARE),)) for k in (0.4, 1.2, 3.5, 9.0)]
    if "exp" in names and thorough:
        for quarter in (0.25, 0.5, 0.75):
            away = Apply("^", (_plus(-(low + 2 * half * quarter) or 1e-3, _A), Constant(2.0)))
            found += [Apply("exp", (_times(-k / half**2, away),)) for k in (1.0, 4.0)]
    if "tanh" in names:
        found += [Apply("tanh", (_times(k / top, _A),)) for k in (1.2, 3.0, 7.0)]
        for quarter in (0.3, 0.5, 0.7):
            middle = low + 2 * half * quarter
            found.append(Apply("tanh", (_times(3 / half, _plus(-middle or 1e-3, _A)),)))
    found += _shifted(low, half, top, names)
    if "^" in names and low > 0:
        found += [Apply("^", (_A, Constant(p))) for p in (-2.5, -1.5, -0.5, 0.3, 0.7, 1.5, 2.5, 3.5)]
    if "^" in names:
        found.append(Apply("^", (_A, Constant(4.0))))
    if "abs" in names:
        found += [Apply("abs", (_plus(-(low + 2 * half * q) or 1e-3, _A),)) for q in KINKS]
    return found


def own(values: Array, user: tuple[Operator, ...]) -> list[Tree]:
    """Functions of the user's own in Variable(0), the atom with these values (N,): scaled, and scaled and shifted."""
    low, high = float(values.min()), float(values.max())
    half = max(0.5 * (high - low), 1e-12)
    middles = [low + 2 * half * q for q in (0.2, 0.35, 0.5, 0.65, 0.8)]
    found: list[Tree] = []
    for op in user:
        if op.arity != 1:
            continue
        # The function has a scale of its own, about 1; the data have theirs, and it may lie anywhere between.
        sizes = dict.fromkeys(float(f"{k:.2g}") for k in (0.5, 2.0, 4.0, 1 / half, 3 / half, 8 / half))
        found += [Apply(op.name, (_times(k, _A),)) for k in sizes]
        found += [
            Apply(op.name, (_times(k, _plus(-m or 1e-3, _A)),))
            for m in middles
            for k in (1.0, 3 / half, 6 / half)
        ]
    return found


def _shifted(low: float, half: float, top: float, names: frozenset[str]) -> list[Tree]:
    """Functions of a + δ and a² + δ that need a positive argument."""
    found: list[Tree] = []
    inside = [-low + k * half for k in (0.1, 0.5, 2.0)]
    around = [k * top**2 for k in (0.05, 0.3, 1.5)]
    arguments = [_plus(k, _A) for k in inside] + [_plus(k, _SQUARE) for k in around]
    for name in ("log", "sqrt"):
        if name in names:
            found += [Apply(name, (argument,)) for argument in arguments]
    if "/" in names:
        found += [Apply("/", (Constant(1.0), argument)) for argument in arguments]
    if "/" in names and "tanh" in names:
        found.append(Apply("/", (_A, _plus(0.3 * top**2, _SQUARE))))
    return found


def bank(atoms: Bank, grammar: Grammar, thorough: bool = False, mixed: bool = True) -> Bank:
    """Tuned functions of every atom, and their products with atoms of other inputs."""
    parts = []
    for k, values in enumerate(atoms.values):
        trees = [*grid(values, grammar.names, thorough), *own(values, grammar.user)]
        parts.append(_of(atoms, k, trees, grammar.user))
    single = _join(parts, atoms)
    if thorough and len(atoms) == 3 and "*" in grammar.names and len(single):
        waves = single.take([k for k, tree in enumerate(single.trees) if _is_plain_wave(tree)])
        single = single.join(_across(waves, waves)) if len(waves) else single
    if thorough:
        single = single.join(_of_curved_sums(atoms, grammar)).join(_waves_of_products(atoms, grammar))
    if len(atoms) == 2 and "*" in grammar.names and len(single):
        plain = atoms.join(apply_unary(atoms, grammar.unaries()))
        return single.join(_across(single, plain))
    if not mixed or "*" not in grammar.names or len(single) == 0:
        return single
    pairs = [
        (s, a)
        for s in range(len(single))
        for a in range(len(atoms))
        if not (single.masks[s] & atoms.masks[a]).any()
    ]
    return single.join(products(single, atoms, pairs)) if pairs else single


def _of_curved_sums(atoms: Bank, grammar: Grammar) -> Bank:
    """Functions of a² + b and a² − b: waves that quicken, roots and logarithms of parabolas."""
    if len(atoms) < 2 or not {"+", "-", "^"} <= grammar.names:
        return atoms.take([])
    squares = apply_unary(atoms, [u for u in grammar.unaries() if u.name == "square"])
    both = Bank(
        (*squares.trees, *atoms.trees),
        np.concatenate([squares.values, atoms.values]),
        np.concatenate([squares.gradients, atoms.gradients]),
        np.concatenate([squares.sizes, atoms.sizes]),
        np.concatenate([squares.masks, atoms.masks]),
    )
    apart = ~(squares.masks[:, None, :] & atoms.masks[None, :, :]).any(-1)
    inside = sums(both, [(int(i), len(squares) + int(j)) for i, j in np.argwhere(apart)])
    return apply_unary(inside, [u for u in grammar.unaries() if u.name in _OF_SUMS])


def _waves_of_products(atoms: Bank, grammar: Grammar) -> Bank:
    """Sines and cosines of a·b over the grid of frequencies."""
    if "*" not in grammar.names or len(atoms) < 2:
        return atoms.take([])
    inside = products(atoms, atoms, [(i, j) for i in range(len(atoms)) for j in range(i)])
    waves = grammar.names & {"sin", "cos"}
    return _join([_of(inside, k, grid(inside.values[k], waves)) for k in range(len(inside))], atoms)


def _is_plain_wave(tree: Tree) -> bool:
    """Whether a tuned function is a sine or cosine without a phase."""
    return (
        isinstance(tree, Apply)
        and tree.name in ("sin", "cos")
        and isinstance(tree.args[0], Apply)
        and tree.args[0].name == "*"
    )


def _across(left: Bank, right: Bank) -> Bank:
    """Products of features of different inputs."""
    apart = ~(left.masks[:, None, :] & right.masks[None, :, :]).any(-1)
    return products(left, right, [(int(i), int(j)) for i, j in np.argwhere(apart)])


def _of(atoms: Bank, k: int, trees: list[Tree], user: tuple[Operator, ...] = ()) -> Bank:
    """Functions of atom k, by the chain rule."""
    from symbolic.expression import value_and_gradient

    if not trees:
        return atoms.take([])
    points = atoms.values[k][:, None]
    with np.errstate(all="ignore"):
        pairs = [value_and_gradient(tree, points, user or None) for tree in trees]
        values = np.array([value for value, _ in pairs])
        gradients = np.array([slope for _, slope in pairs]) * atoms.gradients[k][None]
    written = tuple(substitute(tree, {0: atoms.trees[k]}) for tree in trees)
    sizes = np.array([order(tree) for tree in written])
    masks = np.repeat(atoms.masks[k][None], len(trees), axis=0)
    return valid(Bank(written, values, gradients, sizes, masks))


def _join(parts: list[Bank], like: Bank) -> Bank:
    parts = [part for part in parts if len(part)]
    if not parts:
        return like.take([])
    return distinct(
        Bank(
            tuple(tree for part in parts for tree in part.trees),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.gradients for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.masks for part in parts]),
        )
    )


#: Functions whose argument's scale is a factor or an offset of the function itself.
_SCALE_FREE = frozenset(("log", "sqrt", "abs", "^"))


def loosened(tree: Tree) -> list[Tree]:
    """The same feature with the constants of one function's argument freed, starting where they change nothing.

    Levenberg–Marquardt then finds whether they are wanted: f(a ± b) becomes f(k·a ± l·b), and f(δ + k·a ± l·b); a
    square inside gets its linear companion. Constants start next to neutral, so that they are free
    (`symbolic.polish.free_constants`), and scales that only repeat the coefficient outside are left alone.
    """
    if not isinstance(tree, Apply):
        return []
    if len(tree.args) == 1 and tree.name != "neg":
        (inner,) = tree.args
        fixed = tree.name in _SCALE_FREE
        return [Apply(tree.name, (arg,)) for arg in _arguments(inner, fixed, shift=tree.name != "exp")]
    if tree.name == "^" and isinstance(power := tree.args[1], Constant):
        base = tree.args[0]
        found: list[Tree] = [Apply("^", (base, Constant(power.value * (1 + 1e-6))))]
        return found + [Apply("^", (arg, power)) for arg in _arguments(base, True, shift=True)]
    if tree.name == "/" and isinstance(tree.args[0], Constant):
        return [Apply("/", (tree.args[0], arg)) for arg in _arguments(tree.args[1], True, shift=True)]
    found = []
    if tree.name in ("*", "/"):
        first, last = tree.args
        found += [Apply(tree.name, (changed, last)) for changed in loosened(first)]
        found += [Apply(tree.name, (first, changed)) for changed in loosened(last)]
    if tree.name == "/":
        found += [Apply("/", (tree.args[0], arg)) for arg in _arguments(tree.args[1], True, shift=True)]
    return found


def _arguments(inner: Tree, fixed: bool, shift: bool) -> list[Tree]:
    """The argument Σ c_k a_k with its constants freed: without and with an offset, and with a linear companion."""
    terms = expand_terms(inner)
    moving = [(c, a) for c, a in terms if variables(a)]
    offset = next((c for c, a in terms if not variables(a)), 0.0)
    if not moving:
        return []
    if fixed:
        scale = moving[0][0]
        sign = 1.0 if scale > 0 else -1.0
        moving = [(sign if k == 0 else _free(c / abs(scale)), a) for k, (c, a) in enumerate(moving)]
        offset /= abs(scale)
    else:
        moving = [(_free(c), a) for c, a in moving]
    plain = linear([c for c, _ in moving], [a for _, a in moving])
    found = [] if offset or plain == inner else [plain]
    if offset or shift:
        found.append(Apply("+", (Constant(_free(offset)), plain)))
    squared = [a.args[0] for _, a in moving if isinstance(a, Apply) and _is_square(a)]
    present = {a for _, a in moving}
    for a in squared:
        if a not in present:
            more = linear([*(c for c, _ in moving), 1e-6], [*(b for _, b in moving), a])
            found.append(Apply("+", (Constant(_free(offset)), more)) if fixed or offset else more)
    return found


def _is_square(tree: Apply) -> bool:
    return tree.name == "^" and tree.args[1] == Constant(2.0)


def _free(value: float) -> float:
    """A value that reads as free: not exactly 0, ±1."""
    if abs(value) < 1e-6:
        return 1e-6
    return value * (1 + 1e-6) if abs(value) == 1.0 else value
