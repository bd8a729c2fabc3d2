"""Who finds the rule that a classifier learned? Our engine and symbolic-regression tools on the same networks.

    python benchmarks/peer_formulas.py [--tasks A1,B,C,D,E] [--seeds 3] [--evaluations 320000] [--generations 20]

Each tool gets the same 1,000 points of each network. Ours sees gradients and values and stops by itself; gplearn and
pyoperon know nothing of gradients and fit the logit; PySR, where it is installed, gets the gradient loss. A tool that
searches for as long as it is told is looked at often, and is charged for the shortest search that finds the rule, as if
its length had been known. pyoperon and PySR search anew with twice as much each time, pyoperon from 2,500 evaluations,
PySR from 1 second. gplearn goes on from generation to generation of 1,000 formulas, which gives what one longer search
gives; the last is its default, 20.

The rule is found where |mean cos| between the formula's gradient and the rule's is at least 0.99, at fresh points near
the decision boundary; 1 is perfect, and the form may differ. A formula is the same concept where its gradient is
parallel to the rule's over the whole domain: the sine of the angle is at most 0.05 at each of 500 fresh points. Size
counts a formula's nodes, as its tool does. CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import os
import re
import warnings

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import concept_tasks as tasks
import numpy as np
import torch
from peers import beside, cpu, optional, shortened, spread, table

import symbolic
from interpret.probe import Probe
from symbolic.equivalence import same_direction
from symbolic.expression import complexity, value_and_gradient

Array = np.ndarray


class Found(NamedTuple):
    """A formula: its gradient, its text, its size, and the CPU seconds of the search that gave it."""

    gradient: Callable[[Array], Array]
    text: str
    size: int
    seconds: float


#: What a tool finds in one network with the points and the seed, by searches of growing length.
Tool = Callable[[torch.nn.Module, Array, int], Iterator[Found]]
#: What counts as the rule found.
FOUND = 0.99
#: Largest sine of the angle to the rule's gradient where a formula is the same concept.
PARALLEL = 0.05
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


def engine(name: str, model: torch.nn.Module, X: Array, seed: int, limit: float | None = None) -> Found:
    def search() -> symbolic.Formula:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            probe = Probe(model, "")
            return symbolic.fit(probe, X.astype(np.float32), engine=name, seed=seed, time_limit=limit)

    formula, seconds = cpu(search)

    def gradient(points: Array) -> Array:
        with np.errstate(all="ignore"):
            return value_and_gradient(formula.tree, points)[1]

    return Found(gradient, f"{formula.verdict}: {formula.text()}", complexity(formula.tree), seconds)


def ours(model: torch.nn.Module, X: Array, seed: int) -> Iterator[Found]:
    yield engine("eigen", model, X, seed)


def pysr(model: torch.nn.Module, X: Array, seed: int, most: float) -> Iterator[Found]:
    for seconds in doubled(1, most):
        yield engine("pysr", model, X, seed, seconds)


def gplearn(model: torch.nn.Module, X: Array, seed: int, most: int) -> Iterator[Found]:
    from gplearn.functions import make_function
    from gplearn.genetic import SymbolicRegressor

    exp = make_function(function=lambda a: np.exp(np.clip(a, -50, 50)), name="exp", arity=1)
    made = SymbolicRegressor(
        population_size=1000, random_state=seed, parsimony_coefficient=0.005, warm_start=True,
        function_set=("add", "sub", "mul", "div", "sin", "sqrt", "log", exp),
    )  # fmt: skip
    logit, spent = tasks.network_gradient(model, X)[0], 0.0

    def gradient(points: Array) -> Array:
        return numeric(made.predict, points)

    for generations in range(1, most + 1):
        made.set_params(generations=generations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spent += cpu(lambda: made.fit(X, logit))[1]
        text = re.sub(r"\bX(\d+)\b", r"x\1", str(made._program))
        yield Found(gradient, text, made._program.length_, spent)


def pyoperon(model: torch.nn.Module, X: Array, seed: int, most: int) -> Iterator[Found]:
    from pyoperon.sklearn import SymbolicRegressor

    logit = tasks.network_gradient(model, X)[0]
    for evaluations in doubled(2_500, most):
        made = SymbolicRegressor(
            allowed_symbols="add,sub,mul,div,sin,sqrt,log,exp,square,constant,variable", n_threads=1,
            random_state=seed, max_length=30, optimizer_iterations=10, generations=100_000,
            max_evaluations=int(evaluations), population_size=1000, pool_size=1000,
        )  # fmt: skip

        def gradient(points: Array, made: SymbolicRegressor = made) -> Array:
            return numeric(lambda x: np.asarray(made.predict(x)), points)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds = cpu(lambda made=made: made.fit(X, logit))[1]
            text = made.get_model_string(made.model_, precision=3)
        text = re.sub(r"\bX(\d+)\b", lambda name: f"x{int(name[1]) - 1}", text)  # it counts from 1
        yield Found(gradient, text, made.model_.Length, seconds)


def doubled(first: float, most: float) -> Iterator[float]:
    """``first``, twice that, and so on up to ``most``, which ends the series."""
    while first < most:
        yield first
        first *= 2
    yield most


def contenders(asked: argparse.Namespace) -> dict[str, Tool | None]:
    """Every tool by name; None where it is not installed."""
    made: dict[str, tuple[str, Tool]] = {
        "twinscope": ("symbolic", ours),
        "PySR, gradient loss": ("pysr", lambda *a: pysr(*a, asked.seconds)),
        "gplearn": ("gplearn", lambda *a: gplearn(*a, asked.generations)),
        "pyoperon": ("pyoperon", lambda *a: pyoperon(*a, asked.evaluations)),
    }
    return {name: tool if optional(module) else None for name, (module, tool) in made.items()}


near_boundary = cache(tasks.near_boundary)


def judged(task: tasks.Task, seed: int, gradient: Callable[[Array], Array]) -> float:
    """|mean cos| with the label rule near the boundary, over points where the formula has a direction."""
    points = near_boundary(task, seed)
    made = gradient(points)
    usable = np.isfinite(made).all(1) & (np.linalg.norm(made, axis=1) > 0)
    return tasks.cosine(made[usable], task.gradient(points[usable])) if usable.mean() > 0.5 else 0.0


def same(task: tasks.Task, seed: int, gradient: Callable[[Array], Array]) -> bool:
    """Whether the formula is the rule's concept over the whole domain, up to a monotone map and small constants."""
    points = task.sample(500, np.random.default_rng([seed, 79, *task.name.encode()]))
    return same_direction(gradient(points), task.gradient(points), PARALLEL)


