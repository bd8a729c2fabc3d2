"""Symbolic engine: names the closed-form concept a neuron encodes from the direction of its gradient.

Names are resolved on first use: ``import symbolic`` starts neither torch nor SymPy nor Julia.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "fit": "symbolic.api",
    "fit_gradients": "symbolic.api",
    "fit_many": "symbolic.many",
    "Formula": "symbolic.formula",
    "Link": "symbolic.link",
    "Operator": "symbolic.operators",
    "user_operator": "symbolic.operators",
    "Verdict": "interpret.outcome",
    "parse": "symbolic.parser",
}

if TYPE_CHECKING:
    from interpret.outcome import Verdict as Verdict
    from symbolic.api import fit as fit
    from symbolic.api import fit_gradients as fit_gradients
    from symbolic.formula import Formula as Formula
    from symbolic.link import Link as Link
    from symbolic.operators import Operator as Operator
    from symbolic.operators import user_operator as user_operator
    from symbolic.parser import parse as parse

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'symbolic' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
