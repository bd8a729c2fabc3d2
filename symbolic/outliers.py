"""Rows that disagree with everything the others say: a word of advice where a few of them spoil a formula's mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from interpret.outcome import CLAIM_MISALIGNMENT, EXACT_MISALIGNMENT

#: Cosines this far below the median row's are outlying, however near 1 the median is.
APART = 0.1
#: More rows than this share are no outliers but another part of the concept.
MOST = 0.45


def hint(cosines: ArrayLike) -> str | None:
    """What to say of cosines (N,) between a formula's gradient and the unit's whose median is near 1 and whose mean is
    not; None where the rows agree, where too many do not, or where there are fewer than 16.

    The sign of the cosines is that of the formula: it is turned where the median is negative.
    """
    values = np.asarray(cosines, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if len(values) < 16:
        return None
    middle = float(np.median(values))
    values, middle = (-values, -middle) if middle < 0 else (values, middle)
    apart = values < middle - APART
    share = float(apart.mean())
    if (
        1 - middle >= EXACT_MISALIGNMENT
        or 1 - values.mean() < CLAIM_MISALIGNMENT / 2
        or not 0 < share <= MOST
    ):
        return None
    return (
        f"{share:.0%} of the rows are likely outliers: the median row's misalignment is {1 - middle:.2g}, the mean "
        f"{1 - float(values.mean()):.2g}; check the gradients there, or leave those rows out"
    )
