"""Tables become data: names and units from the header, kinds from the columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from interpret.data import Data, check_names
from interpret.errors import BadInput, NameMismatch

if TYPE_CHECKING:
    import pandas as pd

#: Columns of these names are y unless another is asked for.
TARGETS = ("target", "label")

_UNIT = re.compile(r"(?s)(.*\S)\s+\[([^\[\]]{1,32})\]")


def from_frame(
    frame: pd.DataFrame,
    target: str | None = None,
    categorical: tuple[str, ...] = (),
    boolean: tuple[str, ...] = (),
    units: Mapping[str, str] | None = None,
) -> Data:
    """Data of a table; see ``interpret.data.load`` for the rules.

    X is a float64 array (N, d), or a DataFrame where some column is declared: then its types carry that along.
    """
    labels = [str(name) for name in frame.columns]
    check_names(labels)
    frame = frame.set_axis(labels, axis=1)
    names, found = with_units(labels)
    frame = frame.set_axis(names, axis=1)
    check_names(names)
    target = _target(names, labels, target)
    y = None if target is None else _labels(frame.pop(target))
    names = [str(name) for name in frame.columns]
    missing = [name for name in (*categorical, *boolean) if name not in names]
    if missing:
        raise NameMismatch(f"no column {missing[0]!r:.80} to declare; there are {', '.join(names[:12])}")
    kinds, categories = [], {}
    for name in names:
        kind, frame[name], categories[name] = _column(frame[name], name, categorical, boolean)
        kinds.append(kind)
    measured = tuple({**found, **(units or {})}.get(name, "") for name in names)
    plain = all(kind == "continuous" for kind in kinds)
    return Data(
        frame.to_numpy(dtype=np.float64) if plain else frame,
        y,
        tuple(names),
        measured if any(measured) else (),
        tuple(kinds),
        {name: labels for name, labels in categories.items() if labels},
    )


def with_units(labels: list[str]) -> tuple[list[str], dict[str, str]]:
    """``"length [m]"`` is the name "length" with unit "m"; where two names would be equal, labels stay."""
    split = [_UNIT.fullmatch(label) for label in labels]
    names = [found.group(1) if found else label for found, label in zip(split, labels, strict=True)]
    if len(set(names)) < len(names):
        return labels, {}
    return names, {name: found.group(2) for found, name in zip(split, names, strict=True) if found}


def _target(names: list[str], labels: list[str], target: str | None) -> str | None:
    if target is None:
        return next((name for name in names if name.lower() in TARGETS), None) if len(names) > 1 else None
    if target in labels:
        return names[labels.index(target)]
    if target not in names:
        raise NameMismatch(f"no column {target!r:.80} to be the target; there are {', '.join(names[:12])}")
    return target


def _labels(column: pd.Series) -> np.ndarray:
    return column.to_numpy() if column.dtype.kind in "iufb" else column.astype(str).to_numpy(dtype=object)


def _first_text(column: pd.Series) -> tuple[int, object]:
    """(Row, value) of the first cell that is no number; a single one turns a whole column into text."""
    import pandas as pd

    texts = np.flatnonzero(pd.to_numeric(column, errors="coerce").isna().to_numpy())
    row = int(texts[0]) if len(texts) else 0
    return row, column.iloc[row] if len(column) else ""


def _column(
    column: pd.Series, name: str, categorical: tuple[str, ...], boolean: tuple[str, ...]
) -> tuple[str, Any, tuple[str, ...]]:
    """Kind, values and category labels of one column."""
    import pandas as pd

    if column.isna().any():
        row = int(np.flatnonzero(column.isna().to_numpy())[0])
        raise BadInput(
            f"column {name!r:.80} has {int(column.isna().sum())} empty cells, the first in row {row}; fill or drop them"
        )
    if name in categorical or isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.astype("category").cat
        return (
            "categorical",
            pd.Series(pd.Categorical(codes.codes), index=column.index),
            tuple(map(str, codes.categories)),
        )
    if column.dtype.kind == "b" or name in boolean:
        return "boolean", column.astype(bool), ()
    if column.dtype.kind not in "iuf":
        first = column.iloc[0] if len(column) else ""
        if re.fullmatch(r"\s*[+-]?\d*,\d+\s*", str(first)):
            raise BadInput(
                f"column {name!r:.80} holds decimal commas ({str(first)!r:.40}); write numbers with decimal points"
            )
        row, text = _first_text(column)
        raise BadInput(
            f"column {name!r:.80} holds text ({text!r:.40} in row {row}), not numbers; declare it categorical, make it "
            f"the target, or drop it"
        )
    return "continuous", column.astype(np.float64), ()
