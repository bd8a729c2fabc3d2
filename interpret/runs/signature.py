"""Which stored formulas encode the same concept as another: gradients of both at fixed points, side by side.

Two formulas encode one concept when each is a monotone function of the other; then their gradients are
parallel. A formula's signature is its unit gradient at POINTS fixed points, the same for every run: half of
them positive, for logarithms and roots. A variable's coordinates depend on its name alone, so formulas over
different tables compare.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from interpret.errors import ExpressionError
from interpret.runs.names import check_variables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interpret.explanation import FormulaPart
    from symbolic.expression import Tree

POINTS = 32
#: Fewer points than this at which both formulas have a gradient decide nothing.
_ENOUGH = 8
#: Misalignment below which two formulas are one concept. Both are exact here, unlike a fit to a network: all that
#: may differ is the rounding of printed constants (7 digits) and of float16 (below 1e-7). A ratio of constants
#: that is off by 2 % passes, by 5 % (misalignment 3e-4 for x0 + x1) it does not.
SAME = 1e-4


def signature(formula: FormulaPart) -> tuple[str, bytes] | None:
    """(variables as JSON, gradients (POINTS, variables) as float16) of a stored formula; None where it has
    none.
    """
    from symbolic.expression import from_json

    if not formula.tree:
        return None
    try:
        tree = from_json(formula.tree)
    except ExpressionError:
        return None
    return _signed(tree, formula.names)


def _signed(tree: Tree, names: Sequence[str]) -> tuple[str, bytes] | None:
    from symbolic.expression import value_and_gradient, variables

    used = variables(tree)
    if not used or used[-1] >= len(names):
        return None
    X = np.ones((POINTS, len(names)))
    for i in used:
        X[:, i] = _coordinates(names[i])
    order = sorted(used, key=lambda i: names[i])
    gradients = np.asarray(value_and_gradient(tree, X)[1])[:, order]
    with np.errstate(all="ignore"):
        scaled = gradients / np.abs(gradients).max(1, keepdims=True)
        unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    if np.isfinite(unit).all(1).sum() < _ENOUGH:
        return None
    return lean([names[i] for i in order], unit.astype("<f2"))


def lean(names: list[str], unit: NDArray[np.float16]) -> tuple[str, bytes]:
    """A signature without the variables that move nothing at any point, such as x2 in ``x0 + 0*x2``."""
    moves = ((unit != 0) & np.isfinite(unit)).any(0)
    return json.dumps([n for n, m in zip(names, moves, strict=True) if m]), unit[:, moves].tobytes()


@lru_cache(maxsize=4096)
def _coordinates(name: str) -> NDArray[np.float64]:
    """The variable's values at the fixed points; not to be written to, for every formula with it gets these."""
    seed = hashlib.sha256(name.encode("utf-8", "backslashreplace")).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    half = POINTS // 2
    return np.concatenate([rng.uniform(0.3, 2.0, half), rng.uniform(-2.0, 2.0, POINTS - half)])


def alike(connection: sqlite3.Connection, text: str) -> set[int]:
    """Ids of the neurons whose formula encodes the concept of ``text``.

    Two count as one when they depend on the same variables and their misalignment over the fixed points,
    1 − |mean cos|, is below SAME.

    Raises:
        ExpressionError: the text is no formula over the variables that the run's formulas have, or has none.
        QueryError: a variable of it is no input of any neuron here.
    """
    from symbolic.expression import variables
    from symbolic.parser import parse

    names = _names(connection)
    tree = parse(text, names)
    check_variables(connection, [names[i] for i in variables(tree)])
    found = _signed(tree, names)
    if found is None:
        raise ExpressionError(
            f"{text[:80]!r} has no direction to compare: it is constant, or nowhere defined"
        )
    rows = connection.execute(
        "SELECT neuron, body FROM signature WHERE variables = ?", (found[0],)
    ).fetchall()
    if not rows:
        return set()
    width = len(json.loads(found[0]))
    ours = _units(found[1], 1, width)[0]
    theirs = _units(b"".join(row[1] for row in rows), len(rows), width)
    cosines = np.einsum("npv,pv->np", theirs, ours)
    known = np.isfinite(cosines)
    count = known.sum(1)
    mean = np.where(known, cosines, 0.0).sum(1) / np.maximum(count, 1)
    same = (count >= _ENOUGH) & (1.0 - np.abs(mean) < SAME)
    return {int(row[0]) for row, one in zip(rows, same, strict=True) if one}


def _units(stored: bytes, count: int, width: int) -> NDArray[np.float32]:
    """Stored gradients, of length one again after their rounding."""
    found = np.frombuffer(stored, "<f2").reshape(count, POINTS, width).astype(np.float32)
    with np.errstate(all="ignore"):
        return found / np.sqrt(np.einsum("npv,npv->np", found, found))[..., None]  # type: ignore[no-any-return]


def _names(connection: sqlite3.Connection) -> list[str]:
    """Variables of the run's formulas, and x0 … x9, which may be inputs that no formula here has."""
    stored = connection.execute("SELECT DISTINCT name FROM symbol WHERE kind = 'variable'").fetchall()
    return sorted({row[0] for row in stored} | {f"x{i}" for i in range(10)})
