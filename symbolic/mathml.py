"""The pieces of a formula in Presentation MathML Core, drawn by browsers without scripts or fonts."""

from __future__ import annotations

import re
from html import escape

from symbolic.layout import Dialect

_SHORT = re.compile(r"([A-Za-z])_?(\d{1,4})?")
_WORD = re.compile(r"[^\W\d_]+")
_INDEXED = re.compile(r"<msub>(<mi>[A-Za-z]</mi><mn>\d+</mn>)</msub>")
_MINUS, _TIMES, _DOT, _APPLY = "−", "\u2062", "\u00b7", "\u2061"
#: A factor that begins or ends with a name of several letters, or begins with a number.
_BEGINS = re.compile(r"(<(mrow|msup|msub|msubsup)>)*(<(mi|mtext)>[^<]{2,}|<mn>)")
_ENDS = re.compile(r"<(mi|mtext)>[^<]{2,}</\1>(</mrow>)*$")
_LONG = re.compile(r"<(mi|mtext)>[^<]{2,}")


def _clean(text: str) -> str:
    """Escaped text; characters that XML does not allow become spaces."""
    return escape("".join(c if c.isprintable() else " " for c in text))


def document(inner: str) -> str:
    """The whole element around finished markup."""
    return f'<math display="inline"><mrow>{inner}</mrow></math>'


def _name(name: str) -> str:
    match = _SHORT.fullmatch(name)
    if match is not None and match.group(2):
        return f"<msub><mi>{match.group(1)}</mi><mn>{match.group(2)}</mn></msub>"
    return f"<mi>{_clean(name)}</mi>" if _WORD.fullmatch(name) else f"<mtext>{_clean(name)}</mtext>"


def _infix(left: str, sign: str, right: str) -> str:
    return f"<mrow>{left}<mo>{_MINUS if sign == '-' else sign}</mo>{right}</mrow>"


def _beside(left: str, right: str) -> str:
    """A product; with a dot where its factors would be read as one word."""
    power = left.endswith(("</msup>", "</msup></mrow>")) and _LONG.search(left)
    words = _BEGINS.match(right) or _ENDS.search(left) or power
    return f"<mrow>{left}<mo>{_DOT if words else _TIMES}</mo>{right}</mrow>"


def _power(base: str, exponent: str) -> str:
    indexed = _INDEXED.fullmatch(base)
    if indexed is not None:
        return f"<msubsup>{indexed[1]}<mrow>{exponent}</mrow></msubsup>"
    return f"<msup><mrow>{base}</mrow><mrow>{exponent}</mrow></msup>"


def _brackets(inner: str) -> str:
    return f"<mrow><mo>(</mo>{inner}<mo>)</mo></mrow>"


def _bars(inner: str) -> str:
    left, right = '<mo form="prefix" fence="true">|</mo>', '<mo form="postfix" fence="true">|</mo>'
    return f"<mrow>{left}{inner}{right}</mrow>"


def _call(word: str, arguments: list[str]) -> str:
    inner = _brackets("<mo>,</mo>".join(arguments))
    return f"<mrow><mi>{_clean(word)}</mi><mo>{_APPLY}</mo>{inner}</mrow>"


MATHML = Dialect(
    pi="<mi>π</mi>",
    name=_name,
    number=lambda digits: f"<mn>{_clean(digits)}</mn>",
    minus=lambda inner: f'<mrow><mo form="prefix">{_MINUS}</mo>{inner}</mrow>',
    infix=_infix,
    beside=_beside,
    fraction=lambda above, below: f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>",
    power=_power,
    root=lambda inner: f"<msqrt>{inner}</msqrt>",
    bars=_bars,
    brackets=_brackets,
    call=_call,
    exp=lambda inner: f"<msup><mi>e</mi><mrow>{inner}</mrow></msup>",
)
