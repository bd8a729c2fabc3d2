"""Text to tree: a tokenizer and precedence climbing over the operator table. Nothing is ever evaluated as
code.

Grammar, loosest first: ``a + b``, ``a - b``; ``a * b``, ``a / b``; ``-a``; ``a ^ b`` or ``a ** b`` (to the
right); numbers, ``pi``, variables, calls such as ``sin(a)``, parentheses. A variable whose name is not a
plain word, or is also an operator's, stands in backticks: `` `net income` ``, with a backtick inside doubled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from interpret.errors import ExpressionError
from symbolic.expression import Apply, Constant, Operators, Tree, Variable
from symbolic.operators import ALIASES, Operator, table

#: Parentheses, signs and powers may nest this deep.
MAX_NESTING = 150

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<quoted>`(?:[^`]|``)*`)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<symbol>\*\*|[-+*/^(),])"
)
_DEFAULT_NAME = re.compile(r"x(0|[1-9]\d*)")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
_SIGN = 3


class Token(NamedTuple):
    """A piece of the text; ``kind`` is "number", "name", "quoted", "symbol" or "end"."""

    kind: str
    text: str
    position: int


def tokenize(text: str) -> list[Token]:
    """The tokens of a formula, with an "end" token last.

    Raises:
        ExpressionError: a character that begins no token; the message points at it.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _error(text, position, f"unexpected {text[position]!r}")
        kind = str(match.lastgroup)
        if kind != "space":
            spelling = match.group()
            tokens.append(Token(kind, "^" if spelling == "**" else spelling, position))
        position = match.end()
    return [*tokens, Token("end", "", len(text))]


def is_plain_name(name: str, operators: Operators = None) -> bool:
    """Whether a variable's name can stand in a formula without backticks."""
    match = _TOKEN.fullmatch(name)
    known = table(operators)
    return match is not None and match.lastgroup == "name" and name not in {*known, *ALIASES, "pi"}


def quote(name: str, operators: Operators = None) -> str:
    """A variable's name as the parser reads it."""
    return name if is_plain_name(name, operators) else "`" + name.replace("`", "``") + "`"


def parse(text: str, names: Sequence[str] | None = None, operators: Operators = None) -> Tree:
    """The tree of a formula.

    Args:
        text: such as ``x0^2 + 2*x1``; names that are no plain words stand in backticks.
        names: of the variables, in the order of the columns; None stands for ``x0, x1, …``.
        operators: of the user's own that the text may use.

    Raises:
        ExpressionError: the text is no formula over these names and operators; the message points at the place.
    """
    parser = _Parser(text, names, table(operators))
    tree = parser.expression(0)
    parser.expect_end()
    return tree


def _error(text: str, position: int, what: str) -> ExpressionError:
    start = max(0, position - 30)
    excerpt = text[start : position + 30].replace("\n", " ")
    return ExpressionError(f"{what} at character {position}:\n  {excerpt}\n  {' ' * (position - start)}^")


class _Parser:
    def __init__(self, text: str, names: Sequence[str] | None, operators: Mapping[str, Operator]) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.next = 0
        self.level = 0
        self.operators = operators
        self.index = None if names is None else {name: k for k, name in enumerate(names)}

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.next + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.peek()
        self.next += 1
        return token

    def fail(self, token: Token, what: str) -> ExpressionError:
        return _error(self.text, token.position, what)

    def expect(self, symbol: str) -> None:
        token = self.take()
        if token.text != symbol or token.kind != "symbol":
            raise self.fail(token, f"expected {symbol!r}, got {token.text or 'the end'!r:.40}")

    def expect_end(self) -> None:
        if self.peek().kind != "end":
            raise self.fail(self.peek(), f"expected an operator, got {self.peek().text!r:.40}")

    def expression(self, weakest: int) -> Tree:
        """What follows, as far as its operators bind at least as tightly as ``weakest``."""
        self.level += 1
        if self.level > MAX_NESTING:
            raise self.fail(self.peek(), f"nested more than {MAX_NESTING} deep")
        left = self.operand()
        while (token := self.peek()).kind == "symbol":
            precedence = _PRECEDENCE.get(token.text)
            if precedence is None or precedence < weakest:
                break
            self.take()
            # Powers group to the right: what follows may be another power.
            right = self.expression(precedence if token.text == "^" else precedence + 1)
            left = Apply(token.text, (left, right))
        self.level -= 1
        return left

    def operand(self) -> Tree:
        token = self.take()
        if token.kind == "number":
            return self.number(token)
        if token.kind == "quoted":
            return self.variable(token, token.text[1:-1].replace("``", "`"))
        if token.kind == "name":
            return self.call(token) if self.peek().text == "(" else self.variable(token, token.text)
        if token.text == "(":
            inner = self.expression(0)
            self.expect(")")
            return inner
        if token.text in ("-", "+"):
            return self.signed(token.text)
        raise self.fail(token, f"expected a number, a variable or a call, got {token.text or 'the end'!r}")

    def signed(self, sign: str) -> Tree:
        if self.peek().kind == "number" and self.peek(1).text != "^":
            value = self.number(self.take()).value
            return Constant(-value if sign == "-" else value)
        inner = self.expression(_SIGN)
        return Apply("neg", (inner,)) if sign == "-" else inner

    def number(self, token: Token) -> Constant:
        value = float(token.text)
        if not math.isfinite(value):
            raise self.fail(token, f"the number {token.text:.40} is too large for float64")
        return Constant(value)

    def variable(self, token: Token, name: str) -> Tree:
        if self.index is not None and name in self.index:
            return Variable(self.index[name])
        if name == "pi" and token.kind == "name":
            return Constant(math.pi)
        match = _DEFAULT_NAME.fullmatch(name) if self.index is None else None
        if match is None or len(name) > 10:
            known = "x0, x1, …" if self.index is None else ", ".join(list(self.index)[:8])
            raise self.fail(token, f"unknown variable {name!r:.60}; known are {known:.300}")
        return Variable(int(match.group(1)))

    def call(self, token: Token) -> Tree:
        op = self.operators.get(token.text) or self.operators.get(ALIASES.get(token.text, ""))
        if op is None:
            raise self.fail(
                token, f"unknown operator {token.text!r:.60}; known are {', '.join(self.operators)}"
            )
        self.expect("(")
        args = [self.expression(0)]
        while self.peek().text == ",":
            self.take()
            args.append(self.expression(0))
        self.expect(")")
        if len(args) != op.arity:
            raise self.fail(token, f"operator {op.name!r} takes {op.arity} arguments, got {len(args)}")
        return Apply(op.name, tuple(args))
