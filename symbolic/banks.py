"""Banks of features kept from one unit to the next: they depend on the points, and the units of a layer share those."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

from symbolic.features import Bank

#: Banks kept, the last used: two tables of points with the grammar's bank and that of tuned functions. Each is a few
#: megabytes.
KEPT = 4

_BANKS: OrderedDict[Hashable, Bank] = OrderedDict()


def kept(points: NDArray[np.float64], what: tuple[Hashable, ...], make: Callable[[], Bank]) -> Bank:
    """The bank that ``make`` gives at points (N, d), made anew only where it is not known; ``what`` tells banks at the
    same points apart: everything else that it depends on.
    """
    key = (points.shape, points.tobytes(), *what)
    bank = _BANKS.pop(key, None)
    if bank is None:
        bank = make()
        for array in (bank.values, bank.gradients, bank.sizes, bank.masks):
            array.flags.writeable = False
    _BANKS[key] = bank
    while len(_BANKS) > KEPT:
        _BANKS.popitem(last=False)
    return bank
