"""captum and shap beside the probe and the neighbors: the same numbers, how long they take, what they find.

    python benchmarks/peer_captum.py [--seeds 3] [--rounds 5] [--units 128] [--epochs 30]

gradients    every unit of a layer of 128: captum's NeuronGradient asks unit by unit, the probe for all at once
neighbors    ten nearest training images in the last layer's features: captum's SimilarityInfluence against
             gp.distill with neighbors; the share of neighbors of the predicted class
labels       a tenth of the labels changed and learned by heart: AUC of finding them and the seconds it takes,
             TracInCP's self influence over three checkpoints against suspects
attribution  expected gradients of one output: shap's GradientExplainer against the probe's gradients at as many points
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file lies one with the package's name

import gp
from benchmarks import gp_data as data
from benchmarks.peers import beside, cpu, optional, spread, table, turns
from interpret.probe import Probe

COLUMNS = ("question", "tool", "seconds", "what it gives", "ours against it")
Row = tuple[str, str, str, str, str]


def gradients(seed: int, rounds: int, units: int) -> list[Row]:
    """Input gradients of a layer, (1000, units, 30)."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(30, 128), nn.SiLU(), nn.Linear(128, units), nn.SiLU(), nn.Linear(units, 3)
    ).eval()
    X = torch.randn(1000, 30)
    from captum.attr import NeuronGradient

    probe, asked = Probe(model, "2[:]"), NeuronGradient(model, model[2])

    def captum() -> torch.Tensor:
        return torch.stack([asked.attribute(X.clone().requires_grad_(), unit) for unit in range(units)], 1)

    error = float((probe.gradients(X) - captum()).abs().max())
    seconds = turns({"ours": lambda: probe.gradients(X), "captum": captum}, rounds)
    word = beside(seconds["ours"], seconds["captum"])
    question = f"gradients of {units} units at 1,000 points"
    differs = f"differs by {error:.0e} at most" if error else "the same numbers"
    return [
        (question, "twinscope, Probe", spread(seconds["ours"], 2), differs, ""),
        (question, "captum, NeuronGradient", spread(seconds["captum"], 2), "", word),
    ]


class Images(Dataset):
    """Images (M, 1, 8, 8) without labels, as captum asks for them."""

    def __init__(self, X: np.ndarray) -> None:
        self.X = torch.from_numpy(X)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.X[index]


