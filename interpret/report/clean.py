"""Every value a page shows passes here: hidden characters become visible, long text short."""

from __future__ import annotations

import math
import re
import unicodedata

from markupsafe import escape

#: Characters of a shown text at most; the JSON download carries the whole.
LONGEST = 160
# Format characters that scripts, emoji and formulas need; others of their kind reorder or hide text.
_HARMLESS = frozenset("\u200c\u200d\ufe0f\u00ad\u2061\u2062\u2063\u2064")

_SPECIAL = re.compile("[&<>\"']")


def visible(text: object, longest: int = LONGEST) -> str:
    """``text`` on one line, control and bidirectional characters spelled out, cut beyond ``longest``.

    Nothing is escaped here: the templates do that for every value, and figures never parse what they draw.
    """
    line = str(text)
    if len(line) > longest:
        keep = max(longest - 24, 8)
        count = f"{len(line):,}".replace(",", "\u2009")
        line = f"{line[: keep * 2 // 3]} … {line[-(keep // 3) :]} ({count} characters)"
    if line.isprintable():  # as nearly all is, and a page has thousands
        return line
    return "".join(_spelled(character) for character in line)


def _spelled(character: str) -> str:
    if character in "\n\t\r\v\f\u2028\u2029":
        return " "
    if character.isprintable() or character in _HARMLESS or character == "\u2009":
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return f"⟨U+{ord(character):04X}⟩"


def escaped(text: str) -> str:
    """``text`` for a page; nearly all of it, as a number or a name, holds nothing to escape."""
    return str(escape(text)) if _SPECIAL.search(text) else text


def number(value: float, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits and a real minus sign; a dash where there is no number."""
    if value is None or value != value:  # NaN
        return "–"
    size = abs(value)
    # What nearly every number is comes first: a page has hundreds.
    if size >= 1e-4 and (size < 1e5 or size < 10 ** (digits + 2)):
        decimals = max(digits - 1 - math.floor(math.log10(size)), 0)
        return f"{value:.{decimals}f}".replace("-", "−")
    if size == 0:
        return "0"
    if size == math.inf:
        return "∞" if value > 0 else "−∞"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}×10{_superscript(int(exponent))}".replace("-", "−")


def within(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A value and its interval, with as many digits as tell the ends apart."""
    width = high - low
    size = max(abs(low), abs(high), abs(value))
    if not math.isfinite(width) or width <= 0 or size == 0:
        return number(value), number(low), number(high)
    digits = min(max(3, math.floor(math.log10(size)) - math.floor(math.log10(width)) + 2), 9)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    if size >= 1e6 or size < 1e-4:
        return number(value, digits), number(low, digits), number(high, digits)
    lower, middle, upper = (f"{at:.{decimals}f}".replace("-", "−") for at in (low, value, high))
    return middle, lower, upper


def signed(value: float, digits: int = 3) -> str:
    """``number`` with its sign always written: contributions pull up or down."""
    return f"+{number(value, digits)}" if value > 0 else number(value, digits)


def close_to_one(value: float) -> str:
    """A correlation or R² with enough nines to tell 0.9999 from 1: 0.99993, never a rounded 1.000."""
    if math.isnan(value) or value < 0.99:
        return number(value, 3)
    if value >= 1:
        return "1"
    nines = min(math.floor(-math.log10(1 - value)) + 1, 9)
    factor: int = 10**nines
    return f"{math.floor(value * factor) / factor:.{nines}f}"


def percent(share: float, digits: int = 2) -> str:
    """A share of one as a percentage."""
    return "–" if math.isnan(share) else f"{number(100 * share, digits)} %"


def amount(many: int) -> str:
    """A whole number, its thousands apart."""
    return f"{many:,}".replace(",", "\u2009")


def count(many: int, noun: str, plural: str = "") -> str:
    """An amount with its noun, as in 1 neuron or 2 neurons."""
    return f"{amount(many)} {noun if many == 1 else plural or f'{noun}s'}"


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
