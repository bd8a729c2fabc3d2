"""What the comparisons with peers share: medians with their spread, wins and losses called by name, Markdown tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

#: Figures closer than this factor are called level.
LEVEL = 1.1


def optional(name: str) -> Any:
    """A module, or None where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


def installed(name: str) -> str:
    """The version of a distribution, or that it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def figure(value: float, digits: int = 3) -> str:
    """To so many significant digits; large ones in full, with commas."""
    short = f"{value:.{digits}g}"
    return f"{float(short):,.0f}" if "e+" in short else short


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, and the whole range in brackets."""
    if not values:
        return "–"
    middle = figure(median(values), digits)
    if len(values) == 1:
        return middle
    return f"{middle} ({figure(min(values), digits)} to {figure(max(values), digits)})"


def shortened(text: str, length: int) -> str:
    """At most so many characters; one that was longer ends with an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def against(ours: float, theirs: float, low: bool = True) -> str:
    """Ours beside theirs, from our side: a win, level, or a loss, with the factor. ``low``: the smaller is better."""
    if not (ours > 0 and theirs > 0):
        return "–"
    factor = theirs / ours if low else ours / theirs
    if 1 / LEVEL <= factor <= LEVEL:
        return "level"
    return f"win, {figure(factor, 2)} ×" if factor > 1 else f"**loss**, {figure(1 / factor, 2)} ×"


def beside(ours: Sequence[float], theirs: Sequence[float], low: bool = True) -> str:
    """`against` for several runs of each: the factor between the medians; level where the ranges overlap."""
    if not (ours and theirs):
        return "–"
    if len(ours) > 1 and len(theirs) > 1 and max(min(ours), min(theirs)) <= min(max(ours), max(theirs)):
        return "level"
    return against(median(ours), median(theirs), low)


def cpu(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its CPU seconds in this process."""
    start = time.process_time()
    value = call()
    return value, time.process_time() - start


def turns(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each contender, round by round: they take turns, so that a busy machine is busy for all."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
