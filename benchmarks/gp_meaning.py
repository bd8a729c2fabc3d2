"""Whether neighbors, intervals and novelty mean something, over three seeds of data and network."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

import gp
from benchmarks import gp_data as data
from interpret.probe import Probe


def main(arguments: Namespace) -> None:
    rows = [neighbors(seed) for seed in range(3)]
    print("neighbors: class agreement of the ten nearest at the predicted head, beside random weights; their overlap; "
          "how many training images are among anybody's ten")  # fmt: skip
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.4g"))
    print("intervals: share of held-out outputs inside, activation and learned kernel")
    print(pd.DataFrame([coverage(seed) for seed in range(3)]).to_string(index=False, float_format="%.4g"))
    print("novelty: AUROC against held-out digits, beside a Gaussian density on the same features")
    print(
        pd.DataFrame([row for seed in range(3) for row in novelty(seed)]).to_string(
            index=False, float_format="%.4f"
        )
    )


def network(seed: int) -> tuple[data.Split, nn.Module]:
    split = data.digits(seed)
    return split, data.train(data.CNN, split, seed=seed)


def ten(d: gp.Distillation, X: np.ndarray, head: np.ndarray, by: str = "similarity") -> np.ndarray:
    """(n, 10) nearest at each row's head."""
    found = np.empty((len(X), 10), dtype=np.int64)
    for h in np.unique(head):
        found[head == h] = d.neighbors(X[head == h], k=10, head=int(h), by=by).index
    return found


def raw_products(d: gp.Distillation, X: np.ndarray) -> np.ndarray:
    """(n, 10) by dot product instead of cosine: large images win whatever the query."""
    u = d.features
    h = torch.cat([b.features for b in d.run(X)], 1)
    z = (d.posterior.basis(h) @ d.posterior.basis.turn[:, None])[0, :, 0].numpy()
    return np.argsort(-(z @ u.T), axis=1)[:, :10]


def neighbors(seed: int) -> dict[str, float]:
    split, net = network(seed)
    d = gp.distill(Probe(net, ""), split.X)
    random = gp.distill(Probe(data.untrained(data.CNN, seed + 100), ""), split.X)
    head = d.predict(split.X_test).mean.argmax(1)
    near, far = ten(d, split.X_test, head), ten(random, split.X_test, head)
    by_share = ten(d, split.X_test, head, "contribution")

    def agreement(index: np.ndarray) -> float:
        return float((split.y[index] == head[:, None]).mean())

    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near, far, strict=True)])
    return {
        "seed": seed,
        "agreement": agreement(near),
        "random weights": agreement(far),
        "margin": agreement(near) - agreement(far),
        "contributors": agreement(by_share),
        "raw products": agreement(raw_products(d, split.X_test)),
        "overlap": float(overlap),
        "cardinality": len(np.unique(near)),
    }


def coverage(seed: int) -> dict[str, float]:
    split, net = network(seed)
    truth = net(torch.from_numpy(split.X_test)).detach().numpy()
    row: dict[str, float] = {"seed": seed}
    for kernel in ("activation", "learned"):
        prediction = gp.distill(Probe(net, ""), split.X, kernel=kernel).predict(split.X_test)
        for level in (0.5, 0.8, 0.95):
            low, high = prediction.interval(level)
            row[f"{kernel} {level:.0%}"] = float(((low <= truth) & (truth <= high)).mean())
    return row


def novelty(seed: int) -> list[dict[str, float | str]]:
    split, net = network(seed)
    d = gp.distill(Probe(net, ""), split.X)
    h = torch.cat([b.features for b in d.run(split.X)], 1)[0, :, 0].numpy()
    covariance = np.cov(h.T)
    precision = np.linalg.inv(
        covariance + 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    )

    def gaussian(X: np.ndarray) -> np.ndarray:
        q = torch.cat([b.features for b in d.run(X)], 1)[0, :, 0].numpy() - h.mean(0)
        return np.einsum("nd,de,ne->n", q, precision, q)

    X = split.X_test
    others = {"shuffled": data.shuffled(X), "noise": data.noise(X), "rotated": data.rotated(X)}
    label = np.repeat([0, 1], len(X))
    return [
        {
            "seed": seed,
            "inputs": name,
            "ours": roc_auc_score(label, np.r_[d.novelty(X), d.novelty(other)]),
            "Gaussian": roc_auc_score(label, np.r_[gaussian(X), gaussian(other)]),
        }
        for name, other in others.items()
    ]
