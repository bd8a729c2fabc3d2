"""GP engine: distils a submodule into a Gaussian process and explains outputs by similarity to examples.

``distill`` a model or a probe, ``fit_features`` from arrays, ``load`` what was saved. Names are resolved on first
use, so that importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Distillation": "gp.distillation",
    "Neighbors": "gp.results",
    "Prediction": "gp.results",
    "Prototypes": "gp.results",
    "distill": "gp.distilling",
    "fit_features": "gp.distilling",
    "load": "gp.storage",
    "regularize": "gp.regularization",
}

if TYPE_CHECKING:
    from gp.distillation import Distillation as Distillation
    from gp.distilling import distill as distill
    from gp.distilling import fit_features as fit_features
    from gp.results import Neighbors as Neighbors
    from gp.results import Prediction as Prediction
    from gp.results import Prototypes as Prototypes

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gp' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
