"""The verdict on a formula, with its reasons and what to try next; the thresholds live in `interpret.outcome`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interpret.outcome import (
    CLAIM_MISALIGNMENT,
    CONTROL_MARGIN,
    EXACT_LINK_R2,
    Verdict,
    exact_bound,
)
from symbolic import lack
from symbolic.controls import is_linear
from symbolic.formula import Control
from symbolic.link import Link
from symbolic.outliers import hint
from symbolic.scoring import Scored
from symbolic.targets import Targets

#: A bound on the misalignment is worth something from this many held-out points on.
FEWEST_HELD_OUT = 30


@dataclass(frozen=True)
class Judgement:
    """The verdict, why, and what to try next."""

    verdict: Verdict
    reasons: tuple[str, ...]
    advice: tuple[str, ...] = ()


def judge(
    row: Scored, controls: Sequence[Control], link: Link | None, targets: Targets, rivals: int = 0
) -> Judgement:
    """EXACT, APPROXIMATE or NONE from the held-out misalignment, the controls and the link.

    ``rivals`` counts other formulas that the points cannot tell from this one; it is said, and decides nothing.
    """
    unbeaten = [control for control in controls if not control.beaten]
    if row.held_out >= CLAIM_MISALIGNMENT or unbeaten:
        return _none(row, unbeaten)
    # The best linear formula is a linear row's equal, so that row has beaten less than others.
    controlled = bool(controls) and not is_linear(row)
    bound = exact_bound(row.complexity, controlled)
    missing, advice = _short_of_exact(row, link, targets, bound)
    if missing:
        return Judgement(Verdict.APPROXIMATE, (*missing, *_said_of_rivals(rivals)), tuple(advice))
    assert link is not None
    beaten = (
        "every control is beaten"
        if controls
        else "no control could be run, so the bound is ten times stricter"
    )
    if controls and not controlled:
        beaten += ". The best linear formula is no control of a linear one, whose bound is ten times stricter"
    reason = (
        f"held-out misalignment {row.held_out:.2g}, below {bound:.2g} with its 95 % bound {row.upper:.2g}; "
        f"one strictly monotone link reaches R² {link.r2:.4f} on held-out points; {beaten}"
    )
    return Judgement(Verdict.EXACT, (reason, *_said_of_rivals(rivals)))


def _said_of_rivals(count: int) -> tuple[str, ...]:
    if count == 0:
        return ()
    some = (
        "another formula of like length fits" if count == 1 else f"{count} other formulas of like length fit"
    )
    return (
        f"{some} these points as well within the noise: the data cannot tell which is meant, see the alternatives",
    )


def _none(row: Scored, unbeaten: Sequence[Control]) -> Judgement:
    reasons = []
    if row.held_out >= CLAIM_MISALIGNMENT:
        reasons.append(
            f"the best formula of its length is misaligned by {row.held_out:.2g} on held-out points; a claim needs "
            f"less than {CLAIM_MISALIGNMENT:g}"
        )
    reasons += [
        f"the control '{control.name}' reaches {control.misalignment:.2g}; a claim must stay below "
        f"{CONTROL_MARGIN:g} of that and has {row.held_out:.2g}"
        for control in unbeaten
    ]
    outliers = hint(1.0 - row.losses)
    advice = (
        *((outliers,) if outliers else ()),
        "allow more operators, terms or complexity",
        "explain the unit on a smaller region of the inputs, or a unit of an earlier layer",
        "read the unit by its training examples instead",
    )
    return Judgement(Verdict.NONE, tuple(reasons), advice)


def _short_of_exact(
    row: Scored, link: Link | None, targets: Targets, bound: float
) -> tuple[list[str], list[str]]:
    """Reasons why a claim is not EXACT, and advice; ``bound`` is the misalignment that EXACT needs of this row."""
    reasons, advice = [], []
    if row.upper >= bound:
        reasons.append(
            f"the upper 95 % bound of the held-out misalignment is {row.upper:.2g}; EXACT needs {bound:.2g} "
            f"of a formula of this length and kind"
        )
        advice.append("more points, more operators or more terms may close the gap")
    share = lack.pattern(row.tree, targets, row.candidate.user)
    if share is not None:
        reasons.append(
            f"what the formula leaves over is not noise alone: a smooth function of the inputs explains {share:.1%} "
            f"of it"
        )
        advice.append(
            "the formula is near, and another form or one more term is likely right: more points can tell"
        )
    if len(targets.held_out) < FEWEST_HELD_OUT:
        reasons.append(f"only {len(targets.held_out)} points were held out; EXACT needs {FEWEST_HELD_OUT}")
        advice.append("pass more points")
    if len(targets.effective_inputs) < 2:
        reasons.append("only one input matters, so the gradient's direction carries no information")
    if link is None:
        reasons.append("without the unit's values the monotone link cannot be checked")
        advice.append("pass values=")
    elif not link.monotone:
        reasons.append("the link from the formula to the unit is not strictly monotone")
        advice.append("the unit may fold two concepts into one: look at a smaller region")
    elif not link.r2 >= EXACT_LINK_R2:
        reasons.append(
            f"one monotone link explains R² {link.r2:.4f} of the held-out values; EXACT needs {EXACT_LINK_R2:g}"
        )
        advice.append("the formula may miss a term that matters for the values more than for the direction")
    return reasons, advice
