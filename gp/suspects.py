"""Suspect labels: the kernel's own geometry fitted to the labels instead of the outputs, judged by leave-one-out.

A network trained until it memorises has wrong labels in its outputs and in its last features, but a training example
whose label is left out is predicted by its neighbors. One-hot labels are not linear in memorising features, so the
kernel enters through its distance, exp(−γ‖u − u'‖²), of which u·u' is the limit of small γ. Gaussian kernels are
approximated by random cosines and sines (Rahimi & Recht, NeurIPS 2007), so that the cost is linear in M.
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

#: γ in units of the mean squared norm of u: a length scale of about 1.6 norms.
SHARPNESS = 0.2
#: Cosines and sines together; fewer where M times that would not fit in memory.
FEATURES, MOST_NUMBERS = 1024, 2**27
#: Noise levels, with unit k(x, x); the one with the best leave-one-out log-probability is taken.
NOISES = (0.1, 0.3, 1.0, 3.0)
#: Sharpness of the class probabilities, chosen likewise.
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(frozen=True)
class LabelFit:
    """Leave-one-out predictions of one-hot labels.

    log_probability  (M, K) log-probabilities of the classes of each example, from all the others
    noise, scale     the settings with the best mean log-probability of the given labels
    """

    log_probability: Tensor
    noise: float
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

    return _ranked(gaussian_features(rows, distillation.seed), classes, codes, distillation.row_ids)


def rank(features: Any, labels: Any, index: Any = None, seed: int = 0) -> pd.DataFrame:
    """The same from kernel features (M, D) as an array; ``index`` (M,) are row numbers, 0 to M − 1 when not given."""
    u = torch.from_numpy(np.array(features, dtype=np.float64))
    classes, codes = _encoded(labels, len(u))
    numbers = np.arange(len(u)) if index is None else np.asarray(index)
    return _ranked(gaussian_features(lambda: iter([u]), seed), classes, codes, numbers)


def _ranked(features: Tensor, classes: NDArray[Any], codes: NDArray[np.int64], index: Any) -> pd.DataFrame:
    fit = leave_one_out(features, codes, len(classes))
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


def gaussian_features(rows: Callable[[], Iterator[Tensor]], seed: int) -> Tensor:
    """Random features (M, F) whose products approximate exp(−γ‖u − u'‖²/s), s the mean of ‖u − mean u‖².

    Args:
        rows: gives the blocks (n, D) of u, as often as it is called.
        seed: of the random directions.

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
    half = max(64, min(FEATURES, MOST_NUMBERS // count) // 2)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(len(total), half, generator=generator, dtype=torch.float64)
    directions *= math.sqrt(2 * SHARPNESS) / size.clamp_min(torch.finfo(size.dtype).tiny).sqrt()
    parts = [u @ directions for u in rows()]
    return torch.cat([torch.cat([angles.cos(), angles.sin()], dim=1) for angles in parts]) / math.sqrt(half)


def leave_one_out(features: Tensor, codes: NDArray[np.int64], classes: int) -> LabelFit:
    """Leave-one-out class probabilities of a GP with a constant mean, fitted to one-hot labels.

    Centre and mean are re-estimated without the example: residual r/(1 − 1/M − h) with h the leverage. A class's
    probability is the softmax of the left-out means times a scale, which is what equal-variance Gaussian likelihoods of
    the one-hot vectors give.
    """
    count, rows = len(features), torch.arange(len(features))
    given = torch.from_numpy(codes)
    onehot = torch.nn.functional.one_hot(given, classes).double()
    centred, target = features - features.mean(dim=0), onehot - onehot.mean(dim=0)
    spectrum, vectors = torch.linalg.eigh(centred.T @ centred)
    spectrum, axes = spectrum.clamp_min(0), centred @ vectors
    projected = axes.T @ target
    best: LabelFit | None = None
    best_value = -math.inf
    for noise in NOISES:
        inverse = 1 / (spectrum + noise)
        leverage = (axes.square() * inverse).sum(dim=1)
        residual = target - axes @ (inverse[:, None] * projected)
        left = (1 - 1 / count - leverage).clamp_min(1e-12)
        mean = onehot - residual / left[:, None]
        for scale in SCALES:
            log_probability = (scale * mean).log_softmax(dim=1)
            value = float(log_probability[rows, given].mean())
            if value > best_value:
                best, best_value = LabelFit(log_probability, noise, scale), value
    if best is None:
        raise BadInput("leave-one-out gave no finite probability; the features are degenerate")
    return best


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
    classes, codes = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise BadInput("all labels are the same; suspects compares classes")
    if len(classes) > max(2, count // 2):
        raise BadInput(
            f"{len(classes)} classes for {count} examples: these look like continuous values, not labels"
        )
    return classes, codes.astype(np.int64)
