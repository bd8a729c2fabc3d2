"""What of an explanation goes into columns: the figures that queries filter by, and small tables beside
them.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interpret.explanation import ExamplePart, FormulaPart, NeuronExplanation, Provenance
from interpret.runs.schema import FIGURES, TEXTS

#: Columns of table ``neuron`` that an explanation alone decides.
COLUMNS = (*FIGURES, *TEXTS, "sort", "fingerprint")


def text(value: str) -> str:
    """A text that UTF-8 can hold: a lone surrogate is spelled out as its escape sequence."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")


def natural(address: str) -> str:
    """A text that sorts as people count: ``fc[2]`` before ``fc[10]``."""
    return re.sub(r"\d+", lambda found: found.group().zfill(10), spaceless(address))


def spaceless(address: str) -> str:
    """An address without spaces in its index: ``conv[3, 4]`` and ``conv[3,4]`` are one place."""
    head, bracket, tail = address.partition("[")
    return head.strip() + bracket + re.sub(r"\s+", "", tail)


def layer_of(address: str) -> str:
    """The module path of an address: what stands before its index."""
    return address.split("[", 1)[0]


def fingerprint(p: Provenance) -> str:
    """SHA-256 of what an explanation depends on: model, data, seed, settings, versions; not of when it was
    made.
    """
    parts = (p.seed, p.data_hash, p.model_hash, tuple(p.settings), tuple(p.versions))
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()


def neuron_row(e: NeuronExplanation) -> dict[str, Any]:
    """Values of COLUMNS; unknown and NaN are None."""
    row: dict[str, Any] = dict.fromkeys(FIGURES) | dict.fromkeys(TEXTS, "")
    row |= {
        "sort": natural(e.address),
        "address": e.address,
        "layer": layer_of(e.address),
        "verdict": str(e.verdict),
        "title": e.title,
        "model": e.model,
        "claim": e.claim,
        "fingerprint": fingerprint(e.provenance),
        "created": e.provenance.created,
        "data_hash": e.provenance.data_hash,
        "model_hash": e.provenance.model_hash,
        "seed": e.provenance.seed,
        "seconds": e.provenance.seconds,
    }
    if e.formula is not None:
        row |= _formula(e.formula)
    if e.examples is not None:
        row |= _examples(e.examples)
    if e.crosscheck is not None:
        names = ("formula_network", "gp_network", "formula_gp")
        row |= {name: getattr(e.crosscheck, name) for name in names}
    return {name: _plain(value) for name, value in row.items()}


def _formula(f: FormulaPart) -> dict[str, Any]:
    chosen = next((r for r in f.frontier if r.chosen), None)
    return {
        "formula": f.expression,
        "engine": f.engine,
        "complexity": chosen.complexity if chosen else None,
        "terms": chosen.terms if chosen else None,
        "misalignment": f.misalignment,
        "misalignment_low": f.misalignment_low,
        "misalignment_high": f.misalignment_high,
        "alignment": 1.0 - f.misalignment,
        "mse": f.mse,
        "link": f.link.kind if f.link else "",
        "link_r2": f.link.r2 if f.link else None,
        "link_monotone": float(f.link.monotone) if f.link else None,
        "points_used": f.points_used,
        "points_dropped": f.points_dropped,
        "failing_share": f.failing.share if f.failing else None,
    }


def _examples(x: ExamplePart) -> dict[str, Any]:
    names = (
        "kernel",
        "noise",
        "examples",
        "pearson",
        "r2",
        "mae",
        "coverage95",
        "loglik",
        "cancellation",
        "agreement",
    )
    return {name: getattr(x, name) for name in names}


def _plain(value: Any) -> Any:
    """SQLite stores NaN as NULL, keeps infinities, and takes neither NumPy's numbers nor lone surrogates; those
    are spelled out.
    """
    if isinstance(value, str):
        return text(value)
    number = value if value is None or isinstance(value, (int, float)) else value.item()
    return None if number != number else number


def frontier_rows(e: NeuronExplanation) -> list[tuple[Any, ...]]:
    """(place, complexity, terms, fitted, held_out, upper, mse, expression, chosen) of each frontier row."""
    rows = e.formula.frontier if e.formula else ()
    return [
        (
            i,
            _plain(r.complexity),
            _plain(r.terms),
            _plain(r.fitted),
            _plain(r.held_out),
            _plain(r.upper),
            _plain(r.mse),
            text(r.expression),
            int(r.chosen),
        )
        for i, r in enumerate(rows)
    ]


def neighbor_rows(e: NeuronExplanation) -> list[tuple[Any, ...]]:
    """(query, place, example, similarity, contribution) of each neighbor of each case."""
    cases = e.examples.cases if e.examples else ()
    return [
        (q, i, _plain(n.index), _plain(n.similarity), _plain(n.contribution))
        for q, case in enumerate(cases)
        for i, n in enumerate(case.neighbors)
    ]


def symbol_rows(e: NeuronExplanation) -> list[tuple[str, str]]:
    """(kind, name) of every variable and operator of the formula."""
    if e.formula is None:
        return []
    names = [("variable", n) for n in e.formula.variables] + [("operator", n) for n in e.formula.operators]
    return sorted({(kind, text(name)) for kind, name in names})
