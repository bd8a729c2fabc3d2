"""What a verdict covers, said right beside it: where it was looked, up to what, how far off, and what rivals it."""

from __future__ import annotations

import math

from interpret.explanation import FormulaPart
from interpret.outcome import Verdict
from interpret.report.clean import count, number


def scope(part: FormulaPart | None) -> str:
    """The claim's reach: "on these points, up to a monotone map, misalignment ≤ 0.002"; "" where none is made.

    Of a classifier's logit only points near the decision boundary are looked at; elsewhere its gradient may differ.
    """
    if part is None or part.verdict is Verdict.NONE:
        return ""
    most = part.misalignment_high
    where = "near the decision boundary" if part.near_boundary else "on these points"
    if not math.isfinite(most):
        return f"{where}, up to a monotone map"
    return f"{where}, up to a monotone map, misalignment ≤ {number(_up(most), 2)}"


def _up(value: float) -> float:
    """Rounded up to two digits, so that a bound stays one."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit * (1 - 1e-12)) * unit


def rivals(part: FormulaPart | None) -> str:
    """How many other formulas fit the points no worse than a claimed one, by more than noise; "" where none does."""
    if part is None or part.verdict is Verdict.NONE:
        return ""
    others = {other for other in part.alternatives if other != part.expression}
    return f"{count(len(others), 'alternative')} no worse" if others else ""
