"""Suspect labels: the kernel's own geometry fitted to the labels instead of the outputs, judged by leave-one-out.

A network trained until it memorises has wrong labels in its outputs and in its last features, but a training example
whose label is left out is predicted by its neighbors. One-hot labels are not linear in memorising features, so the
kernel enters through its distance: exp(−γ‖u − u'‖), whose sharp peak lets an example stand apart from its
neighbors where a Gaussian of the same width would carry a wrong label over to them. Up to a few thousand examples it
is exact; beyond, random cosines and sines (Rahimi & Recht, NeurIPS 2007) keep the cost linear in M.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpret.errors import BadInput, TooFewPoints

if TYPE_CHECKING:
    from gp.distillation import Distillation

#: γ times the root mean squared distance of u from its mean.
SHARPNESS = 0.6
#: σ² with unit k(x, x). Fixed: the likelihood of labels that are partly wrong asks for less, and believes them.
NOISE = 0.3
#: Sharpness of the class probabilities; the one with the best mean leave-one-out log-probability is taken.
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: Most examples for the exact kernel.
EXACT = 3000
#: Cosines and sines together; fewer where M times that would not fit in memory.
FEATURES, MOST_NUMBERS = 2048, 2**28


@dataclass(frozen=True)
class LabelFit:
    """Leave-one-out predictions of one-hot labels.

    log_probability  (M, K) log-probabilities of the classes of each example, from all the others
    scale            sharpness with the best mean log-probability of the given labels
    """

    log_probability: Tensor
    scale: float


def suspects(distillation: Distillation, labels: Any) -> pd.DataFrame:
    """Training rows of a distillation ranked by how unlikely the others find their label.

    The features of all groups of heads and of all places stand side by side: their kernels add up.

    Args:
        distillation: with its training rows.
        labels: (M,) class labels of the training rows, of any type that can be compared.

    Returns:
        Columns ``index`` (row id), ``label``, ``suggested`` (the likeliest class without this example) and ``score``
        (minus the leave-one-out log-probability of its label), worst first.

    Raises:
        BadInput: labels of another length or of a single class, missing labels, features that are not finite.
        TooFewPoints: fewer than three examples.
        RowsNotStored: the training rows were not kept.

    """
    classes, codes = _encoded(labels, distillation.examples)

    def rows() -> Iterator[Tensor]:
        for _, z in distillation.blocks():
            yield z.permute(1, 0, 2, 3).flatten(1).cpu()

    return _ranked(spectrum(rows, distillation.seed), classes, codes, distillation.row_ids)


def rank(features: Any, labels: Any, index: Any = None, seed: int = 0) -> pd.DataFrame:
    """The same from kernel features (M, D) as an array; ``index`` (M,) are row numbers, 0 to M − 1 when not given."""
    u = torch.from_numpy(np.array(features, dtype=np.float64))
    classes, codes = _encoded(labels, len(u))
    numbers = np.arange(len(u)) if index is None else np.asarray(index)
    return _ranked(spectrum(lambda: iter([u]), seed), classes, codes, numbers)


def _ranked(
    decomposed: tuple[Tensor, Tensor], classes: NDArray[Any], codes: NDArray[np.int64], index: Any
) -> pd.DataFrame:
    fit = leave_one_out(*decomposed, codes, len(classes))
    score = -fit.log_probability[torch.arange(len(codes)), torch.tensor(codes)].numpy()
    table = pd.DataFrame(
        {
            "index": index,
            "label": classes[codes],
            "suggested": classes[fit.log_probability.argmax(dim=1).numpy()],
            "score": score,
        }
    )
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def spectrum(rows: Callable[[], Iterator[Tensor]], seed: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (r,) and orthonormal eigenvectors (M, r) of the centred kernel exp(−γ‖u − u'‖).

    Args:
        rows: gives the blocks (n, D) of u, as often as it is called.
        seed: of the random directions, where there are too many examples for the exact kernel.

    Raises:
        BadInput: features that are not finite.

    """
    count, total, square = 0, torch.zeros(()), torch.zeros((), dtype=torch.float64)
    for u in rows():
        count, total, square = count + len(u), total + u.sum(dim=0), square + u.square().sum()
    size = square / count - (total / count).square().sum()
    if not bool(torch.isfinite(size)):
        raise BadInput(
            "the features are not finite; the network's activations overflow on some training example"
        )
    rate = SHARPNESS / size.clamp_min(torch.finfo(size.dtype).tiny).sqrt()
    if count <= EXACT:
        u = torch.cat(list(rows()))
        kernel = torch.exp(-rate * torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist"))
        kernel = kernel - kernel.mean(dim=0) - kernel.mean(dim=1, keepdim=True) + kernel.mean()
        values, vectors = torch.linalg.eigh(kernel)
        return values.clamp_min(0), vectors
    features = _cosines(rows, rate, len(total), max(64, min(FEATURES, MOST_NUMBERS // count) // 2), seed)
    features = features - features.mean(dim=0)
    values, vectors = torch.linalg.eigh(features.T @ features)
    kept = values > 1e-12 * values[-1]
    return values[kept], features @ (vectors[:, kept] / values[kept].sqrt())


def _cosines(rows: Callable[[], Iterator[Tensor]], rate: Tensor, width: int, half: int, seed: int) -> Tensor:
    """Random features (M, 2·half) of exp(−rate·‖u − u'‖), whose frequencies are Cauchy: Gaussian over |Gaussian|."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(width, half, generator=generator, dtype=torch.float64)
    directions /= torch.randn(half, generator=generator, dtype=torch.float64).abs().clamp_min(1e-6)
    parts = [u @ (rate * directions) for u in rows()]
    return torch.cat([torch.cat([angles.cos(), angles.sin()], dim=1) for angles in parts]) / math.sqrt(half)


def leave_one_out(values: Tensor, vectors: Tensor, codes: NDArray[np.int64], classes: int) -> LabelFit:
    """Leave-one-out class probabilities of a GP with a constant mean, fitted to one-hot labels.

    Kernel ``vectors diag(values) vectorsᵀ``, centred over the examples. Centre and mean are re-estimated without the
    example: residual r/(1 − 1/M − h) with h the leverage. A class's probability is the softmax of the left-out means
    times a scale, which is what equal-variance Gaussian likelihoods of the one-hot vectors give.
    """
    count, rows = len(vectors), torch.arange(len(vectors))
    given = torch.tensor(codes)
    onehot = torch.nn.functional.one_hot(given, classes).double()
    target = onehot - onehot.mean(dim=0)
    kept = values / (values + NOISE)
    leverage = (vectors.square() * kept).sum(dim=1)
    residual = target - vectors @ (kept[:, None] * (vectors.T @ target))
    mean = onehot - residual / (1 - 1 / count - leverage).clamp_min(1e-12)[:, None]
    fits = [LabelFit((scale * mean).log_softmax(dim=1), scale) for scale in SCALES]
    return max(fits, key=lambda fit: float(fit.log_probability[rows, given].mean()))


def _encoded(labels: Any, count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Distinct labels and the code of each example's."""
    given = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if given.ndim != 1 or len(given) != count:
        raise BadInput(
            f"labels must be one for each of the {count} training examples; got shape {given.shape}"
        )
    missing = np.asarray(pd.isna(given))
    if missing.any():
        raise BadInput(f"the label of example {int(missing.argmax())} is missing")
    if count < 3:
        raise TooFewPoints(f"suspects needs at least 3 examples, got {count}")
    try:
        classes, codes = np.unique(given, return_inverse=True)
    except TypeError as error:
        kinds = ", ".join(sorted({type(label).__name__ for label in given}))
        raise BadInput(
            f"labels are of several types ({kinds}) that have no common order; convert them"
        ) from error
    if len(classes) < 2:
        raise BadInput("all labels are the same; suspects compares classes")
    if len(classes) > max(2, count // 2):
        raise BadInput(
            f"{len(classes)} classes for {count} examples: these look like continuous values, not labels"
        )
    return classes, codes.astype(np.int64)