def neighbors(seeds: int, epochs: int) -> list[Row]:
    """Nearest training images by the features of the last layer."""
    from captum.influence import SimilarityInfluence
    from captum.influence._core.similarity_influence import cosine_similarity

    def alike(queries: torch.Tensor | list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Captum hands a single layer's activations over in a list, which its own metric does not take."""
        return cosine_similarity(queries[0] if isinstance(queries, list) else queries, images)

    figures: dict[str, tuple[list[float], list[float]]] = {"ours": ([], []), "captum": ([], [])}
    for seed in range(seeds):
        split = data.digits(seed)
        net = data.train(data.CNN, split, epochs, seed)
        queries = split.X_test[:100]
        predicted = net(torch.from_numpy(queries)).argmax(1).numpy()

        def ours(
            net: nn.Module = net, split: data.Split = split, queries: np.ndarray = queries
        ) -> np.ndarray:
            return gp.distill(net, split.X).neighbors(queries, k=10).index

        def captum(
            net: nn.Module = net, split: data.Split = split, queries: np.ndarray = queries
        ) -> np.ndarray:
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tool = SimilarityInfluence(
                    net, ["fc1"], Images(split.X), folder, "digits", similarity_metric=alike,
                    similarity_direction="max", batch_size=256,
                )  # fmt: skip
                return tool.influence(torch.from_numpy(queries), top_k=10)["fc1"][0].numpy()

        for name, call in (("ours", ours), ("captum", captum)):
            index, seconds = cpu(call)
            figures[name][0].append(seconds)
            figures[name][1].append(float((split.y[index] == predicted[:, None]).mean()))
    word = beside(figures["ours"][0], figures["captum"][0])
    question = "ten nearest of 1,437 images, 100 queries"
    return [
        (question, tool, spread(figures[key][0], 2), f"of the predicted class {spread(figures[key][1])}", said)
        for key, tool, said in (
            ("ours", "twinscope, distill and neighbors", ""), ("captum", "captum, SimilarityInfluence", word),
        )
    ]  # fmt: skip


def labels(seeds: int) -> list[Row]:
    """Changed labels: who ranks them first?"""
    from captum.influence import TracInCP

    figures: dict[str, tuple[list[float], list[float]]] = {
        "suspects": ([], []),
        "tracin": ([], []),
        "loss": ([], []),
    }
    for seed in range(seeds):
        split = data.digits(seed)
        rng = np.random.default_rng(seed)
        wrong = rng.random(len(split.y)) < 0.1
        given = np.where(wrong, (split.y + rng.integers(1, 10, len(wrong))) % 10, split.y)
        with tempfile.TemporaryDirectory() as folder:
            net, checkpoints = memorised(split.X, given, seed, Path(folder))
            X, y = torch.from_numpy(split.X), torch.from_numpy(given)
            frame, seconds = cpu(lambda net=net, X=split.X, y=given: gp.distill(net, X).suspects(y))
            score = np.empty(len(wrong))
            score[frame["index"]] = frame["score"]
            keep(figures["suspects"], seconds, roc_auc_score(wrong, score))
            loss, seconds = cpu(
                lambda net=net, X=X, y=y: (
                    nn.functional.cross_entropy(net(X), y, reduction="none").detach().numpy()
                )
            )
            keep(figures["loss"], seconds, roc_auc_score(wrong, loss))
            tool = TracInCP(
                net, TensorDataset(X, y), checkpoints, loss_fn=nn.CrossEntropyLoss(reduction="sum"), batch_size=128,
                sample_wise_grads_per_batch=True,
            )  # fmt: skip
            found, seconds = cpu(
                lambda tool=tool, X=X, y=y: tool.self_influence(
                    DataLoader(TensorDataset(X, y), batch_size=128)
                )
            )
            keep(figures["tracin"], seconds, roc_auc_score(wrong, found.detach().numpy()))
    ours_seconds, ours = figures["suspects"]
    rows = []
    for key, tool in (
        ("suspects", "twinscope, suspects"),
        ("tracin", "captum, TracInCP"),
        ("loss", "the training loss"),
    ):
        seconds, areas = figures[key]
        missed = beside([1 - area for area in ours], [1 - area for area in areas])
        said = "" if key == "suspects" else f"1 − AUC: {missed}; time: {beside(ours_seconds, seconds)}"
        rows.append(("finding changed labels", tool, spread(seconds, 2), f"AUC {spread(areas, 4)}", said))
    return rows


def keep(figures: tuple[list[float], list[float]], seconds: float, value: float) -> None:
    figures[0].append(seconds)
    figures[1].append(float(value))


def memorised(X: np.ndarray, y: np.ndarray, seed: int, folder: Path) -> tuple[nn.Module, list[str]]:
    """An MLP that knows the labels by heart, and three checkpoints of its training."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    generator, kept = torch.Generator().manual_seed(seed), []
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    for epoch in range(60):
        for rows in torch.randperm(len(X), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), targets[rows]).backward()
            optimizer.step()
        if epoch in (4, 19, 59):
            kept.append(str(folder / f"{epoch}.pt"))
            torch.save(net.state_dict(), kept[-1])
    return net.eval(), kept


def attribution(seed: int, rounds: int, samples: int = 50) -> list[Row]:
    """Expected gradients of one output of an MLP at 50 rows, ``samples`` draws each."""
    shap = optional("shap")
    if shap is None:
        return [("expected gradients", "shap, GradientExplainer", "–", "not installed", "–")]
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(30, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)).eval()
    background, X = torch.randn(200, 30), torch.randn(50, 30)
    explainer, probe = shap.GradientExplainer(model, background), Probe(model, "4[0]")

    def ours() -> np.ndarray:
        rng = np.random.default_rng(seed)
        share = torch.from_numpy(rng.random((50, samples, 1)).astype(np.float32))
        base = background[torch.from_numpy(rng.integers(0, 200, (50, samples)))]
        points = base + share * (X[:, None] - base)
        slopes = probe.gradients(points.reshape(-1, 30)).reshape(points.shape)
        return (slopes * (X[:, None] - base)).mean(1).numpy()

    def theirs() -> np.ndarray:
        return np.asarray(explainer.shap_values(X, nsamples=samples)).reshape(50, 30)

    alike = float(np.corrcoef(ours().ravel(), theirs().ravel())[0, 1])
    seconds = turns({"ours": ours, "shap": theirs}, rounds)
    question = f"expected gradients, 50 rows, {samples} draws"
    return [
        (
            question,
            "a few lines on the probe's gradients, no feature of ours",
            spread(seconds["ours"], 2),
            f"correlation with shap's {alike:.3f}",
            "",
        ),
        (question, "shap, GradientExplainer", spread(seconds["shap"], 2), "", "–"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--units", type=int, default=128, help="of the layer whose gradients are asked for")
    parser.add_argument(
        "--epochs", type=int, default=30, help="of the classifier whose neighbors are asked for"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    rows: list[Row] = []
    if optional("captum") is None:
        print("captum is not installed, so not measured.\n")
    else:
        rows += (
            gradients(0, asked.rounds, asked.units)
            + neighbors(asked.seeds, asked.epochs)
            + labels(asked.seeds)
        )
    print(table(COLUMNS, rows + attribution(0, asked.rounds)))


if __name__ == "__main__":
    main()
