"""Who names the rule that a classifier learned? Our engine and symbolic-regression tools on the same networks.

    python benchmarks/peer_formulas.py [--tasks A1,B,C,D,E] [--seeds 3] [--budgets 2,10] [--generations 20]

Each tool gets the same 1,000 points of each network. Ours sees gradients and values and stops by itself; gplearn and
pyoperon know nothing of gradients and fit the logit; PySR, where it is installed, gets the gradient loss. A tool that
searches for as long as it is told gets one budget after another until it has found the rule, and is charged for the
last alone, as if that had been known: seconds for pyoperon and PySR; for gplearn generations of 1,000 formulas, where
the largest budget is its default of 20. The figure is |mean cos| between the found formula's gradient and the gradient
of the rule behind the labels, at fresh points near the decision boundary: 1 is perfect. Size counts a formula's nodes,
as its tool does. CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import os
import warnings

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from collections.abc import Callable
from dataclasses import dataclass, field

import concept_tasks as tasks
import numpy as np
import torch
from peers import beside, cpu, optional, spread, table

import symbolic
from interpret.probe import Probe
from symbolic.expression import complexity, value_and_gradient

Array = np.ndarray
#: A formula's gradient, its text and its size.
Found = tuple[Callable[[Array], Array], str, int]
Tool = Callable[[torch.nn.Module, Array, float, int], Found]
#: What counts as the rule found.
FOUND = 0.99
#: Generations that gplearn makes unless told otherwise.
GENERATIONS = 20


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

    return gradient, f"{formula.verdict}: {formula.text()}", complexity(formula.tree)


def gplearn(model: torch.nn.Module, X: Array, generations: float, seed: int) -> Found:
    """At least two generations, for with one nothing evolves."""
    from gplearn.functions import make_function
    from gplearn.genetic import SymbolicRegressor

    exp = make_function(function=lambda a: np.exp(np.clip(a, -50, 50)), name="exp", arity=1)
    found = SymbolicRegressor(
        population_size=1000, generations=max(2, round(generations)), random_state=seed,
        function_set=("add", "sub", "mul", "div", "sin", "sqrt", "log", exp), parsimony_coefficient=0.005,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.fit(X, tasks.network_gradient(model, X)[0])
    return lambda points: numeric(found.predict, points), str(found._program), found._program.length_


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
    return lambda points: numeric(lambda x: np.asarray(found.predict(x)), points), text, found.model_.Length


def contenders(budgets: list[float], generations: int) -> dict[str, list[Tool]]:
    """Every tool by name, once for each budget, the largest of them ``generations``; none where it is not installed."""

    def within(tool: Tool, unit: float = 1.0) -> list[Tool]:
        return [lambda m, X, _, seed, b=b * unit: tool(m, X, b, seed) for b in budgets]

    made: dict[str, list[Tool]] = {
        "twinscope": [lambda *a: engine("eigen", *a)],
        "PySR, gradient loss": within(lambda *a: engine("pysr", *a)),
        "gplearn": within(gplearn, generations / max(budgets)),
        "pyoperon": within(pyoperon),
    }
    for label, module in (("PySR, gradient loss", "pysr"), ("gplearn", "gplearn"), ("pyoperon", "pyoperon")):
        if optional(module) is None:
            made[label] = []
    return made


def judged(task: tasks.Task, seed: int, gradient: Callable[[Array], Array]) -> float:
    """|mean cos| with the label rule near the boundary, over points where the formula has a direction."""
    points = tasks.near_boundary(task, seed)
    made = gradient(points)
    usable = np.isfinite(made).all(1) & (np.linalg.norm(made, axis=1) > 0)
    return tasks.cosine(made[usable], task.gradient(points[usable])) if usable.mean() > 0.5 else 0.0


@dataclass
class Figures:
    """What a tool reached on the networks of one rule: cosines, CPU seconds, and the last formula."""

    cosines: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    text: str = ""

    def take(self, tools: list[Tool], task: tasks.Task, model: torch.nn.Module, X: Array, seed: int) -> None:
        """One network: budget after budget until the rule is found."""
        for tool in tools:
            (gradient, self.text, size), seconds = cpu(lambda tool=tool: tool(model, X, 0.0, seed))
            cosine = judged(task, seed, gradient)
            if cosine >= FOUND:
                break
        self.cosines.append(cosine)
        self.seconds.append(seconds)
        self.sizes.append(size)

    @property
    def found(self) -> list[float]:
        """Seconds of the networks on which the rule was found."""
        return [s for s, c in zip(self.seconds, self.cosines, strict=True) if c >= FOUND]


def row(task: tasks.Task, name: str, made: Figures, ours: Figures) -> tuple[object, ...]:
    """A line of the table."""
    misfit, sooner = "", ""
    if name != "twinscope":
        misfit = beside([1 - c for c in ours.cosines], [1 - c for c in made.cosines])
        sooner = beside(ours.found, made.found) if made.found else "–"
    found = f"{len(made.found)} of {len(made.cosines)}"
    return (
        task.text, name, found, spread(made.cosines, 5), misfit, spread(made.sizes), spread(made.found, 2), sooner,
        f"`{made.text[:60]}`",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="A1,B,C,D,E")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budgets", default="2,10", help="seconds of each peer's search, one after another")
    parser.add_argument(
        "--generations", type=int, default=GENERATIONS, help="gplearn's, where the budget is the largest"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tools = contenders([float(budget) for budget in asked.budgets.split(",")], asked.generations)
    present = {name: each for name, each in tools.items() if each}
    rows: list[tuple[object, ...]] = []
    all_: dict[str, Figures] = {name: Figures() for name in present}
    for task in (tasks.TASKS[name] for name in asked.tasks.split(",")):
        made = {name: Figures() for name in present}
        for seed in range(asked.seeds):
            model = tasks.trained(task, seed)
            X = task.sample(1_000, np.random.default_rng([seed, 5]))
            for name, each in present.items():
                made[name].take(each, task, model, X, seed)
        rows += [row(task, name, figures, made["twinscope"]) for name, figures in made.items()]
        for name, figures in made.items():
            all_[name].cosines += figures.cosines
            all_[name].seconds += figures.seconds
    heads = ("rule", "tool", "found", "cos with the rule", "misfit, ours against it", "size", "CPU s where found",
             "time, ours against it", "formula of the last seed")  # fmt: skip
    print(table(heads, rows))
    summary = [
        (name, f"{len(f.found)} of {len(f.cosines)}", spread(f.found, 2), f"{sum(f.seconds):.0f}")
        for name, f in all_.items()
    ]
    print(table(("tool", f"rule found (cos at least {FOUND})", "CPU s where found", "CPU s in all"), summary))
    if missing := [name for name, each in tools.items() if not each]:
        print(f"Not installed, so not measured: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
