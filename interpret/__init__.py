"""twinscope's roof and ground: the probe, one explanation per neuron, the run store, the report, the command line.

Names are resolved on first use, so that the engines can import ``interpret.probe`` without a cycle and
``twinscope --help`` starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any


def _refuse_namesake() -> None:
    """InterpretML installs a package of this name too; pip then mixes the files of both."""
    for name in ("interpret-core", "interpret"):
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        raise ImportError(
            f"the distribution {name!r} (InterpretML) is installed beside twinscope, and both provide the package "
            f"'interpret', so their files overwrite each other. Use separate virtual environments, or run: "
            f"pip uninstall -y interpret interpret-core && pip install --force-reinstall --no-deps twinscope"
        )


_refuse_namesake()

_HOME = {
    "Probe": "interpret.probe",
    "Layer": "interpret.probing.inventory",
    "layers": "interpret.probing.inventory",
    "explain": "interpret.explaining",
    "Explanations": "interpret.explaining",
    "NeuronExplanation": "interpret.explanation",
    "compare": "interpret.comparing",
    "open_run": "interpret.store",
    "Run": "interpret.store",
    "Verdict": "interpret.outcome",
    "errors": "interpret.errors",
}

if TYPE_CHECKING:
    from interpret.comparing import compare as compare
    from interpret.explaining import Explanations as Explanations
    from interpret.explaining import explain as explain
    from interpret.explanation import NeuronExplanation as NeuronExplanation
    from interpret.outcome import Verdict as Verdict
    from interpret.probe import Probe as Probe
    from interpret.probing.inventory import Layer as Layer
    from interpret.probing.inventory import layers as layers
    from interpret.store import Run as Run
    from interpret.store import open_run as open_run

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return distribution("twinscope").version
    if name not in _HOME:
        raise AttributeError(f"module 'interpret' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(_HOME[name])
    value = module if _HOME[name] == f"interpret.{name}" and name == "errors" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
