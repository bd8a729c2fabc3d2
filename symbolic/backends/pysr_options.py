"""What can be asked of PySR: its own parameters by version, ours among them, and operators under both
names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from interpret.errors import UsageError
from symbolic.backends.base import Settings
from symbolic.backends.pysr_loss import LOSS, STOP
from symbolic.operators import Operator, table

Version = tuple[int, int, int]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Parameters of ``PySRRegressor`` by the first version that has them, read off its signature; none was
#: removed since.
PARAMETERS: Mapping[Version, frozenset[str]] = {
    (1, 5, 0): _names(
        """
        model_selection binary_operators unary_operators expression_spec niterations populations population_size
        max_evals maxsize maxdepth warmup_maxsize_by timeout_in_seconds constraints nested_constraints elementwise_loss
        loss_function loss_function_expression complexity_of_operators complexity_of_constants complexity_of_variables
        complexity_mapping parsimony dimensional_constraint_penalty dimensionless_constants_only use_frequency
        use_frequency_in_tournament adaptive_parsimony_scaling alpha annealing early_stop_condition
        ncycles_per_iteration fraction_replaced fraction_replaced_hof weight_add_node weight_insert_node
        weight_delete_node weight_do_nothing weight_mutate_constant weight_mutate_operator weight_swap_operands
        weight_rotate_tree weight_randomize weight_simplify weight_optimize crossover_probability
        skip_mutation_failures migration hof_migration topn should_simplify should_optimize_constants
        optimizer_algorithm optimizer_nrestarts optimizer_f_calls_limit optimize_probability optimizer_iterations
        perturbation_factor probability_negate_constant tournament_selection_n tournament_selection_p parallelism procs
        cluster_manager heap_size_hint_in_bytes batching batch_size fast_cycle turbo bumper precision autodiff_backend
        random_state deterministic warm_start verbosity update_verbosity print_precision progress logger_spec
        input_stream run_id output_directory temp_equation_file tempdir delete_tempfiles update output_jax_format
        output_torch_format extra_sympy_mappings extra_torch_mappings extra_jax_mappings denoise select_k_features
        """
    ),
    (1, 5, 7): _names("loss_scale"),
    (2, 0, 0): _names(
        """
        fraction_replaced_guesses guesses operators weight_mutate_feature worker_imports worker_timeout
        default_mutations default_plugins mutations plugins type_spec weight_backsolve
        """
    ),
    (2, 3, 0): _names("tracing_file use_tracing"),
}

#: Options of this backend, not of PySR: seconds without improvement before a search stops, and seconds for
#: the start.
OWN = {"patience": 60.0, "startup_limit": 900.0, "enough": 1e-10}

#: Parameters that this backend needs for itself, and what to use instead.
RESERVED: Mapping[str, str] = {
    "loss_function": "the gradient loss is what this backend is",
    "loss_function_expression": "the gradient loss is what this backend is",
    "elementwise_loss": "the gradient loss is what this backend is",
    "random_state": "use seed=",
    "maxsize": "use max_complexity=",
    "binary_operators": "use operators=",
    "unary_operators": "use operators=",
    "operators": "use operators=",
    "timeout_in_seconds": "use time_limit=",
    "early_stop_condition": "use the options 'enough' (a misalignment) and 'patience' (seconds)",
    "output_directory": "the worker writes to a folder of its own",
    "run_id": "the worker writes to a folder of its own",
    "temp_equation_file": "the worker writes to a folder of its own",
    "tempdir": "the worker writes to a folder of its own",
    "delete_tempfiles": "the worker writes to a folder of its own",
    "input_stream": "the worker has no terminal",
    "denoise": "y holds row numbers here; smooth the gradients before the search",
    "select_k_features": "y holds row numbers here; leave out columns before the search",
    "warm_start": "every search starts anew, so that results depend on the seed alone",
    "expression_spec": "candidates must be plain expressions",
    "type_spec": "candidates must be plain expressions",
    "extra_sympy_mappings": "give the operator's own sympy form instead",
    "guesses": "candidates of other engines are compared afterwards",
}

_BINARY = ("+", "-", "*", "/", "^")
#: Unary operators that SymbolicRegression.jl knows by our name.
_UNARY = _names("neg sin cos tan exp log sqrt tanh sinh cosh asin acos atan erf abs square cube inv")
#: Ours that it does not have, in Julia.
_DEFINED = {"sigmoid": "sigmoid(x) = 1 / (1 + exp(-x))"}
_JULIA_DEFINITION = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\((?P<args>[^()]*)\)\s*=\s*\S", re.DOTALL)

#: Operators this backend takes, by our name.
KNOWN_OPERATORS = frozenset((*_BINARY, *_UNARY, *_DEFINED))


def parse_version(text: str) -> Version:
    """``"2.0.0a2"`` as (2, 0, 0); missing parts are 0.

    Raises:
        UsageError: the text does not begin with a number.
    """
    found = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    if found is None:
        raise UsageError(f"{text!r:.40} is no version of PySR")
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major, minor, patch


def parameters(version: Version) -> frozenset[str]:
    """The parameters that PySR has in that version."""
    return frozenset().union(*(names for since, names in PARAMETERS.items() if since <= version))


@dataclass(frozen=True)
class Plan:
    """What the worker is told: keyword arguments for PySR, our own options, and what this version cannot
    do.
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
    own = dict(OWN)
    given: dict[str, Any] = {}
    for name, value in settings.options.items():
        if name in OWN:
            own[name] = _positive(name, value)
        else:
            given[name] = _checked(name, value, version)
    binary, unary, custom = operators(settings.operators, settings.user_operators)
    arguments = {
        **_DEFAULTS,
        **given,
        **_fixed(settings),
        "binary_operators": binary,
        "unary_operators": unary,
    }
    notes = []
    if settings.max_complexity < 7:
        notes.append("PySR searches formulas of at least 7 nodes; max_complexity was raised to 7")
    if version is not None:
        absent = sorted(set(arguments) - parameters(version))
        for name in absent:
            del arguments[name]
            notes.append(
                f"PySR {'.'.join(map(str, version))} has no option {name!r}; the search ran without it"
            )
    return Plan(arguments, own, custom, tuple(notes))


#: What a search does unless told otherwise: one core, the same result for the same seed, no output.
_DEFAULTS: Mapping[str, Any] = {
    "niterations": 200,
    "parallelism": "serial",
    "deterministic": True,
    "precision": 64,
    "batching": False,
    "progress": False,
    "verbosity": 0,
}


def _fixed(settings: Settings) -> dict[str, Any]:
    """The arguments that follow from the settings and cannot be given otherwise."""
    arguments: dict[str, Any] = {
        "maxsize": max(7, settings.max_complexity),
        "random_state": settings.seed,
        "loss_function": LOSS,
        "early_stop_condition": STOP,
        "input_stream": "devnull",
    }
    if settings.memory_limit is not None:
        arguments["heap_size_hint_in_bytes"] = int(0.6 * settings.memory_limit)
    return arguments


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UsageError(f"option {name!r} must be a positive number, got {value!r:.60}")
    return float(value)


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
        raise UsageError(
            f"PySR {'.'.join(map(str, version))} has no option {name!r}; it came with {'.'.join(map(str, since))}"
        )
    if not _is_plain(value):
        raise UsageError(
            f"PySR's option {name!r} must be a number, a text, or lists and dicts of them, got "
            f"{type(value).__name__}: it is sent to another process"
        )
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(inner) for inner in value)
    return value is None or isinstance(value, (bool, int, float, str))


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
