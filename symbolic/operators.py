"""The operators a formula may use: their values, their derivatives, and how other systems name them.

An operator is data, not code that is looked up by text: the parser, the printers, the exports and the PySR
backend all read this one table. A user's own operator is one more `Operator`, passed wherever ``operators=``
is accepted; there is no global registry to change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from interpret.errors import ExpressionError

Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """One operator on arrays, element by element.

    ``function(*arguments)`` gives the value and ``partials[i](*arguments)`` the derivative in argument i;
    both take and return float64 arrays that broadcast, and may return non-finite numbers outside the domain.
    Derivatives in inner constants are taken by the complex step where ``analytic`` says that the function
    accepts complex arrays.

    ``monotone`` is "all" where the function is strictly monotone on its whole domain, "sign" where it is on
    positive and on negative arguments apart (``abs``, ``square``, ``inv``), "" otherwise. ``sympy``,
    ``torch`` and ``julia`` are only needed for operators of the user's own: a callable on SymPy expressions,
    a callable on tensors, and Julia source such as ``"bump(x) = exp(-x^2)"`` for PySR.
    """

    name: str
    arity: int
    function: Function
    partials: tuple[Function, ...]
    monotone: str = ""
    analytic: bool = True
    sympy: Function | None = None
    torch: Function | None = None
    julia: str | None = None

    def __post_init__(self) -> None:
        if self.arity not in (1, 2):
            raise ExpressionError(f"operator {self.name!r} has arity {self.arity}; one and two are supported")
        if len(self.partials) != self.arity:
            raise ExpressionError(
                f"operator {self.name!r} takes {self.arity} arguments and has {len(self.partials)} "
                f"derivatives; give one for each argument"
            )


def user_operator(
    name: str,
    function: Function,
    derivative: Function | tuple[Function, ...],
    *,
    sympy: Function | None = None,
    torch: Function | None = None,
    julia: str | None = None,
    monotone: str = "",
) -> Operator:
    """An operator of the user's own.

    Args:
        name: an identifier that is not built in.
        function: on float64 arrays, one for each argument, element by element.
        derivative: of the function, on the same arrays: one callable, or a tuple with one for each argument.
        sympy: the same on SymPy expressions, for `Formula.sympy`.
        torch: the same on tensors, for `Formula.torch`.
        julia: the same in Julia, such as ``"bump(x) = exp(-x^2)"``, for PySR.
        monotone: as for `Operator`.

    Raises:
        ExpressionError: the name is not an identifier, or is one of the built-in names.
    """
    if not (name.isidentifier() and name.isascii()):
        raise ExpressionError(f"operator name {name!r} is not an identifier such as 'bump'")
    if name in BUILTIN or name in ALIASES:
        raise ExpressionError(f"operator name {name!r} is built in; choose another")
    partials = derivative if isinstance(derivative, tuple) else (derivative,)
    return Operator(name, len(partials), function, partials, monotone, False, sympy, torch, julia)


def _magnitude(x: Any) -> Any:
    # np.abs is not analytic; this one carries a complex step through.
    return np.where(np.real(x) < 0, -x, x)


def _sign(x: Any) -> Any:
    return np.sign(np.real(x))


def _power_by_base(a: Any, b: Any) -> Any:
    return np.where(b == 0, 0.0, b * np.power(a, b - 1))


def _power_by_exponent(a: Any, b: Any) -> Any:
    return np.where((a == 0) & (np.real(b) >= 0), 0.0, np.power(a, b) * np.log(a))


def _one(*arguments: Any) -> Any:
    return np.ones(np.broadcast_shapes(*(np.shape(a) for a in arguments)))


def _minus_one(*arguments: Any) -> Any:
    return -_one(*arguments)


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x)) if np.isrealobj(x) else 1 / (1 + np.exp(-x))


def _erf(x: Any) -> Any:
    from scipy.special import erf

    return erf(x)


_BUILTIN = (
    Operator("+", 2, np.add, (_one, _one)),
    Operator("-", 2, np.subtract, (_one, _minus_one)),
    Operator("*", 2, np.multiply, (lambda a, b: b, lambda a, b: a)),
    Operator("/", 2, np.divide, (lambda a, b: 1 / b, lambda a, b: -a / b**2)),
    Operator("^", 2, np.power, (_power_by_base, _power_by_exponent)),
    Operator("neg", 1, np.negative, (_minus_one,), "all"),
    Operator("sin", 1, np.sin, (np.cos,)),
    Operator("cos", 1, np.cos, (lambda x: -np.sin(x),)),
    Operator("tan", 1, np.tan, (lambda x: 1 / np.cos(x) ** 2,)),
    Operator("exp", 1, np.exp, (np.exp,), "all"),
    Operator("log", 1, np.log, (lambda x: np.where(np.real(x) < 0, np.nan, 1 / x),), "all"),
    Operator("sqrt", 1, np.sqrt, (lambda x: 0.5 / np.sqrt(x),), "all"),
    Operator("tanh", 1, np.tanh, (lambda x: 1 / np.cosh(np.clip(x, -350, 350)) ** 2,), "all"),
    Operator("sinh", 1, np.sinh, (np.cosh,), "all"),
    Operator("cosh", 1, np.cosh, (np.sinh,), "sign"),
    Operator("asin", 1, np.arcsin, (lambda x: 1 / np.sqrt(1 - x**2),), "all"),
    Operator("acos", 1, np.arccos, (lambda x: -1 / np.sqrt(1 - x**2),), "all"),
    Operator("atan", 1, np.arctan, (lambda x: 1 / (1 + x**2),), "all"),
    Operator("sigmoid", 1, _sigmoid, (lambda x: _sigmoid(x) * _sigmoid(-x),), "all"),
    Operator("erf", 1, _erf, (lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)),), "all"),
    Operator("abs", 1, _magnitude, (_sign,), "sign"),
    Operator("square", 1, np.square, (lambda x: 2 * x,), "sign"),
    Operator("cube", 1, lambda x: x * x * x, (lambda x: 3 * x * x,), "all"),
    Operator("inv", 1, lambda x: 1 / x, (lambda x: -1 / x**2,), "sign"),
)

#: The operators every formula may use, by name.
BUILTIN: Mapping[str, Operator] = MappingProxyType({op.name: op for op in _BUILTIN})

#: Other spellings that the parser accepts, PySR's among them.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "**": "^",
        "pow": "^",
        "plus": "+",
        "sub": "-",
        "mult": "*",
        "div": "/",
        "ln": "log",
        "arcsin": "asin",
        "arccos": "acos",
        "arctan": "atan",
        "fabs": "abs",
    }
)


def table(operators: Mapping[str, Operator] | Iterable[Operator] | None = None) -> Mapping[str, Operator]:
    """The built-in operators and the user's own as one mapping by name; ``None`` gives the built-in ones.

    Raises:
        ExpressionError: an entry is not an `Operator`.
    """
    if operators is None or operators is BUILTIN:
        return BUILTIN
    own = operators.values() if isinstance(operators, Mapping) else operators
    merged = dict(BUILTIN)
    for op in own:
        if not isinstance(op, Operator):
            raise ExpressionError(
                f"expected an Operator, which user_operator(name, function, derivative) makes, "
                f"got {type(op).__name__}"
            )
        merged[op.name] = op
    return MappingProxyType(merged)


def lookup(name: str, operators: Mapping[str, Operator] | Iterable[Operator] | None = None) -> Operator:
    """The operator of that name or alias.

    Raises:
        ExpressionError: there is none; the message names the known ones.
    """
    known = table(operators)
    found = known.get(name) or known.get(ALIASES.get(name, ""))
    if found is None:
        raise ExpressionError(f"unknown operator {name!r}; known are {', '.join(sorted(known))}")
    return found
