"""Inputs that are nothing: what contributors are worth from images with a little noise to pure noise, and what would
change it.

First table, three seeds of data and network: Σ|c|/|Σc| at the predicted head, the same over max(|Σc|, s) with s the
head's standard deviation over the training rows, the share of the ten largest contributors of the predicted class,
the same among the training images of positive similarity ("alike"), and the share of the ten that argue by contrast:
unlike the query, and against the head.

Second table: a share λ of each head's kernel given to the head's own output, k + λ(g − b)(g' − b)/s². It lowers
cancellation and raises agreement everywhere, by making the contributors the same for every query: the last columns are
the share of the ten that two queries of one predicted class have in common, and how many training images are anybody's.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import gp
from benchmarks import gp_data as data
from benchmarks.peers import table
from interpret.probe import Probe

SHARES = (0.0, 0.1, 0.3, 0.5)
TEN = 10


def main(arguments: Namespace) -> None:
    levels: dict[str, list[dict[str, float]]] = {}
    shares: dict[str, list[dict[str, float]]] = {}
    for seed in range(3):
        split = data.digits(seed)
        net = data.train(data.CNN, split, seed=seed)
        d = gp.distill(Probe(net, ""), split.X)
        for name, X in inputs(split, seed).items():
            levels.setdefault(name, []).append(at_level(d, net, split, X))
        for share in SHARES:
            for name, figures in own_output(d, net, split, share).items():
                shares.setdefault(f"{name}, share {share:.0%}", []).append(figures)
    print("contributors from images to noise: means over three seeds\n")
    print(mean(levels, "inputs"))
    print("a share of the kernel given to the head's own output: means over three seeds\n")
    print(mean(shares, "inputs, share"))


def mean(rows: dict[str, list[dict[str, float]]], what: str) -> str:
    """A Markdown table of means over seeds; three digits are shown, counts as whole numbers."""
    columns = list(next(iter(rows.values()))[0])
    means = {
        name: [float(np.mean([figures[column] for figures in seeds])) for column in columns]
        for name, seeds in rows.items()
    }
    cells = [(name, *(f"{x:.0f}" if x > 10 else f"{x:.3f}" for x in row)) for name, row in means.items()]
    return table((what, *(column.replace("|", "\\|") for column in columns)), cells)


def inputs(split: data.Split, seed: int) -> dict[str, np.ndarray]:
    """From held-out images to uniform noise; pixels lie in [0, 1]."""
    X, draw = split.X_test, np.random.default_rng(seed)
    made = {"held-out images": X}
    for level in (0.1, 0.2, 0.3, 0.5, 1.0):
        made[f"with N(0, 1) times {level}"] = (X + level * draw.normal(size=X.shape)).astype(np.float32)
    made["half image, half uniform noise"] = (X + data.noise(X)) / 2
    made["pixels shuffled"] = data.shuffled(X)
    made["normal noise with each pixel's moments"] = (
        X.mean(0) + X.std(0) * draw.normal(size=X.shape)
    ).astype(np.float32)
    made["uniform noise"] = data.noise(X)
    return made


@dataclass(frozen=True)
class Shares:
    """Kernel and contributions (n, M) of queries at each row's predicted head."""

    kernel: np.ndarray
    share: np.ndarray
    head: np.ndarray

    def top(self, among: np.ndarray | None = None) -> np.ndarray:
        """(n, 10) largest |c|."""
        size = np.abs(self.share)
        return np.argsort(-(size if among is None else np.where(among, size, -1)), axis=1)[:, :TEN]

    def cancellation(self, least: np.ndarray | float = 0.0) -> float:
        """Median Σ|c| / max(|Σc|, least)."""
        return float(np.median(np.abs(self.share).sum(1) / np.maximum(np.abs(self.share.sum(1)), least)))


def at_level(d: gp.Distillation, net: nn.Module, split: data.Split, X: np.ndarray) -> dict[str, float]:
    """Figures of one kind of input."""
    found = shares_of(d, X, d.predict(X).mean.argmax(1))
    top, alike = found.top(), found.top(found.kernel > 0)
    contrast = np.take_along_axis((found.kernel < 0) & (found.share > 0), top, 1)
    return {
        "Σ|c|/|Σc|": found.cancellation(),
        "over max(|Σc|, s)": found.cancellation(d.targets.std(0)[found.head]),
        "ten largest of the predicted class": float((split.y[top] == found.head[:, None]).mean()),
        "the same among examples alike": float((split.y[alike] == found.head[:, None]).mean()),
        "by contrast": float(contrast.mean()),
    }


def own_output(
    d: gp.Distillation, net: nn.Module, split: data.Split, share: float
) -> dict[str, dict[str, float]]:
    """Figures of a kernel that gives ``share`` of itself to the head's own output."""
    rows = {}
    for name, X in {"held-out images": split.X_test, "uniform noise": data.noise(split.X_test)}.items():
        head = outputs(net, X).argmax(1)
        found = tilted(d, X, outputs(net, X), head, share)
        top = found.top()
        rows[name] = {
            "Σ|c|/|Σc|": found.cancellation(),
            "ten largest of the predicted class": float((split.y[top] == head[:, None]).mean()),
            "shared by two queries of one class": overlap(top, head),
            "images that are anybody's": float(len(np.unique(top))),
        }
    return rows


def tilted(d: gp.Distillation, X: np.ndarray, truth: np.ndarray, head: np.ndarray, share: float) -> Shares:
    """The same GP with (g − b)/s appended to the features of each head."""
    u, U = at(d, X), d.features
    kernel, made = np.empty((len(X), len(U))), np.empty((len(X), len(U)))
    for h in np.unique(head):
        v = d.targets[:, h] - d.baseline[h]
        E, e = (
            np.c_[(1 - share) ** 0.5 * z, share**0.5 * own / v.std()]
            for z, own in ((U, v), (u[head == h], truth[head == h, h] - d.baseline[h]))
        )
        w = np.linalg.solve(E.T @ E + d.noise * np.eye(E.shape[1]), E.T @ v)
        kernel[head == h] = e @ E.T
        made[head == h] = kernel[head == h] * (v - E @ w) / d.noise
    return Shares(kernel, made, head)


def shares_of(d: gp.Distillation, X: np.ndarray, head: np.ndarray) -> Shares:
    """What the distillation itself gives."""
    made = np.empty((len(X), d.examples))
    for h in np.unique(head):
        made[head == h] = d.contributions(X[head == h], head=int(h)).reshape(-1, d.examples)
    return Shares(at(d, X) @ d.features.T, made, head)


def at(d: gp.Distillation, X: np.ndarray) -> np.ndarray:
    """(n, D) u(x)."""
    h = torch.cat([b.features for b in d.run(X)], 1)
    turned: np.ndarray = (d.posterior.basis(h) @ d.posterior.basis.turn[:, None])[0, :, 0].numpy()
    return turned


def outputs(net: nn.Module, X: np.ndarray) -> np.ndarray:
    """(n, L) float64."""
    with torch.no_grad():
        return net(torch.from_numpy(X)).double().numpy()


def overlap(top: np.ndarray, head: np.ndarray) -> float:
    """Mean share of the ten that two queries of one predicted head have in common."""
    common = [
        len(set(a) & set(b)) / TEN
        for h in np.unique(head)
        for i, a in enumerate(top[head == h])
        for b in top[head == h][:i]
    ]
    return float(np.mean(common))