@dataclass
class Figures:
    """What a tool reached on the networks of one rule: cosines, CPU seconds, sizes, and the last formula."""

    cosines: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)
    text: str = ""

    def take(self, tool: Tool, task: tasks.Task, model: torch.nn.Module, X: Array, seed: int) -> None:
        """One network: longer and longer searches until the rule is found."""
        for found in tool(model, X, seed):
            cosine = judged(task, seed, found.gradient)
            if cosine >= FOUND:
                break
        self.cosines.append(cosine)
        self.same.append(same(task, seed, found.gradient))
        self.seconds.append(found.seconds)
        self.sizes.append(found.size)
        self.text = found.text

    def join(self, other: Figures) -> None:
        """Those of another rule too."""
        self.cosines += other.cosines
        self.same += other.same
        self.seconds += other.seconds

    @property
    def found(self) -> list[float]:
        """Seconds of the networks on which the rule was found."""
        return [s for s, c in zip(self.seconds, self.cosines, strict=True) if c >= FOUND]

    @property
    def counts(self) -> tuple[str, str]:
        """On how many networks the rule was found, and on how many the formula is the same concept."""
        return f"{len(self.found)} of {len(self.cosines)}", f"{sum(self.same)} of {len(self.same)}"


def row(task: tasks.Task, name: str, made: Figures, ours: Figures) -> tuple[object, ...]:
    """A line of the table."""
    sooner = "" if name == "twinscope" else beside(ours.found, made.found)
    return (
        task.text, name, *made.counts, spread(made.cosines, 5), spread(made.sizes), spread(made.found, 2), sooner,
        f"`{shortened(made.text, 60)}`",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="A1,B,C,D,E")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=320_000, help="of pyoperon's longest search")
    parser.add_argument("--generations", type=int, default=GENERATIONS, help="of gplearn's longest search")
    parser.add_argument("--seconds", type=float, default=16, help="of PySR's longest search")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tools = contenders(asked)
    present = {name: tool for name, tool in tools.items() if tool}
    rows: list[tuple[object, ...]] = []
    all_: dict[str, Figures] = {name: Figures() for name in present}
    for task in (tasks.TASKS[name] for name in asked.tasks.split(",")):
        made = {name: Figures() for name in present}
        for seed in range(asked.seeds):
            model = tasks.trained(task, seed)
            X = task.sample(1_000, np.random.default_rng([seed, 5]))
            for name, tool in present.items():
                made[name].take(tool, task, model, X, seed)
        rows += [row(task, name, figures, made["twinscope"]) for name, figures in made.items()]
        for name, figures in made.items():
            all_[name].join(figures)
    heads = ("rule", "tool", "found", "same concept", "cos with the rule", "size", "CPU s where found",
             "time, ours against it", "formula of the last seed")  # fmt: skip
    print(table(heads, rows))
    summary = [(name, *figures.counts, spread(figures.found, 2)) for name, figures in all_.items()]
    heads = ("tool", f"found (cos at least {FOUND})", "same concept", "CPU s where found")
    print(table(heads, summary))
    if missing := [name for name, tool in tools.items() if not tool]:
        print(f"Not installed, so not measured: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
