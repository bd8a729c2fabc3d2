"""The demonstration: three small networks trained on the spot, three units of each explained by both engines.

Two data sets are real and ship with scikit-learn (handwritten digits, the Wisconsin breast-cancer table); the third is
a known rule, so that a reader can check the answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from interpret.explanation import NeuronExplanation
from interpret.threads import one_thread

Progress = Callable[[str, float], None]

#: Seconds for one unit's formula search: nine of them must fit a coffee break.
FORMULA_SECONDS = 6.0


@dataclass(frozen=True)
class Case:
    """A trained network with its training rows, rows it has not seen, and the units to explain."""

    name: str
    model: nn.Module
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    addresses: tuple[str, ...]
    names: tuple[str, ...] | None = None
    accuracy: float = float("nan")
    notes: dict[str, str] = field(default_factory=dict)


def _silent(message: str, share: float) -> None:
    del message, share


@one_thread()  # networks this small train several times faster on one thread than on two
def train(
    model: nn.Module,
    X: np.ndarray,
    y: np.ndarray,
    steps: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Adam with a cosine decay on the cross-entropy of labels ``y`` (N,), on one thread.

    The caller's random state and number of threads are as before afterwards.
    """
    inputs = torch.as_tensor(X, dtype=torch.float32)
    labels = torch.as_tensor(y)
    binary = int(labels.max()) == 1
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    for step in range(steps):
        rows = torch.randint(len(inputs), (256,), generator=generator)
        out = model(inputs[rows])
        if binary:
            loss = nn.functional.binary_cross_entropy_with_logits(out[:, 0], labels[rows].float())
        else:
            loss = nn.functional.cross_entropy(out, labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress is not None and step % 25 == 0:
            progress((step + 1) / steps)
    optimiser.zero_grad()
    model.eval()


@one_thread()
def accuracy(model: nn.Module, X: np.ndarray, y: np.ndarray) -> float:
    """Share of rows (N, …) whose predicted class is ``y`` (N,)."""
    with torch.no_grad():
        out = model(torch.as_tensor(X, dtype=torch.float32))
    predicted = out.argmax(1) if out.shape[1] > 1 else (out[:, 0] > 0).long()
    return float((predicted.numpy() == y).mean())


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def digits_network() -> nn.Module:
    """A small convolutional network for 8×8 images (N, 1, 8, 8) with ten outputs."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(512, 64),
            relu3=nn.ReLU(),
            out=nn.Linear(64, 10),
        )
    )


def table_network(inputs: int, hidden: int = 32) -> nn.Module:
    """A smooth two-layer network (N, inputs) → (N, 1): formulas need a gradient that moves, hence SiLU and not ReLU."""
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(inputs, hidden),
            act1=nn.SiLU(),
            fc2=nn.Linear(hidden, hidden),
            act2=nn.SiLU(),
            out=nn.Linear(hidden, 1),
        )
    )


def digits(seed: int = 0, progress: Progress = _silent) -> Case:
    """Handwritten digits, 1,437 training and 360 test images of 8×8 pixels scaled to [0, 1]."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    X = (images / 16.0).reshape(-1, 1, 8, 8).astype(np.float32)
    X, X_test, y, y_test = train_test_split(X, labels, test_size=360, random_state=seed, stratify=labels)
    model = _seeded(digits_network, seed)
    train(
        model, X, y, steps=500, seed=seed, progress=lambda share: progress("training the digits CNN", share)
    )
    return Case(
        "digits", model, X, y, X_test, y_test, ("out[3]", "out[8]", "conv2[5]"),
        accuracy=accuracy(model, X_test, y_test),
    )  # fmt: skip


def breast_cancer(seed: int = 0, progress: Progress = _silent) -> Case:
    """The breast-cancer table, 30 columns in units of their deviation; the output is the logit of malignant."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    table = load_breast_cancer()
    malignant = 1 - table.target
    X, X_test, y, y_test = train_test_split(
        table.data, malignant, test_size=0.25, random_state=seed, stratify=malignant
    )
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X).astype(np.float32), scaler.transform(X_test).astype(np.float32)
    model = _seeded(lambda: table_network(30, 16), seed)
    train(
        model,
        X,
        y,
        steps=400,
        seed=seed,
        progress=lambda share: progress("training the breast-cancer MLP", share),
    )
    names = tuple(str(name) for name in table.feature_names)
    return Case(
        "breast-cancer", model, X, y, X_test, y_test, ("out[0]", "fc2[0]", "fc2[1]"), names,
        accuracy=accuracy(model, X_test, y_test),
    )  # fmt: skip


def ellipse(seed: int = 0, progress: Progress = _silent) -> Case:
    """A rule that is known: is x0² + 2·x1² > 1? 10,000 points uniform on [−1, 1]², 1,000 for the explanation."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (12_000, 2)).astype(np.float32)
    y = (X[:, 0] ** 2 + 2 * X[:, 1] ** 2 > 1).astype(np.int64)
    model = _seeded(lambda: table_network(2, 64), seed)
    train(
        model, X[:10_000], y[:10_000], steps=4000, seed=seed,
        progress=lambda share: progress("training the classifier of x0² + 2·x1² > 1", share),
    )  # fmt: skip
    return Case(
        "ellipse", model, X[:2000], y[:2000], X[10_000:], y[10_000:], ("out[0]", "fc2[0]", "fc2[1]"),
        accuracy=accuracy(model, X[10_000:], y[10_000:]),
    )  # fmt: skip


CASES: tuple[Callable[[int, Progress], Case], ...] = (digits, ellipse, breast_cancer)


def run(out: str | Path, seed: int = 0, progress: Progress = _silent) -> Path:
    """Train the three networks, explain nine units, write the run folder and its report; returns the report's path.

    A run that is already there is completed, not repeated. ``progress`` is called with (what, share done).

    Raises:
        StoreError: the folder cannot be written, or holds something else.
    """
    from interpret.explaining import explain
    from interpret.report import write

    folder = Path(out)
    neurons: list[NeuronExplanation] = []
    for make in CASES:
        case = make(seed, progress)

        def told(address: str, done: int, total: int, name: str = case.name) -> None:
            progress(f"explaining {name} {address}" if address else f"explained {name}", done / total)

        neurons += explain(
            case.model, case.addresses, case.X, case.y, names=case.names, out=folder, seed=seed,
            test=(case.X_test, case.y_test), title=case.name, time_limit=FORMULA_SECONDS, progress=told,
        )  # fmt: skip
    progress("writing the report", 0.0)
    report = write(neurons, folder / "report.html", title="What nine neurons compute, and what they go by")
    progress("writing the report", 1.0)
    return report
