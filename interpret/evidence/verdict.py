"""One verdict from everything known of a neuron. Pure rules on numbers: no engine is imported, nothing is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interpret.explanation import CrossCheck, ExamplePart, FormulaPart
from interpret.outcome import CLAIM_MISALIGNMENT, EXACT_MISALIGNMENT, Verdict

__all__ = ["Judgement", "Verdict", "judge"]

#: A GP below this held-out correlation does not stand for the network, and its neighbors explain nothing.
FAITHFUL_PEARSON = 0.99
_ENGINES = {"symbolic": "formula search", "gp": "example engine"}


@dataclass(frozen=True)
class Judgement:
    """A verdict with the claim it allows, the reasons for it, and what to try next."""

    verdict: Verdict
    claim: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...]


def judge(
    formula: FormulaPart | None,
    examples: ExamplePart | None,
    check: CrossCheck | None,
    failures: Sequence[tuple[str, str]] = (),
) -> Judgement:
    """The symbolic engine's verdict, lowered where fresh rows or the failing region contradict it; never raised.

    ``check.formula_network`` is the mean cosine on rows that the search has not seen in any role.

    ``failures`` are (engine, error) of the engines that were asked and stopped.
    """
    by_example = _by_example(examples)
    if formula is None:
        return _without_formula(by_example, failures)
    verdict, reasons = formula.verdict, list(formula.reasons)
    fresh = 1.0 - check.formula_network if check else float("nan")
    if np.isfinite(fresh):
        if verdict is not Verdict.NONE and fresh > CLAIM_MISALIGNMENT:
            verdict = Verdict.NONE
            reasons.append(f"on fresh rows the misalignment is {fresh:.2g}, too large for any claim")
        elif verdict is Verdict.EXACT and fresh > 2 * EXACT_MISALIGNMENT:
            verdict = Verdict.APPROXIMATE
            reasons.append(
                f"on fresh rows the misalignment is {fresh:.2g}, more than twice what EXACT allows"
            )
    region = formula.failing
    if region is not None:
        reasons.append(
            f"it fails where {region.rule} ({region.share:.0%} of the rows): misalignment "
            f"{region.misalignment_inside:.2g} there, {region.misalignment_outside:.2g} elsewhere"
        )
        if verdict is Verdict.EXACT and region.misalignment_inside > 4 * EXACT_MISALIGNMENT:
            verdict = Verdict.APPROXIMATE
    return Judgement(verdict, _claim(verdict, formula), (*reasons, *by_example), formula.advice)


def _without_formula(by_example: tuple[str, ...], failures: Sequence[tuple[str, str]]) -> Judgement:
    """NONE, for the reason there is: nobody asked for a formula, or its search stopped."""
    stopped = dict(failures)
    if "symbolic" in stopped:
        claim = "The formula search stopped." if by_example else "Nothing could be said of this neuron."
        advice = f"Mend what stopped the formula search, then explain it again: {stopped['symbolic']}"
    elif by_example:
        claim, advice = "No formula was searched for.", "Run the symbolic engine too to get a formula."
    else:
        claim = "Nothing could be said of this neuron."
        advice = "The example engine stopped, and no formula was asked for: run the symbolic engine too."
    said = tuple(f"the {_ENGINES.get(engine, engine)} stopped: {why}" for engine, why in failures)
    if not by_example and not said:
        said = ("no engine gave an answer",)
    return Judgement(Verdict.NONE, claim, (*said, *by_example), (advice,))


def _claim(verdict: Verdict, formula: FormulaPart) -> str:
    if verdict is Verdict.EXACT:
        return f"It computes a monotone function of {formula.expression}."
    if verdict is Verdict.APPROXIMATE:
        return f"It computes something close to a monotone function of {formula.expression}."
    return "No faithful formula found; the best rows below are not claimed."


def _by_example(examples: ExamplePart | None) -> tuple[str, ...]:
    if examples is None:
        return ()
    said = (
        f"a Gaussian process on {examples.examples} training examples predicts it with correlation "
        f"{examples.pearson:.6f} on {'rows it has not seen' if examples.held_out else 'its own training rows'}"
    )
    if examples.pearson < FAITHFUL_PEARSON:
        return (said + ", too low for its neighbors to count as an explanation",)
    return (said,)
