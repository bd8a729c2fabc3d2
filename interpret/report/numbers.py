"""The numbers behind a page as JSON, for whoever wants to draw them again."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from interpret.explanation import NeuronExplanation

#: Arrays of more numbers than this stay in the run's store: a page would carry megabytes nobody draws.
MOST_NUMBERS = 6_000
#: Texts beyond this are cut: names come once per example, and a long one would outweigh all numbers.
LONGEST = 1_000
_DIGITS = 7
_SKIPPED = {"png", "mathml"}


def to_json(neuron: NeuronExplanation) -> str:
    """One line of valid JSON: every figure of the page; NaN is null, arrays are rounded to seven digits."""
    return json.dumps(_plain(neuron), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _array(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in _shown(type(value))}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.integer):
        return int(value)
    return value


@cache
def _shown(kind: type) -> tuple[str, ...]:
    return tuple(at.name for at in fields(kind) if at.name not in _SKIPPED)


def _text(value: str) -> str:
    # A lone surrogate cannot be written as UTF-8, whatever the page does with it.
    whole = value.encode("utf-8", "replace").decode("utf-8")
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
        short = np.where(power >= 0, np.rint(value * 10.0**power) / 10.0**power, value)
    usable = np.isfinite(short) & (power <= 22)
    listed = np.where(usable, short, value).astype(object)
    listed[~np.isfinite(value)] = None
    return listed.tolist()
