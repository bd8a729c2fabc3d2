"""Is attribution worth anything? Three measurements on digits.

    python benchmarks/attribution.py [--parts datamodel suspects neighbors] [--retrainings 60] [--seeds 3]

datamodel   linear datamodeling score: networks are trained on random halves of the data, and the rank correlation of
            their margins at held-out points with the summed attributions of the examples each half holds is averaged.
            Ours beside the ``traker`` package with one checkpoint, and random attributions.
suspects    10 % of the labels flipped and memorised: AUC of finding them, beside the training loss and captum's
            TracInCP.
neighbors   class agreement of nearest neighbors against the same architecture with random weights.

``traker`` and ``captum`` are looked for when they are needed; without them their rows say so.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file lies one with the package's name

import gp
from benchmarks import gp_data as data
from benchmarks.peers import table
from gp.influence import influence

POINTS = 50


class MLP(nn.Sequential):
    """64 inputs, two hidden layers of 64, ten logits."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )


class Memorising(nn.Sequential):
    """A CNN wide enough to learn wrong labels by heart."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"datamodel": datamodel, "suspects": suspects, "neighbors": neighbors}
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--retrainings", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="more are quicker, and change the last digits")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for part in arguments.parts:
        print(f"\n{part}")
        parts[part](arguments)


def optional(name: str) -> Any:
    """A package that only this benchmark compares with, or None with a sentence on how to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        print(f"  {name} is not installed ({error}); pip install 'twinscope[bench]' prints its row too")
        return None


# -- linear datamodeling score ---------------------------------------------------------------------------------------


def datamodel(arguments: argparse.Namespace) -> None:
    split = data.digits(0)
    train, labels = torch.from_numpy(split.X), torch.from_numpy(split.y)
    points, truth = torch.from_numpy(split.X_test[:POINTS]), torch.from_numpy(split.y_test[:POINTS])
    start = time.perf_counter()
    halves, margins = retrained(train, labels, points, truth, arguments.retrainings)
    net = fitted_mlp(train, labels, seed=0)
    print(f"  {arguments.retrainings} retrainings on halves, {time.perf_counter() - start:.0f} s")
    found = {}
    for name, scores, seconds in attributions(net, train, labels, points, truth):
        each = np.array([spearmanr(halves @ s, m).statistic for s, m in zip(scores, margins.T, strict=True)])
        each = np.nan_to_num(each)
        found[name] = float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))
        print(f"  {name:44s} {found[name][0]:7.4f} ± {found[name][1]:.4f}   {seconds:6.1f} s", flush=True)
    print("\n" + table(("attribution", "score", "standard error"), scored(found)))
    theirs = [figures for name, figures in found.items() if name.startswith("traker")]
    if theirs:
        score, error = max(theirs)
        held = found["tangent kernel, influence"][0] >= score - error
        print(f"{'holds' if held else 'FAILS'}  tangent kernel >= traker - one standard error")


