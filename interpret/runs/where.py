"""The grammar of ``--where``: comparisons of a neuron's columns, joined by and, or, not and parentheses.

    either     := both ("or" both)*
    both       := negation ("and" negation)*
    negation   := "not" negation | "(" either ")" | comparison
    comparison := operand (("<" | "<=" | ">" | ">=" | "==" | "=" | "!=" | "~") operand)+
                | operand ["not"] "in" "(" constant ("," constant)* ")"
                | operand "is" ["not"] "unknown"
    operand    := column | number | "text"

``0.9 < r2 < 1`` means what it says; ``~`` matches with ``*`` and ``?``. A figure that is unknown passes no
comparison. The text is parsed into SQL made of known column names and bound values only: nothing of it is
ever run as SQL.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches

from interpret.errors import QueryError
from interpret.outcome import Verdict
from interpret.runs.rows import text
from interpret.runs.schema import FIGURES, TEXTS

#: Columns that a condition may name; all but TEXTS are numbers.
COLUMNS = (*TEXTS, *FIGURES, "revision")
_LONGEST, _DEEPEST, _MOST = 10_000, 40, 200
#: SQLite tries every length of every star, which takes for ever with many; more are matched by ``matches``.
_STARS = 2
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_][A-Za-z_0-9]*)
    |(?P<text>"[^"]*"|'[^']*')
    |(?P<mark><=|>=|==|!=|<>|[<>=~(),]))""",
    re.VERBOSE,
)
_SQL = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "unknown"})


@dataclass(frozen=True)
class Condition:
    """A condition as SQL with ``?`` marks, and the values bound to them."""

    sql: str
    values: tuple[float | str, ...]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class _Operand:
    sql: str
    values: tuple[float | str, ...]
    is_text: bool
    text: str


def parse(condition: str) -> Condition:
    """Parse a condition.

    Raises:
        QueryError: it does not parse, names no column, or compares text with a number; the message points at
        the place.
    """
    if len(condition) > _LONGEST:
        raise QueryError(f"a condition of {len(condition):,} characters; at most {_LONGEST:,} are read")
    return _Parser(condition).whole()


