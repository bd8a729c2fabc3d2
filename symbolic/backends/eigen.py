"""The embedded search: features from a grammar, supports on Gram matrices, coefficients from an eigenproblem.

The stages deepen until the fit saturates or time runs out: the grammar over the inputs, modules found on subsets of
the inputs, tuned functions with inner constants, evolution of what was found. Whatever the moment it stops, the
candidates so far are valid.
"""

from __future__ import annotations

from interpret.errors import UsageError
from symbolic.backends.base import CANCELLED, Capabilities, Missing, SearchResult, Settings
from symbolic.operators import BUILTIN
from symbolic.targets import Targets


class Eigen:
    """Direction matching by generalised eigenproblems; needs nothing but NumPy."""

    name = "eigen"

    def capabilities(self) -> Capabilities:
        """Everything but Julia."""
        return Capabilities(
            operators=frozenset(BUILTIN), manifold=True, values=True, user_operators=True, shared=True
        )

    def available(self) -> Missing | None:
        """Always here."""
        return None

    def search(self, targets: Targets, settings: Settings, deadline: float | None = None) -> SearchResult:
        """Candidates for one neuron, simplest first."""
        from symbolic.deepen import Run

        own = {op.name for op in settings.user_operators}
        unknown = [name for name in settings.operators if name not in BUILTIN and name not in own]
        if unknown:
            raise UsageError(
                f"eigen knows no operator {unknown[0]!r}; known are {', '.join(sorted(BUILTIN))}"
            )
        run = Run(targets, settings, deadline)
        try:
            run.deepen()
        except KeyboardInterrupt:
            run.messages.append(CANCELLED)
            run.interrupted = True
        return SearchResult(tuple(run.candidates()), run.interrupted, tuple(run.messages))
