"""From one neuron's explanation to its page."""

from __future__ import annotations

import hashlib
import math

from markupsafe import Markup

from interpret.explanation import CrossCheck, FormulaPart, NeuronExplanation
from interpret.outcome import Verdict
from interpret.report.clean import close_to_one, number, percent
from interpret.report.example_view import examples
from interpret.report.formula_view import formula
from interpret.report.scope import rivals, scope
from interpret.report.view import Bar, Neuron

_ABSENT = {
    "formula": "The symbolic engine was not asked: nothing is said about what this unit computes.",
    "examples": "The example engine was not asked: nothing is said about which examples this unit goes by.",
}
_ENGINES = {"formula": ("symbolic", "formula"), "examples": ("gp", "examples")}
_CALLED = {"formula": "symbolic", "examples": "example"}


#: Of the neuron's variance: less than this that a formula leaves over is slight, though a pattern may be in it.
SLIGHT = 0.01
#: The link of a page that offers none.
NO_DOWNLOAD = Markup("")


def identity(neuron: NeuronExplanation) -> str:
    """A short name for links and files, from a hash: an address is foreign text and never a path."""
    text = "\0".join((neuron.model, neuron.address))
    return "n" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def page(neuron: NeuronExplanation, name: str = "", download: Markup = NO_DOWNLOAD) -> Neuron:
    """Everything the page of ``neuron`` shows; ``name`` is its id, ``download`` the link of its numbers as JSON."""
    units = dict(neuron.units)
    name = name or identity(neuron)
    claimed = (
        neuron.verdict is not Verdict.NONE
    )  # rows the search has not seen may lower what the engine said
    return Neuron(
        id=name,
        address=neuron.address or "(the model's output)",
        network=neuron.model,
        verdict=neuron.verdict.value,
        scope=scope(neuron.formula) if claimed else "",
        rivals=rivals(neuron.formula) if claimed else "",
        meaning=neuron.verdict.meaning,
        claim=neuron.claim,
        reasons=neuron.reasons,
        advice=neuron.advice,
        formula=formula(neuron.formula, neuron.examples, units, neuron.verdict) if neuron.formula else None,
        examples=examples(neuron.examples) if neuron.examples else None,
        agreement=_agreement(neuron.crosscheck) if neuron.crosscheck else (),
        residual=_residual(neuron.crosscheck, neuron.formula) if neuron.crosscheck else "",
        absent=_absent(neuron),
        provenance=_provenance(neuron),
        download=download,
        file=f"{name}.json",
    )


def _absent(neuron: NeuronExplanation) -> tuple[tuple[str, str], ...]:
    """Each engine that says nothing here, and why: it failed, or nobody asked it."""
    said = {"formula": neuron.formula is not None, "examples": neuron.examples is not None}
    lines = []
    for part, spoke in said.items():
        failures = [why for engine, why in neuron.failures if engine in _ENGINES[part]]
        if failures:
            lines.append((part, f"The {_CALLED[part]} engine stopped: {'; '.join(failures)}"))
        elif not spoke:
            lines.append((part, _ABSENT[part]))
    known = {engine for engines in _ENGINES.values() for engine in engines}
    lines += [("other", f"{engine}: {why}") for engine, why in neuron.failures if engine not in known]
    return tuple(lines)


def _agreement(check: CrossCheck) -> tuple[Bar, ...]:
    pairs = (
        ("formula and network", check.formula_network),
        ("Gaussian process and network", check.gp_network),
        ("formula and Gaussian process", check.formula_gp),
    )
    return tuple(
        Bar(name, close_to_one(value), round(100 * min(max(value, 0.0), 1.0), 1))
        for name, value in pairs
        if not math.isnan(value)
    )


def _residual(check: CrossCheck, part: FormulaPart | None) -> str:
    if math.isnan(check.residual_r2):
        return ""
    link = part.link if part else None
    left = max(1 - link.r2, 0.0) if link is not None else math.nan
    of = "" if math.isnan(left) else f", {percent(left)} of the variance,"
    share = percent(max(check.residual_r2, 0.0))
    said = f"A Gaussian process fitted to what φ(T) leaves over{of} explains {share} of it: "
    if check.residual_r2 < 0.2:
        return said + "little structure is left."
    if left < SLIGHT:
        return said + "what the formula misses is regular, and slight."
    return said + "the formula misses structure that is there."


def _provenance(neuron: NeuronExplanation) -> tuple[tuple[str, str], ...]:
    made = neuron.provenance
    return (
        ("address", neuron.address),
        ("model", neuron.model),
        ("model hash", made.model_hash),
        ("data hash", made.data_hash),
        ("seed", str(made.seed)),
        ("made", made.created),
        ("time", f"{number(made.seconds, 2)} s"),
        ("versions", ", ".join(f"{name} {version}" for name, version in made.versions)),
        ("settings", ", ".join(f"{name} {value}" for name, value in made.settings)),
    )