def column(name: str) -> str:
    """A column by its name, for sorting.

    Raises:
        QueryError: there is none; the nearest are named.
    """
    if name in COLUMNS:
        return name
    near = get_close_matches(name, COLUMNS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(COLUMNS)}"
    raise QueryError(f"no column {name[:60]!r}; {hint}")


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, condition: str) -> None:
        self._text = condition
        self._tokens = self._cut()
        self._next = 0
        self._depth = 0
        self._count = 0

    def _cut(self) -> list[_Token]:
        tokens, at, end = [], 0, len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                while self._text[at].isspace():
                    at += 1
                raise self._error("cannot read this", at)
            kind = str(found.lastgroup)
            tokens.append(_Token(kind, found.group(kind), found.start(kind)))
            at = found.end()
        return tokens

    def _error(self, problem: str, at: int) -> QueryError:
        start = max(0, at - 30)
        shown = "".join(c if c.isprintable() else "?" for c in self._text[start : at + 30])
        return QueryError(f"--where: {problem}\nat character {at + 1}:\n  {shown}\n  {' ' * (at - start)}^")

    def _peek(self) -> _Token:
        if self._next < len(self._tokens):
            return self._tokens[self._next]
        return _Token("end", "", len(self._text.rstrip()))

    def _take(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token

    def _accept(self, *words: str) -> bool:
        token = self._peek()
        if token.kind in ("word", "mark") and token.text.lower() in words:
            self._next += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._error(f"expected {word!r}", self._peek().at)

    def whole(self) -> Condition:
        """The whole text as one condition."""
        result = self._either()
        if self._peek().kind != "end":
            raise self._error("expected 'and', 'or' or the end", self._peek().at)
        return result

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._accept("or"):
            parts.append(self._both())
        return _join(parts, "OR")

    def _both(self) -> Condition:
        parts = [self._negation()]
        while self._accept("and"):
            parts.append(self._negation())
        return _join(parts, "AND")

    def _negation(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"nested more than {_DEEPEST} deep", self._peek().at)
        if self._accept("not"):
            inner = self._negation()
            result = Condition(f"(NOT {inner.sql})", inner.values)
        elif self._accept("("):
            result = self._either()
            self._expect(")")
        else:
            result = self._comparison()
        self._depth -= 1
        return result

    def _comparison(self) -> Condition:
        left = self._operand()
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("unknown")
            return Condition(f"({left.sql} IS {'NOT ' if negated else ''}NULL)", left.values)
        if self._accept("not"):
            self._expect("in")
            return self._membership(left, "NOT IN")
        if self._accept("in"):
            return self._membership(left, "IN")
        parts = []
        while self._peek().kind == "mark" and self._peek().text in (*_SQL, "~"):
            sign = self._take()
            right = self._operand()
            parts.append(self._pair(left, sign, right))
            left = right
        if not parts:
            raise self._error("expected a comparison such as r2 > 0.9", self._peek().at)
        return _join(parts, "AND")

    def _pair(self, left: _Operand, sign: _Token, right: _Operand) -> Condition:
        self._counted(sign.at)
        if left.is_text != right.is_text:
            textual, other = (left, right) if left.is_text else (right, left)
            raise self._error(
                f"{textual.text} is text and {other.text} a number; compare like with like", sign.at
            )
        if sign.text == "~":
            if not left.is_text:
                raise self._error("~ matches text", sign.at)
            if sum(str(value).count("*") for value in right.values) > _STARS or not right.values:
                return Condition(f"matches({left.sql}, {right.sql})", (*left.values, *right.values))
            return Condition(f"({left.sql} GLOB {right.sql})", (*left.values, *map(_glob, right.values)))
        return Condition(f"({left.sql} {_SQL[sign.text]} {right.sql})", (*left.values, *right.values))

    def _membership(self, left: _Operand, verb: str) -> Condition:
        self._expect("(")
        values: list[float | str] = []
        while True:
            at = self._peek().at
            self._counted(at)
            item = self._operand()
            if not item.values or item.is_text != left.is_text:
                raise self._error(f"expected {'texts' if left.is_text else 'numbers'} in the list", at)
            values += item.values
            if not self._accept(","):
                break
        self._expect(")")
        return Condition(f"({left.sql} {verb} ({', '.join('?' * len(values))}))", (*left.values, *values))

    def _operand(self) -> _Operand:
        token = self._take()
        if token.kind == "number":
            if not math.isfinite(float(token.text)):
                raise self._error("this number is too large", token.at)
            return _Operand("?", (float(token.text),), False, token.text)
        if token.kind == "text":
            return _Operand("?", (text(token.text[1:-1]),), True, token.text)
        if token.kind == "word" and token.text.upper() in Verdict.__members__:
            return _Operand("?", (token.text.upper(),), True, token.text)
        if token.kind == "word" and token.text.lower() not in _KEYWORDS:
            return self._column(token)
        raise self._error("expected a column, a number or a text in quotes", token.at)

    def _column(self, token: _Token) -> _Operand:
        try:
            name = column(token.text)
        except QueryError as error:
            raise self._error(str(error), token.at) from error
        return _Operand(f"n.{name}", (), name in TEXTS, name)

    def _counted(self, at: int) -> None:
        self._count += 1
        if self._count > _MOST:
            raise self._error(f"more than {_MOST} comparisons", at)


def _join(parts: list[Condition], word: str) -> Condition:
    if len(parts) == 1:
        return parts[0]
    values = tuple(v for part in parts for v in part.values)
    return Condition("(" + f" {word} ".join(part.sql for part in parts) + ")", values)


def _glob(pattern: float | str) -> float | str:
    """SQLite's GLOB reads ``[`` as a class; in addresses it is a bracket."""
    return pattern.replace("[", "[[]") if isinstance(pattern, str) else pattern
