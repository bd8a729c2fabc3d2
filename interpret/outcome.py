"""The three outcomes an explanation can have, and the thresholds that separate them: the same for all tasks.

This is ground: both engines and the roof import it, it imports nothing of theirs.
"""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """How far to trust an explanation. Compares equal to its own name, ``Verdict.EXACT == "EXACT"``."""

    EXACT = "EXACT"
    APPROXIMATE = "APPROXIMATE"
    NONE = "NONE"

    @property
    def meaning(self) -> str:
        """One sentence for a reader who sees the word for the first time."""
        return _MEANING[self]


_MEANING = {
    Verdict.EXACT: "The formula has the neuron's gradient direction everywhere we looked, and one monotone link maps "
    "it to the neuron's values.",
    Verdict.APPROXIMATE: "The formula explains the neuron better than every control, but not everywhere or not fully.",
    Verdict.NONE: "No faithful formula was found; the best rows are shown but not claimed.",
}

#: EXACT needs the upper 95 % bound of the held-out misalignment below this, up to `EXACT_LENGTH` nodes.
EXACT_MISALIGNMENT = 5e-3
#: A longer formula must fit better: with enough freedom some formula comes near any smooth function.
EXACT_LENGTH = 10
#: What is left of the bound where the best linear formula is no control: of a linear one, and where none could be run.
UNCONTROLLED = 0.1
#: EXACT needs a strictly monotone link with at least this held-out R².
EXACT_LINK_R2 = 0.99
#: A claim needs a held-out misalignment below this; beyond it no formula is claimed at all.
CLAIM_MISALIGNMENT = 0.1
#: A claim needs a misalignment at most this share of every control's.
CONTROL_MARGIN = 0.5


def exact_bound(complexity: int, controlled: bool = True) -> float:
    """The misalignment that EXACT needs of a formula: it falls with the square of its length beyond `EXACT_LENGTH`.

    ``complexity`` counts nodes; ``controlled`` says whether the best linear formula was there to be beaten.
    """
    bound = EXACT_MISALIGNMENT * min(1.0, EXACT_LENGTH / max(complexity, 1)) ** 2
    return bound if controlled else UNCONTROLLED * bound
