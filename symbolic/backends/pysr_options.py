"""What PySR is told: options checked and made ready for another process, and operators under both names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from interpret.errors import UsageError
from symbolic.backends.base import Settings, shown
from symbolic.backends.pysr_loss import LOSS, STOP
from symbolic.backends.pysr_parameters import (
    ESSENTIAL,
    OWN,
    PARAMETERS,
    RESERVED,
    Version,
    dotted,
    parameters,
    too_old,
)
from symbolic.operators import Operator, table

_BINARY = ("+", "-", "*", "/", "^")
#: Unary operators that SymbolicRegression.jl knows by our name.
_UNARY = (
    *("neg", "sin", "cos", "tan", "exp", "log", "sqrt", "tanh", "sinh", "cosh", "asin", "acos", "atan"),
    *("erf", "abs", "square", "cube", "inv"),
)
#: Ours that it does not have, in Julia.
_DEFINED = {"sigmoid": "sigmoid(x) = 1 / (1 + exp(-x))"}
_JULIA_DEFINITION = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\((?P<args>[^()]*)\)\s*=\s*\S", re.DOTALL)

#: Operators this backend takes, by our name.
KNOWN_OPERATORS = frozenset((*_BINARY, *_UNARY, *_DEFINED))

_MOST_BITS = 63
_DEEPEST = 50


@dataclass(frozen=True)
class Made:
    """An object of PySR's own as an option: it is made in the worker, because only there is PySR imported.

    As in ``pysr_options={"plugins": [Made.of("SimulatedAnnealingPlugin", alpha=0.2)]}``.

    Attributes:
        name: a class that ``import pysr`` offers.
        arguments: its keyword arguments, as (name, value) pairs.

    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()

    @staticmethod
    def of(name: str, **arguments: Any) -> Made:
        """The object of that class with these keyword arguments."""
        return Made(name, tuple(arguments.items()))


@dataclass(frozen=True)
class Plan:
    """What the worker is told: keyword arguments for PySR, our own options, and what this version cannot do.

    ``arguments`` are ready for JSON: tuples, dictionaries and objects as tags that the worker reads (`tagged`).
    """

    arguments: dict[str, Any]
    own: dict[str, float]
    custom_operators: tuple[str, ...]
    notes: tuple[str, ...]


def plan(settings: Settings, version: Version | None) -> Plan:
    """Check the options and translate the settings. ``version`` None skips what depends on it.

    Raises:
        UsageError: an option or operator that PySR or this version of it does not have, or that is ours to
        set.
    """
    if too_old(version):
        raise UsageError(too_old(version))
    own = dict(OWN)
    given: dict[str, Any] = {}
    for name, value in settings.options.items():
        if not isinstance(name, str):
            raise UsageError(f"the names of PySR's options must be text, got {shown(name)}")
        if name in OWN:
            own[name] = _positive(name, value)
        else:
            given[name] = _checked(name, value, version)
    binary, unary, custom = operators(settings.operators, settings.user_operators)
    arguments = {
        **_defaults(settings),
        **given,
        **_fixed(settings),
        "binary_operators": binary,
        "unary_operators": unary,
    }
    arguments, notes = _known(arguments, version)
    if settings.max_complexity < SMALLEST:
        notes.append(
            f"PySR searches formulas of at least {SMALLEST} nodes; max_complexity was raised to {SMALLEST}"
        )
    return Plan(arguments, own, custom, tuple(notes))


def _known(arguments: dict[str, Any], version: Version | None) -> tuple[dict[str, Any], list[str]]:
    """The arguments that the version has, and a note for each that it lacks."""
    if version is None:
        return arguments, []
    notes = []
    for name in sorted(set(arguments) - parameters(version)):
        if name in ESSENTIAL:
            raise UsageError(f"PySR {dotted(version)} has no option {name!r}, which this backend needs")
        notes.append(f"PySR {dotted(version)} has no option {name!r}; the search ran without it")
    return {name: value for name, value in arguments.items() if name in parameters(version)}, notes


#: PySR takes no smaller limit of complexity.
SMALLEST = 7


def _defaults(settings: Settings) -> dict[str, Any]:
    """What a search does unless told otherwise: one core, the same result for the same seed, no output."""
    defaults: dict[str, Any] = {
        "niterations": 200,
        "parallelism": "serial",
        "deterministic": True,
        "precision": 64,
        "batching": False,
        "progress": False,
        "verbosity": 0,
    }
    if settings.memory_limit is not None:
        defaults["heap_size_hint_in_bytes"] = int(0.6 * settings.memory_limit)
    return defaults


def _fixed(settings: Settings) -> dict[str, Any]:
    """The arguments that follow from the settings and cannot be given otherwise."""
    return {
        "maxsize": max(SMALLEST, settings.max_complexity),
        "random_state": settings.seed,
        "loss_function": LOSS,
        "early_stop_condition": STOP,
        "input_stream": "devnull",
    }


