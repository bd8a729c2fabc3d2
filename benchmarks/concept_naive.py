"""The naive baseline: symbolic regression of the logit itself, by gplearn and pyoperon where they are installed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import concept_tasks as tasks
import numpy as np

POINTS, STEP = 1_000, 1e-5


def gplearn(seed: int) -> Any:
    from gplearn.genetic import SymbolicRegressor

    return SymbolicRegressor(
        population_size=500,
        generations=20,
        function_set=("add", "sub", "mul", "div", "sin", "sqrt", "log"),
        random_state=seed,
        parsimony_coefficient=0.01,
    )


def operon(seed: int) -> Any:
    from pyoperon.sklearn import SymbolicRegressor

    return SymbolicRegressor(
        allowed_symbols="add,sub,mul,div,sin,exp,log,sqrt,constant,variable",
        population_size=500,
        generations=200,
        max_length=30,
        optimizer_iterations=5,
        max_evaluations=300_000,
        random_state=seed,
    )


REGRESSORS: dict[str, Callable[[int], Any]] = {"gplearn": gplearn, "pyoperon": operon}


def words(found: Any) -> str:
    """The regressor's formula as it prints it."""
    if hasattr(found, "_program"):
        return str(found._program)
    return str(found.get_model_string(found.model_, 3))


def gradient(found: Any, points: np.ndarray) -> np.ndarray:
    """The regressor's gradient (N, d) by central differences, in float64."""
    sides = [
        (found.predict(points + STEP * unit) - found.predict(points - STEP * unit)) / (2 * STEP)
        for unit in np.eye(points.shape[1])
    ]
    return np.column_stack(sides)


def run(seeds: int, only: set[str]) -> None:
    """A row for each task and regressor: |mean cos| with the label rule near the boundary, CPU seconds, formula."""
    print("naive baseline (the logit regressed): task seed  regressor  |mean cos| with the label rule  cpu s")
    for name, task in tasks.TASKS.items():
        if task.agree is not None or (only and name not in only):
            continue
        for seed in range(min(seeds, 1)):
            x = task.sample(POINTS, np.random.default_rng(seed))
            logit, _ = tasks.network_gradient(tasks.trained(task, seed), x)
            points = tasks.near_boundary(task, seed)
            for label, make in REGRESSORS.items():
                one(f"{name:4} {seed:4}  {label:9}", make, seed, (x, logit), points, task)


def one(
    title: str, make: Callable[[int], Any], seed: int, data: tuple[np.ndarray, np.ndarray], points: np.ndarray,
    task: tasks.Task,
) -> None:  # fmt: skip
    """Fit one regressor and print its row."""
    start = time.process_time()
    try:
        found = make(seed)
    except ImportError:
        print(f"{title}  is not installed")
        return
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found.fit(*data)
        slopes = gradient(found, points)
    usable = np.linalg.norm(slopes, axis=1) > 0
    cos = tasks.cosine(slopes[usable], task.gradient(points[usable])) if usable.any() else 0.0
    print(f"{title}  {cos:8.5f}  {time.process_time() - start:6.1f}  {words(found)[:80]}", flush=True)
