"""Fidelity of each GP to each network, on four kinds of input, with what its contributions are worth."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import gp
from benchmarks import gp_data as data
from benchmarks import gp_rivals as rivals
from benchmarks.gp_measure import measured
from interpret.probe import Probe


@dataclass(frozen=True)
class Task:
    """A probe, its split, and the inputs on which fidelity is asked for."""

    probe: Probe
    split: data.Split
    inputs: dict[str, np.ndarray]
    classes: bool


@dataclass(frozen=True)
class Method:
    """A fitted GP: predictions (n, L), and contributions (n, L, M) with the baseline taken off, if it has them."""

    mean: Callable[[np.ndarray], np.ndarray]
    contributions: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
    rows: np.ndarray


def inputs(net: nn.Module, split: data.Split) -> dict[str, np.ndarray]:
    """Held-out rows, mixtures, noise, FGSM."""
    X, y = split.X_test, split.y_test
    return {"test": X, "mixtures": data.mixtures(X), "noise": data.noise(X), "fgsm": data.fgsm(net, X, y)}


def digits(arguments: Namespace) -> None:
    split = data.digits()
    net = data.train(data.CNN, split)
    task = Task(Probe(net, ""), split, inputs(net, split), True)
    run(task, arguments)


def attention(arguments: Namespace) -> None:
    split = data.digits()
    net = data.train(data.Attended, split, epochs=40)
    run(Task(Probe(net, "attention"), split, inputs(net, split), False), arguments)


def regression(arguments: Namespace) -> None:
    split = data.diabetes()
    net = data.train(data.Regression, split, epochs=40)
    run(Task(Probe(net, ""), split, inputs(net, split), False), arguments)


def run(task: Task, arguments: Namespace) -> None:
    """Fit every method once and print a row for each kind of input."""
    truth = {name: flat(task.probe.values(X).numpy()) for name, X in task.inputs.items()}
    spread = flat(task.probe.values(task.split.X).numpy()).std(0)
    rows = []
    for name, fit in methods(task, arguments).items():
        fitted = measured(fit)
        for kind, X in task.inputs.items():
            figures = judged(task, fitted.value, X, truth[kind], spread)
            first = kind == "test"
            rows.append(
                {
                    "method": name,
                    "inputs": kind,
                    **figures,
                    "seconds": fitted.seconds if first else np.nan,
                    "cpu s": fitted.processor if first else np.nan,
                    "MB": fitted.megabytes if first else np.nan,
                }
            )
        print(
            pd.DataFrame(rows[-len(task.inputs) :]).to_string(index=False, na_rep="", float_format="%.6g"),
            flush=True,
        )


def methods(task: Task, arguments: Namespace) -> dict[str, Callable[[], Method]]:
    """Everything that is compared, by name."""
    made: dict[str, Callable[[], Method]] = {
        f"ours, {kernel}": (lambda kernel=kernel: ours(task, kernel))
        for kernel in ("activation", "learned", "tangent")
    }
    made["GPyTorch exact, linear"] = lambda: rival(task, lambda U, V: rivals.exact(U, V, "linear"))
    made["GPyTorch exact, RBF"] = lambda: rival(task, lambda U, V: rivals.exact(U, V, "rbf"))
    made["GPyTorch SVGP, 512"] = lambda: rival(task, rivals.sparse)
    if arguments.gpex is not None:
        from benchmarks.gp_gpex import gpex

        made["GPEX"] = lambda: gpex(task, arguments.gpex, arguments.gpex_steps)
    return {name: fit for name, fit in made.items() if arguments.methods in name}


def ours(task: Task, kernel: str) -> Method:
    """One of our kernels."""
    d = gp.distill(task.probe, task.split.X, kernel=kernel)

    def contributions(X: np.ndarray, head: np.ndarray) -> np.ndarray:
        made = np.empty((len(X), d.examples))
        for h in np.unique(head):
            made[head == h] = d.contributions(X[head == h], head=int(h)).reshape(-1, d.examples)
        return made

    return Method(lambda X: flat(d.predict(X).mean), contributions, d.row_ids)


def rival(task: Task, fit: Callable[[torch.Tensor, torch.Tensor], rivals.Rival]) -> Method:
    """A GPyTorch model on the features that our activation kernel sees; attention scores row by row of positions."""
    from gp.activation import build
    from gp.kernels import Options

    made = build(task.probe, task.split.X, Options())

    def features(X: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
        blocks = list(made.blocks(X))
        h = torch.cat([b.features[0] for b in blocks])
        return h.flatten(0, 1), torch.cat([b.targets for b in blocks]).flatten(0, 1), h.shape[1]

    U, V, places = features(task.split.X)
    model = fit(U, V)

    def mean(X: np.ndarray) -> np.ndarray:
        Q, _, _ = features(X)
        latent = model.mean(Q).reshape(len(X), places, -1)[:, made.heads.place, made.heads.channel]
        return flat(made.tail(X, latent.reshape(len(X), *made.heads.shape)).numpy())

    def contributions(X: np.ndarray, head: np.ndarray) -> np.ndarray:
        K = model.kernel(features(X)[0])
        h = torch.from_numpy(head)
        return (K[h, torch.arange(len(X))] * model.alpha[h]).numpy()

    explains = model.alpha is not None and places == 1
    return Method(mean, contributions if explains else None, model.rows.numpy())


def judged(
    task: Task, method: Method, X: np.ndarray, truth: np.ndarray, spread: np.ndarray
) -> dict[str, float]:
    """Figures of one method on one kind of input; ``spread`` (L,) is each head's over the training rows."""
    made = method.mean(X)
    live = truth.std(0) > 1e-4
    pearson = [np.corrcoef(a, b)[0, 1] for a, b in zip(made.T[live], truth.T[live], strict=True)]
    r2 = 1 - ((made - truth) ** 2).sum(0)[live] / ((truth - truth.mean(0)) ** 2).sum(0)[live]
    figures: dict[str, Any] = {"pearson": min(pearson), "mean pearson": np.mean(pearson), "r2": r2.min()}
    figures |= {"argmax": np.nan, "cancellation": np.nan, "over s": np.nan, "contributors": np.nan}
    if truth.shape[1] > 1:
        figures["argmax"] = (made.argmax(1) == truth.argmax(1)).mean()
    if method.contributions is not None and (task.classes or truth.shape[1] == 1):
        head = made.argmax(1)
        c = method.contributions(X, head)
        size, total = np.abs(c).sum(1), np.abs(c.sum(1))
        figures["cancellation"] = np.median(size / total)
        figures["over s"] = np.median(size / np.maximum(total, spread[head]))
        if task.classes:
            top = np.argsort(-np.abs(c), axis=1)[:, :10]
            figures["contributors"] = (task.split.y[method.rows[top]] == head[:, None]).mean()
    return figures


def flat(values: np.ndarray) -> np.ndarray:
    """(n, L) float64."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)
