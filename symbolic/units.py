"""Units of measurement prune formulas: a length is not added to a time, and has no sine.

A unit is a product of powers of symbols, ``"kg*m/s^2"``; symbols are taken as they come, nothing is converted. A
constant that is free may carry any unit, as 0.7 does in exp(0.7·x); whole exponents and the plain 1 of 1 + x² may
not. A logarithm takes any unit, as its scale only shifts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from interpret.errors import UsageError
from symbolic.expression import Apply, Constant, Tree, Variable, fold

#: Exponents of the symbols; the empty one is a plain number.
Unit = tuple[tuple[str, Fraction], ...]
#: A part that may carry any unit, and one that has none that is consistent.
ANY, WRONG = "any", "wrong"
Found = Unit | str
_FACTOR = re.compile(r"([A-Za-zµΩ°%$€]+)(?:\^?\(?([+-]?\d+(?:/\d+)?)\)?)?")


def parse(text: str) -> Unit:
    """The unit of a text such as ``"m/s^2"``, ``"kg m s^-2"``, ``""`` or ``"1"``.

    Raises:
        UsageError: the text is no product of powers.
    """
    powers: dict[str, Fraction] = {}
    rest, sign = text.strip().replace("·", "*").replace("**", "^"), 1
    while rest:
        if rest[0] in "*/ ":
            sign = -1 if rest[0] == "/" else 1
            rest = rest[1:].lstrip()
            continue
        if rest[0] == "1" and not rest[1:2].isdigit():
            rest = rest[1:]
            continue
        match = _FACTOR.match(rest)
        if match is None:
            raise UsageError(f"cannot read the unit {text[:40]!r} at {rest[:10]!r}; write it as 'kg*m/s^2'")
        name, power = match.group(1), Fraction(match.group(2) or 1)
        powers[name] = powers.get(name, Fraction(0)) + sign * power
        rest, sign = rest[match.end() :].lstrip(), 1
    return _packed(powers)


def _packed(powers: dict[str, Fraction]) -> Unit:
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def checker(units: Sequence[str], width: int) -> Callable[[Tree], bool]:
    """Whether a formula's units agree, for inputs of the given units.

    Raises:
        UsageError: their number is not the number of inputs, or one cannot be read.
    """
    if len(units) != width:
        raise UsageError(f"{len(units)} units for {width} inputs; give one for each, '' where there is none")
    known = [parse(unit) for unit in units]
    return lambda tree: unit_of(tree, known) != WRONG


def unit_of(tree: Tree, units: Sequence[Unit]) -> Found:
    """The unit of a formula, `ANY`, or `WRONG` where none is consistent."""

    def leaf(node: Variable | Constant) -> Found:
        if isinstance(node, Variable):
            return units[node.index]
        return () if node.value == 1.0 else ANY

    return fold(tree, leaf, _join)


def _join(node: Apply, parts: list[Found]) -> Found:
    if WRONG in parts:
        return WRONG
    first, last = parts[0], parts[-1]
    if node.name in ("+", "-"):
        if first == ANY:
            return last
        return first if last in (ANY, first) else WRONG
    if node.name in ("*", "/"):
        # A free factor makes the whole free; so does the plain 1 of 1/x only by its own unit.
        if isinstance(first, str) or isinstance(last, str):
            return ANY
        return _times(first, last, 1 if node.name == "*" else -1)
    if node.name == "^":
        return _raised(first, node.args[1])
    if node.name in ("neg", "abs"):
        return first
    if node.name in ("square", "cube", "inv", "sqrt"):
        return _powered(first, {"square": Fraction(2), "cube": Fraction(3), "inv": Fraction(-1)}.get(
            node.name, Fraction(1, 2)))  # fmt: skip
    if node.name == "log":
        return ()
    return () if first in (ANY, ()) else WRONG


def _raised(base: Found, exponent: Tree) -> Found:
    if isinstance(exponent, Constant):
        return _powered(base, Fraction(exponent.value).limit_denominator(1_000))
    return () if base in (ANY, ()) else WRONG


def _powered(base: Found, power: Fraction) -> Found:
    if isinstance(base, str):
        return base
    return _packed({name: exponent * power for name, exponent in base})


def _times(first: Unit, last: Unit, sign: int) -> Unit:
    powers = dict(first)
    for name, power in last:
        powers[name] = powers.get(name, Fraction(0)) + sign * power
    return _packed(powers)
