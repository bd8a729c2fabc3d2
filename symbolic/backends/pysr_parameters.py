"""PySR's parameters by version, those that the backend keeps for itself, and those that it cannot do without."""

from __future__ import annotations

import re
from collections.abc import Mapping

from interpret.errors import UsageError

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

#: Options of this backend, not of PySR: seconds without improvement before a search stops, seconds for
#: the start, and a misalignment to stop at.
OWN = {"patience": 60.0, "startup_limit": 900.0, "enough": 1e-10}

_OURS = "the gradient loss is what this backend is"
_FOLDER = "the worker writes to a folder of its own, and the frontier is the result's"
_ROWS = "y holds row numbers here; "
_EXPORTS = "formulas are read as text, and f.numpy(), f.torch() and f.sympy() export them"

#: Parameters that are not taken from the user, and what to use instead. Every other one of the version is passed on.
RESERVED: Mapping[str, str] = {
    "loss_function": _OURS,
    "loss_function_expression": _OURS,
    "elementwise_loss": _OURS,
    "random_state": "use seed=",
    "maxsize": "use max_complexity=",
    "binary_operators": "use operators=",
    "unary_operators": "use operators=",
    "operators": "use operators=",
    "timeout_in_seconds": "use time_limit=",
    "early_stop_condition": "use the options 'enough' (a misalignment) and 'patience' (seconds)",
    "output_directory": _FOLDER,
    "run_id": _FOLDER,
    "temp_equation_file": _FOLDER,
    "tempdir": _FOLDER,
    "delete_tempfiles": _FOLDER,
    "input_stream": "the worker has no terminal",
    "denoise": _ROWS + "smooth the gradients before the search",
    "select_k_features": _ROWS + "leave out columns before the search",
    "warm_start": "every search starts anew, so that results depend on the seed alone; use guesses",
    "expression_spec": "candidates must be plain expressions",
    "type_spec": "candidates must be plain expressions",
    "extra_sympy_mappings": "give the operator's own sympy form instead",
    "output_torch_format": "torch and Julia in one process crash; use f.torch()",
    "extra_torch_mappings": _EXPORTS,
    "output_jax_format": _EXPORTS,
    "extra_jax_mappings": _EXPORTS,
}

#: What the search would not be ours without; any other argument that an installation lacks is left out and said.
ESSENTIAL = _names(
    """
    loss_function binary_operators unary_operators maxsize random_state deterministic parallelism precision
    early_stop_condition timeout_in_seconds output_directory run_id extra_sympy_mappings
    """
)
#: The first version whose parameters are known.
OLDEST = min(PARAMETERS)


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


def too_old(version: Version | None) -> str:
    """Why a version cannot be used; empty where it can."""
    if version is None or version >= OLDEST:
        return ""
    return f"PySR {dotted(version)} is older than {dotted(OLDEST)}, the first that this backend knows"


def dotted(version: Version) -> str:
    """(2, 0, 0) as 2.0.0."""
    return ".".join(map(str, version))