def _positive(name: str, value: Any) -> float:
    plain = value.item() if isinstance(value, np.generic) else value
    good = not isinstance(plain, bool) and isinstance(plain, (int, float)) and plain > 0
    try:
        return float(plain) if good else _wrong(name, value)
    except OverflowError:
        return _wrong(name, value)


def _wrong(name: str, value: Any) -> float:
    raise UsageError(f"option {name!r} must be a positive number, got {shown(value)}")


def _checked(name: str, value: Any, version: Version | None) -> Any:
    if name in RESERVED:
        raise UsageError(f"PySR's option {name!r} cannot be set here: {RESERVED[name]}")
    everything = frozenset().union(*PARAMETERS.values())
    if name not in everything:
        near = difflib.get_close_matches(name, [*everything - set(RESERVED), *OWN], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"PySR has no option {name!r}{hint}")
    if version is not None and name not in parameters(version):
        since = next(v for v, names in PARAMETERS.items() if name in names)
        raise UsageError(f"PySR {dotted(version)} has no option {name!r}; it came with {dotted(since)}")
    if name == "precision" and not _is_one_of(value, (16, 32, 64)):
        raise UsageError(f"PySR's precision is 32 or 64, got {shown(value)}")
    if name == "precision" and value == 16:
        raise UsageError(
            "PySR's precision 16 cannot be used here: row numbers above 2,048 have no place in it"
        )
    return tagged(name, value)


def _is_one_of(value: Any, numbers: tuple[int, ...]) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and int(value) in numbers


def tagged(name: str, value: Any, inside: tuple[int, ...] = ()) -> Any:
    """An option's value for JSON: tuples, dictionaries and `Made` as tags, NumPy's numbers and arrays as plain ones.

    ``inside`` are the ids of the lists that hold it.

    Raises:
        UsageError: a value that cannot go to another process.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise UsageError(f"PySR's option {name!r} holds {shown(value)}, more than Julia's integers do")
    if id(value) in inside or len(inside) > _DEEPEST:
        raise UsageError(f"PySR's option {name!r} holds itself, or is nested more than {_DEEPEST} deep")
    within = (*inside, id(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return value.tolist()
    if isinstance(value, list):
        return [tagged(name, inner, within) for inner in value]
    if isinstance(value, tuple):
        return {"tuple": [tagged(name, inner, within) for inner in value]}
    if isinstance(value, Mapping):
        return {
            "dict": [[tagged(name, key, within), tagged(name, inner, within)] for key, inner in value.items()]
        }
    if isinstance(value, Made) and _whole(value):
        return {
            "made": value.name,
            "arguments": [[key, tagged(name, inner, within)] for key, inner in value.arguments],
        }
    raise UsageError(
        f"PySR's option {name!r} must be a number, a text, lists, tuples and dicts of them, or a Made, got "
        f"{type(value).__name__}: it is sent to another process"
    )


def _whole(made: Made) -> bool:
    """Whether it names a public class, and its arguments are pairs of a name and a value."""
    name, arguments = made.name, made.arguments
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return False
    return isinstance(arguments, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in arguments
    )


def operators(
    names: Iterable[str], user: Iterable[Operator] = ()
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Our operator names as PySR's binary and unary lists, and the names that SymPy must be told of there.

    Raises:
        UsageError: PySR has no such operator, or one of the user's own comes without Julia source.
    """
    own = {op.name: op for op in user}
    known = table(own)
    binary: list[str] = []
    unary: list[str] = []
    custom: list[str] = []
    for name in dict.fromkeys((*names, *own)):
        if name in own:
            (binary if known[name].arity == 2 else unary).append(_julia(own[name]))
            custom.append(name)
        elif name in _BINARY:
            binary.append(name)
        elif name in KNOWN_OPERATORS:
            unary.append(_DEFINED.get(name, name))
            if name in _DEFINED:
                custom.append(name)
        else:
            raise UsageError(f"PySR has no operator {name!r}; it takes {', '.join(sorted(KNOWN_OPERATORS))}")
    return binary, unary, tuple(custom)


def _julia(op: Operator) -> str:
    if op.julia is None:
        raise UsageError(
            f"operator {op.name!r} has no Julia source, which PySR needs: "
            f"user_operator(…, julia='{op.name}(x) = …') gives it"
        )
    match = _JULIA_DEFINITION.match(op.julia)
    if match is None or match["name"] != op.name or match["args"].count(",") != op.arity - 1:
        arguments = "x" if op.arity == 1 else "x, y"
        raise UsageError(
            f"the Julia source of operator {op.name!r} must read '{op.name}({arguments}) = …', got {op.julia!r:.80}"
        )
    return op.julia