def scored(found: dict[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
    """(attribution, score, standard error), the best first; of the ridges only the best, which says so."""
    ridges = {name: figures for name, figures in found.items() if "ridge" in name}
    shown = {name: figures for name, figures in found.items() if name not in ridges}
    if ridges:
        best = max(ridges, key=lambda name: ridges[name])
        shown[f"{best}: the best of {len(ridges)} on these very points"] = ridges[best]
    ordered = sorted(shown.items(), key=lambda item: -item[1][0])
    return [(name, f"{score:.2f}", f"{error:.2f}") for name, (score, error) in ordered]


def fitted_mlp(X: torch.Tensor, y: torch.Tensor, seed: int, epochs: int = 30) -> nn.Module:
    """SGD with momentum and a one-cycle rate, so that two runs differ by little more than their data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MLP()
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(X) // 64)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(X), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(X[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-odds of the label."""
    rows = torch.arange(len(labels))
    others = logits.clone()
    others[rows, labels] = -torch.inf
    return logits[rows, labels] - others.logsumexp(1)


def retrained(
    X: torch.Tensor, y: torch.Tensor, points: torch.Tensor, truth: torch.Tensor, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(count, M) which half each network saw, and (count, points) its margins."""
    generator = torch.Generator().manual_seed(1)
    halves, margins = np.zeros((count, len(X))), []
    for number in range(count):
        rows = torch.randperm(len(X), generator=generator)[: len(X) // 2]
        halves[number, rows] = 1
        net = fitted_mlp(X[rows], y[rows], seed=100 + number)
        with torch.no_grad():
            margins.append(margin(net(points), truth).numpy())
    return halves, np.stack(margins)


def attributions(
    net: nn.Module, X: torch.Tensor, y: torch.Tensor, points: torch.Tensor, truth: torch.Tensor
) -> Iterator[tuple[str, np.ndarray, float]]:
    """(name, scores (points, M), seconds) of every method."""
    with torch.no_grad():
        residuals = (nn.functional.one_hot(y, 10) - net(X).softmax(1)).double().numpy()
    for kernel in ("tangent", "activation", "learned"):
        start = time.perf_counter()
        d = gp.distill(net, X, kernel=kernel)
        made = time.perf_counter() - start
        for name, asked in (
            ("influence", lambda d, x, head: influence(d, x, residuals, head)),
            ("contributions", lambda d, x, head: np.atleast_2d(d.contributions(x, head=head))),
        ):
            start = time.perf_counter()
            scores = by_label(lambda x, head, d=d, asked=asked: asked(d, x, head), points, truth, len(X))
            yield f"{kernel} kernel, {name}", scores, made + time.perf_counter() - start
    yield "random", np.random.default_rng(0).normal(size=(len(points), len(X))), 0.0
    if optional("trak") is not None:
        for dimension in (2048, 512, 256):
            start = time.perf_counter()
            scores = traker(net, X, y, points, truth, dimension, 0.0)
            yield f"traker, {dimension} projections", scores, time.perf_counter() - start
        for ridge in 10.0 ** np.arange(
            -3, 4
        ):  # its default is none; so that nothing is missed, all are printed
            start = time.perf_counter()
            scores = traker(net, X, y, points, truth, 512, float(ridge))
            yield f"traker, 512 projections, ridge {ridge:g}", scores, time.perf_counter() - start


def by_label(asked: Any, points: torch.Tensor, truth: torch.Tensor, count: int) -> np.ndarray:
    """Scores of each point at the head of its label."""
    scores = np.zeros((len(points), count))
    for head in truth.unique().tolist():
        rows = (truth == head).nonzero()[:, 0]
        scores[rows.numpy()] = asked(points[rows], head)
    return scores


def traker(
    net: nn.Module,
    X: torch.Tensor,
    y: torch.Tensor,
    points: torch.Tensor,
    truth: torch.Tensor,
    dimension: int,
    ridge: float,
) -> np.ndarray:
    """TRAK scores (points, M) from one checkpoint, with the package's own projector for the CPU."""
    trak, projectors = import_module("trak"), import_module("trak.projectors")
    size = sum(p.numel() for p in net.parameters())
    projector = projectors.BasicProjector(
        grad_dim=size,
        proj_dim=dimension,
        seed=0,
        proj_type=projectors.ProjectionType.rademacher,
        device="cpu",
        block_size=dimension // 2,  # more than one block: the projection is made anew after it was freed
    )
    with tempfile.TemporaryDirectory() as folder:
        tracer = trak.TRAKer(
            model=net,
            task="image_classification",
            train_set_size=len(X),
            save_dir=folder,
            device="cpu",
            projector=projector,
            proj_dim=dimension,
            use_half_precision=False,
            lambda_reg=ridge,
            logging_level=logging.ERROR,
        )
        tracer.load_checkpoint(net.state_dict(), model_id=0)
        for rows in torch.arange(len(X)).split(256):
            tracer.featurize((X[rows], y[rows]), inds=rows.numpy())
        tracer.finalize_features()
        tracer.start_scoring_checkpoint("points", net.state_dict(), 0, num_targets=len(points))
        tracer.score((points, truth), num_samples=len(points))
        return np.array(tracer.finalize_scores("points")).T


# -- flipped labels --------------------------------------------------------------------------------------------------


def suspects(arguments: argparse.Namespace) -> None:
    rows = []
    for seed in range(arguments.seeds):
        split = data.digits(seed)
        generator = np.random.default_rng(seed)
        flipped = generator.choice(len(split.y), len(split.y) // 10, replace=False)
        labels = split.y.copy()
        labels[flipped] = (labels[flipped] + generator.integers(1, 10, len(flipped))) % 10
        wrong = np.zeros(len(labels), bool)
        wrong[flipped] = True
        with tempfile.TemporaryDirectory() as folder:
            net, kept = memorised(split.X, labels, seed, Path(folder))
            found = gp.distill(net, split.X, seed=seed).suspects(labels)
            row: dict[str, float] = {
                "labels memorised": float((predicted(net, split.X) == labels).mean()),
            }
            row["AUC of suspects"] = roc_auc_score(wrong[found["index"]], found["score"])
            suggested = found["suggested"].to_numpy()[wrong[found["index"]]]
            row["right class suggested"] = (
                suggested == split.y[found["index"]][wrong[found["index"]]]
            ).mean()
            row["AUC of the training loss"] = roc_auc_score(wrong, losses(net, split.X, labels))
            influence_of_itself = tracin(net, split.X, labels, kept)
            if influence_of_itself is not None:
                row["AUC of TracInCP, five checkpoints"] = roc_auc_score(wrong, influence_of_itself)
        rows.append(row)
        print(f"  seed {seed}  " + "  ".join(f"{k} {v:.4f}" for k, v in row.items()), flush=True)
    figures = [(name, *(f"{end([row[name] for row in rows]):.4f}" for end in (min, max))) for name in rows[0]]
    print("\n" + table((f"over {len(rows)} seeds", "least", "most"), figures))
    worst = min(row["AUC of suspects"] for row in rows)
    print(
        f"{'holds' if worst >= 0.998 else 'FAILS'}  suspects find flipped labels with AUC >= 0.998 (worst {worst:.4f})"
    )


def memorised(X: np.ndarray, y: np.ndarray, seed: int, folder: Path) -> tuple[nn.Module, list[str]]:
    """A CNN after 100 epochs, and five checkpoints on the way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Memorising()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    kept = []
    for epoch in range(1, 101):
        for rows in torch.randperm(len(X), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        if epoch % 20 == 0:
            kept.append(str(folder / f"{epoch}.pt"))
            torch.save(net.state_dict(), kept[-1])
    return net.eval(), kept


@torch.no_grad()
def predicted(net: nn.Module, X: np.ndarray) -> np.ndarray:
    return net(torch.from_numpy(X)).argmax(1).numpy()


@torch.no_grad()
def losses(net: nn.Module, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    return nn.functional.cross_entropy(
        net(torch.from_numpy(X)), torch.from_numpy(y), reduction="none"
    ).numpy()


def tracin(net: nn.Module, X: np.ndarray, y: np.ndarray, kept: list[str]) -> np.ndarray | None:
    """Self-influence over the checkpoints by captum's TracInCP; None without captum."""
    if optional("captum") is None:
        return None
    influence_module = import_module("captum.influence")

    def load(model: nn.Module, path: str) -> float:
        model.load_state_dict(torch.load(path, weights_only=True))
        return 1e-3

    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    final = {name: value.clone() for name, value in net.state_dict().items()}
    tracer = influence_module.TracInCP(
        net,
        rows,
        kept,
        load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=128,
        sample_wise_grads_per_batch=True,
    )
    scores = tracer.self_influence(None)
    net.load_state_dict(final)
    return scores.detach().numpy()


# -- neighbors -------------------------------------------------------------------------------------------------------


def neighbors(arguments: argparse.Namespace) -> None:
    split = data.digits(0)
    found = {}
    for name, net in (("trained", data.train(data.CNN, split)), ("random weights", data.untrained(data.CNN))):
        index = gp.distill(net, split.X).neighbors(split.X_test, k=10).index
        found[name] = index
        agreement = (split.y[index] == split.y_test[:, None]).mean()
        print(
            f"  {name:16s} class agreement {agreement:.4f}   distinct training rows among them {len(np.unique(index))}"
        )
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(*found.values(), strict=True)]
    print(f"  neighbors in common {np.mean(shared):.4f}")
    trained, control = ((split.y[i] == split.y_test[:, None]).mean() for i in found.values())
    print(f"{'holds' if trained >= 0.95 else 'FAILS'}  class agreement >= 0.95")
    print(f"{'holds' if trained >= control + 0.02 else 'FAILS'}  at least 2 points above random weights")


if __name__ == "__main__":
    main()
