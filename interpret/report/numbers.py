"""The numbers behind a page as JSON, for whoever wants to draw them again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from interpret.explanation import NeuronExplanation

#: Arrays of more numbers than this stay in the run's store: a page would carry megabytes nobody draws.
MOST_NUMBERS = 6_000
#: Texts beyond this are cut: names come once per example, and a long one would outweigh all numbers.
LONGEST = 1_000
_DIGITS = 7
_SKIPPED = {"png", "mathml"}
Rule = Callable[[Any], Any]


def to_json(neuron: NeuronExplanation) -> str:
    """One line of valid JSON: every figure of the page; NaN is null, arrays are rounded to seven digits."""
    return json.dumps(_plain(neuron), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    kind = type(value)
    return (_RULES.get(kind) or _rule(kind))(value)


def _rule(kind: type) -> Rule:
    """How values of that type are written; found once for each type, as a page holds thousands of values."""
    if is_dataclass(kind):
        names = tuple(at.name for at in fields(kind) if at.name not in _SKIPPED)
        rule: Rule = partial(_record, names)
    else:
        rule = next((rule for base, rule in _LADDER if issubclass(kind, base)), _same)
    _RULES[kind] = rule
    return rule


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _list(value: Any) -> list[Any]:
    return [_plain(item) for item in value]


def _record(names: tuple[str, ...], value: Any) -> dict[str, Any]:
    return {name: _plain(getattr(value, name)) for name in names}


def _text(value: str) -> str:
    # A lone surrogate cannot be written as UTF-8, whatever the page does with it.
    whole = value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}… ({len(whole)} characters)"


def _array(value: np.ndarray) -> Any:
    if value.size > MOST_NUMBERS:
        return {"shape": list(value.shape), "dtype": str(value.dtype), "kept": "in the run's store"}
    if not np.issubdtype(value.dtype, np.floating):
        return value.tolist()
    return _rounded(value.astype(np.float64))


def _rounded(value: np.ndarray) -> Any:
    """Lists of numbers with so many digits; None where there is none."""
    with np.errstate(all="ignore"):
        power = _DIGITS - 1 - np.floor(np.log10(np.abs(value)))
        # Whole numbers over powers of ten are the doubles nearest to short decimals, so they are written short.
        ten = 10.0**power
        short = np.where(power >= 0, np.rint(value * ten) / ten, value)
    usable = np.isfinite(short) & (power <= 22)
    listed = np.where(usable, short, value)
    finite = np.isfinite(value)
    if finite.all():
        return listed.tolist()
    holed = listed.astype(object)
    holed[~finite] = None
    return holed.tolist()


# The first that fits counts: an Enum may be a string too.
_LADDER: tuple[tuple[type, Rule], ...] = (
    (float, _number),
    (np.floating, _number),
    (Enum, attrgetter("value")),
    (str, _text),
    (list, _list),
    (tuple, _list),
    (np.ndarray, _array),
    (dict, lambda value: {str(key): _plain(item) for key, item in value.items()}),
    (np.integer, int),
)
_RULES: dict[type, Rule] = {}
