"""`symbolic.formula.Formula` to JSON and back. Reading checks every field; nothing is evaluated or
unpickled.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from interpret.errors import BadInput, ExpressionError, UsageError
from interpret.outcome import Verdict
from symbolic.expression import from_plain, to_plain
from symbolic.formula import Coefficient, Control, Formula, Row, Summary
from symbolic.link import Link
from symbolic.operators import Operator

VERSION = 1

_SIMPLE = ("chosen", "engine", "interrupted", "seconds", "seed")
_TEXTS = ("names", "reasons", "advice", "messages")


def dump(formula: Formula) -> str:
    """The formula as JSON text, points and directions aside."""
    plain: dict[str, Any] = {
        "format": "twinscope formula",
        "version": VERSION,
        "verdict": str(formula.verdict),
    }
    plain |= {name: getattr(formula, name) for name in _SIMPLE}
    plain |= {name: list(getattr(formula, name)) for name in _TEXTS}
    plain["rows"] = [_row(row) for row in formula.rows]
    plain["alternatives"] = [_row(row) for row in formula.alternative_rows]
    plain["coefficients"] = [_numbers(asdict(c)) for c in formula.coefficients]
    plain["controls"] = [_numbers(asdict(c)) for c in formula.controls]
    plain["summary"] = asdict(formula.summary)
    plain["link"] = None if formula.link is None else formula.link.to_plain()
    plain["expression"] = formula.text() if formula.rows else ""
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def _row(row: Row) -> dict[str, Any]:
    figures = {f.name: getattr(row, f.name) for f in fields(row) if f.name != "tree"}
    return {"tree": to_plain(row.tree)} | _numbers(figures)


def _numbers(plain: dict[str, Any]) -> dict[str, Any]:
    # JSON has no NaN and no infinity.
    return {key: _unknown(value) for key, value in plain.items()}


def _unknown(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def load(text: str, operators: tuple[Operator, ...] = ()) -> Formula:
    """The formula of `dump`.

    Raises:
        BadInput: the text is not such JSON, or of a later version.
        ExpressionError: a tree in it is damaged or uses an unknown operator.
    """
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.get("format") != "twinscope formula":
            raise BadInput("this JSON is not a formula: it was not written by Formula.to_json()")
        if plain["version"] > VERSION:
            raise BadInput(
                f"the formula is of version {plain['version']}, this program reads up to {VERSION}"
            )
        return _formula(plain, operators)
    except (BadInput, ExpressionError, UsageError):
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"not the JSON of a formula: {type(error).__name__}: {error!s:.200}") from error


def _formula(plain: dict[str, Any], operators: tuple[Operator, ...]) -> Formula:
    summary = dict(plain["summary"])
    summary["dropped"] = tuple((str(reason), int(count)) for reason, count in summary["dropped"])
    summary["notes"] = tuple(map(str, summary["notes"]))
    summary["effective_inputs"] = tuple(map(int, summary["effective_inputs"]))
    return Formula(
        rows=tuple(_read_row(row, operators) for row in plain["rows"]),
        chosen=int(plain["chosen"]),
        names=tuple(map(str, plain["names"])),
        verdict=Verdict(plain["verdict"]),
        reasons=tuple(map(str, plain["reasons"])),
        advice=tuple(map(str, plain["advice"])),
        engine=str(plain["engine"]),
        link=None if plain["link"] is None else Link.from_plain(plain["link"]),
        coefficients=tuple(Coefficient(**_read_numbers(c)) for c in plain["coefficients"]),
        controls=tuple(Control(**_read_numbers(c)) for c in plain["controls"]),
        alternative_rows=tuple(_read_row(row, operators) for row in plain["alternatives"]),
        summary=Summary(**summary),
        operators=operators,
        messages=tuple(map(str, plain["messages"])),
        interrupted=bool(plain["interrupted"]),
        seconds=float(plain["seconds"]),
        seed=int(plain["seed"]),
    )


def _read_row(plain: dict[str, Any], operators: tuple[Operator, ...]) -> Row:
    figures = {key: float(value) for key, value in _read_numbers(plain).items() if key != "tree"}
    return Row(from_plain(plain["tree"], operators), **figures)


def _read_numbers(plain: dict[str, Any]) -> dict[str, Any]:
    words: dict[Any, float] = {None: math.nan, "inf": math.inf, "-inf": -math.inf}
    return {
        k: words[v] if v is None or v in ("inf", "-inf") else v for k, v in plain.items() if k != "tree"
    } | ({"tree": plain["tree"]} if "tree" in plain else {})
