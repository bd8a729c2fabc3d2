"""Who names the rule that a classifier learned? Our engine and symbolic-regression tools on the same networks.

    python benchmarks/peer_formulas.py [--tasks A1,B,C,D,E] [--seeds 3] [--seconds 20]

Each tool gets the same 1,000 points of each network. Ours sees gradients and values; gplearn and pyoperon know nothing
of gradients and fit the logit; PySR, where it is installed, gets the gradient loss and the time limit. The figure is
|mean cos| between the found formula's gradient and the gradient of the rule behind the labels, at fresh points near the
decision boundary: 1 is perfect. CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import os
import warnings

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from collections.abc import Callable

import concept_tasks as tasks
import numpy as np
import torch
from peers import against, cpu, optional, spread, table

import symbolic
from interpret.probe import Probe
from symbolic.expression import value_and_gradient

Array = np.ndarray
Found = tuple[Callable[[Array], Array], str]
#: What counts as the rule found.
FOUND = 0.99


def numeric(predict: Callable[[Array], Array], points: Array) -> Array:
    """Central differences (N, d) of a formula that only gives values."""
    step = 1e-5
    columns = [
        (predict(points + step * u) - predict(points - step * u)) / (2 * step)
        for u in np.eye(points.shape[1])
    ]
    return np.column_stack(columns)


def engine(name: str, model: torch.nn.Module, X: Array, seconds: float, seed: int) -> Found:
    limit = seconds if name == "pysr" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        formula = symbolic.fit(
            Probe(model, ""), X.astype(np.float32), engine=name, seed=seed, time_limit=limit
        )

    def gradient(points: Array) -> Array:
        with np.errstate(all="ignore"):
            return value_and_gradient(formula.tree, points)[1]

    return gradient, f"{formula.verdict}: {formula.text()}"


def gplearn(model: torch.nn.Module, X: Array, seconds: float, seed: int) -> Found:
    from gplearn.genetic import SymbolicRegressor

    functions = ("add", "sub", "mul", "div", "sin", "sqrt", "log")
    found = SymbolicRegressor(
        population_size=1000, generations=max(2, int(seconds)), function_set=functions, random_state=seed,
        parsimony_coefficient=0.005,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.fit(X, tasks.network_gradient(model, X)[0])
    return lambda points: numeric(found.predict, points), str(found._program)


def pyoperon(model: torch.nn.Module, X: Array, seconds: float, seed: int) -> Found:
    from pyoperon.sklearn import SymbolicRegressor

    found = SymbolicRegressor(
        allowed_symbols="add,sub,mul,div,sin,sqrt,log,exp,square,constant,variable", n_threads=1, random_state=seed,
        max_time=int(max(1, seconds)), max_length=30, optimizer_iterations=10, generations=100_000,
        max_evaluations=100_000_000, population_size=1000, pool_size=1000,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.fit(X, tasks.network_gradient(model, X)[0])
        text = found.get_model_string(found.model_, precision=3)
    return lambda points: numeric(lambda x: np.asarray(found.predict(x)), points), text


def contenders() -> dict[str, Callable[[torch.nn.Module, Array, float, int], Found] | None]:
    """Every tool by name; None where it is not installed."""
    made: dict[str, Callable[[torch.nn.Module, Array, float, int], Found] | None] = {
        "twinscope": lambda *a: engine("eigen", *a),
        "PySR, gradient loss": lambda *a: engine("pysr", *a),
        "gplearn": gplearn,
        "pyoperon": pyoperon,
    }
    for label, module in (("PySR, gradient loss", "pysr"), ("gplearn", "gplearn"), ("pyoperon", "pyoperon")):
        if optional(module) is None:
            made[label] = None
    return made


def judged(task: tasks.Task, seed: int, gradient: Callable[[Array], Array]) -> float:
    """|mean cos| with the label rule near the boundary, over points where the formula has a direction."""
    points = tasks.near_boundary(task, seed)
    made = gradient(points)
    usable = np.isfinite(made).all(1) & (np.linalg.norm(made, axis=1) > 0)
    return tasks.cosine(made[usable], task.gradient(points[usable])) if usable.mean() > 0.5 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="A1,B,C,D,E")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=20, help="time limit, or generations, of each peer's search"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [tasks.TASKS[name] for name in asked.tasks.split(",")]
    rows, missing = [], [name for name, tool in contenders().items() if tool is None]
    total: dict[str, list[tuple[float, float]]] = {}
    for task in chosen:
        best: dict[str, tuple[list[float], list[float], str]] = {}
        for seed in range(asked.seeds):
            model = tasks.trained(task, seed)
            X = task.sample(1_000, np.random.default_rng([seed, 5]))
            for name, tool in contenders().items():
                if tool is None:
                    continue
                (gradient, text), seconds = cpu(
                    lambda tool=tool, m=model, x=X, s=seed: tool(m, x, asked.seconds, s)
                )
                figures = best.setdefault(name, ([], [], ""))
                figures[0].append(judged(task, seed, gradient))
                figures[1].append(seconds)
                best[name] = (*figures[:2], text)
                total.setdefault(name, []).append((figures[0][-1], seconds))
        ours = best["twinscope"]
        for name, (cosines, seconds, text) in best.items():
            misfit = 1 - sorted(cosines)[len(cosines) // 2]
            mine = 1 - sorted(ours[0])[len(ours[0]) // 2]
            word = "" if name == "twinscope" else against(mine, misfit)
            sooner = (
                "" if name == "twinscope" else against(float(np.median(ours[1])), float(np.median(seconds)))
            )
            rows.append(
                (task.text, name, spread(cosines, 5), word, spread(seconds, 2), sooner, f"`{text[:70]}`")
            )
    columns = (
        "rule",
        "tool",
        "cos with the rule",
        "misfit, ours against it",
        "CPU s",
        "time, ours against it",
        "formula of the last seed",
    )
    print(table(columns, rows))
    summary = [
        (name, f"{sum(c >= FOUND for c, _ in all_)} of {len(all_)}", spread([s for _, s in all_], 2))
        for name, all_ in total.items()
    ]
    print(table(("tool", f"rule found (cos at least {FOUND})", "CPU s"), summary))
    if missing:
        print(f"Not installed, so not measured: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
