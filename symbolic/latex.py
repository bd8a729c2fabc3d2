"""The pieces of a formula in LaTeX, for math mode with no packages beyond amsmath."""

from __future__ import annotations

import re

from symbolic.layout import Dialect

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}
_SHORT = re.compile(r"([A-Za-z])_?(\d{1,4})?")
_BASE = re.compile(r"[A-Za-z](_\{\d+\})?|\d+(\.\d+)?")
_KNOWN = frozenset({"sin", "cos", "tan", "tanh", "sinh", "cosh", "log", "arcsin", "arccos", "arctan"})


def escape(text: str) -> str:
    r"""Any text inside ``\text{…}``; control characters become spaces."""
    return "".join(_ESCAPES.get(c, c if c.isprintable() else " ") for c in text)


def _name(name: str) -> str:
    match = _SHORT.fullmatch(name)
    if match is None:
        return rf"\text{{{escape(name)}}}"
    return match.group(1) if match.group(2) is None else f"{match.group(1)}_{{{match.group(2)}}}"


def _infix(left: str, sign: str, right: str) -> str:
    dot = r"\cdot"
    return f"{left} {dot if sign == '·' else sign} {right}"


def _power(base: str, exponent: str) -> str:
    return f"{base}^{{{exponent}}}" if _BASE.fullmatch(base) else f"{{{base}}}^{{{exponent}}}"


def _brackets(inner: str) -> str:
    return rf"\left({inner}\right)"


def _call(word: str, arguments: list[str]) -> str:
    if word == "σ":
        head = r"\sigma"
    else:
        head = rf"\{word}" if word in _KNOWN else rf"\operatorname{{{escape(word)}}}"
    return head + _brackets(", ".join(arguments))


LATEX = Dialect(
    pi=r"\pi",
    name=_name,
    number=str,
    minus=lambda inner: f"-{inner}",
    infix=_infix,
    beside=lambda left, right: rf"{left} \, {right}",
    fraction=lambda above, below: rf"\frac{{{above}}}{{{below}}}",
    power=_power,
    root=lambda inner: rf"\sqrt{{{inner}}}",
    bars=lambda inner: rf"\left|{inner}\right|",
    brackets=_brackets,
    call=_call,
    exp=lambda inner: f"e^{{{inner}}}",
)
