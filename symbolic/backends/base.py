"""What a search backend is: it proposes trees. Scoring, choice, link and verdict are the same for all of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from interpret.errors import BackendMissing, InterpretError
from symbolic.expression import Tree
from symbolic.operators import Operator

if TYPE_CHECKING:
    from symbolic.targets import Targets

#: What a search says that the user ended.
CANCELLED = "cancelled by the user: the frontier holds what was found until then"
#: The operators searched unless the caller names others.
DEFAULT_OPERATORS = ("+", "-", "*", "/", "^", "sin", "cos", "exp", "log", "sqrt", "tanh")


def shown(value: object) -> str:
    """A value for a message: short, and also where it has no text of its own, as an integer of thousands of digits."""
    try:
        return f"{value!r:.60}"
    except Exception:
        return f"a value of type {type(value).__name__}"


@dataclass(frozen=True)
class Progress:
    """One step of a search, for a progress bar: what is done, the best misalignment so far, seconds used."""

    backend: str
    message: str
    best: float = float("nan")
    seconds: float = 0.0


@dataclass(frozen=True)
class Settings:
    """What a search may use. ``operators`` are names; the user's own ones are listed in ``user_operators``
    too.

    ``time_limit`` is in seconds and ``memory_limit`` in bytes, both for one search; ``options`` are the
    backend's own settings, checked by the backend; ``units`` holds one unit of measurement for each input
    where they are known;
    ``accuracy`` is a misalignment that is good enough to stop at; ``device`` is where torch takes sums over points,
    None for NumPy.
    """

    operators: tuple[str, ...] = DEFAULT_OPERATORS
    user_operators: tuple[Operator, ...] = ()
    max_terms: int = 10
    max_complexity: int = 30
    seed: int = 0
    time_limit: float | None = None
    memory_limit: int | None = None
    units: tuple[str, ...] | None = None
    accuracy: float | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    progress: Callable[[Progress], None] | None = None
    device: str | None = None


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do; callers ask here instead of trying and catching.

    Attributes:
        operators: names it understands.
        manifold: it compares gradients projected to tangent spaces.
        values: it fits g(x) itself where the direction says nothing.
        user_operators: it takes operators of the user's own.
        shared: neurons of one point set cost little more than one.
        deterministic: the same seed gives the same candidates.

    """

    operators: frozenset[str]
    manifold: bool = False
    values: bool = False
    user_operators: bool = False
    shared: bool = False
    deterministic: bool = True


@dataclass(frozen=True)
class Missing:
    """Why a backend cannot run here, and the command that changes it.

    Attributes:
        backend: its name.
        reason: what is missing.
        command: what to run in a shell.

    """

    backend: str
    reason: str
    command: str

    def error(self) -> BackendMissing:
        """The error to raise when the backend was asked for by name."""
        return BackendMissing(f"engine={self.backend!r} cannot run: {self.reason}. Run: {self.command}")


@dataclass(frozen=True)
class SearchResult:
    """Candidate trees, and how the search ended. A backend that found nothing raises instead.

    Attributes:
        candidates: the trees, simplest first.
        interrupted: True where time ran out, the user cancelled or the backend failed after finding something.
        messages: what happened, in words.
        failure: the error, where there was one.

    """

    candidates: tuple[Tree, ...]
    interrupted: bool = False
    messages: tuple[str, ...] = ()
    failure: InterpretError | None = None


@runtime_checkable
class Backend(Protocol):
    """A search over formulas. Every implementer passes the contract tests, one list for all."""

    @property
    def name(self) -> str:
        """The word that ``engine=`` takes."""
        ...

    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    def available(self) -> Missing | None:
        """None where it can run; nothing heavy is imported or started to find out."""
        ...

    def search(self, targets: Targets, settings: Settings, deadline: float | None = None) -> SearchResult:
        """Candidates for one neuron. ``deadline`` is a reading of `time.monotonic`.

        Raises:
            BackendMissing: the backend is not installed.
            BackendFailed: it stopped with an error before it found anything.
            UsageError: an option or operator that this backend does not know.
        """
        ...
