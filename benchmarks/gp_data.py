"""Networks and inputs of the GP benchmarks: digits classifiers, an attention map, a regression on diabetes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import nn


@dataclass(frozen=True)
class Split:
    """Training and held-out rows, inputs float32."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def digits(seed: int = 0) -> Split:
    """1,437 and 360 images (N, 1, 8, 8) in [0, 1]."""
    data = load_digits()
    X = np.ascontiguousarray(data.images[:, None] / 16, dtype=np.float32)
    return _split(X, data.target, 1437, seed)


def diabetes(seed: int = 0) -> Split:
    """353 and 89 rows of ten standardised columns; the target standardised too."""
    X, y = load_diabetes(return_X_y=True)
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    return _split(X, ((y - y.mean()) / y.std()).astype(np.float32), 353, seed)


def _split(X: np.ndarray, y: np.ndarray, train: int, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(X))
    X, y = X[order], y[order]
    return Split(X[:train], y[:train], X[train:], y[train:])


class CNN(nn.Module):
    """Two convolutions, one hidden layer of 64, ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class Attended(nn.Module):
    """A classifier that looks where a spatial attention map tells it to: softmax over the 8 × 8 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
        )
        self.attention = Attention(32)
        self.out = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        h = self.body(x)
        return self.out((h * self.attention(h)).flatten(2).sum(-1))


class Attention(nn.Module):
    """(N, C, H, W) to (N, 1, H, W) weights that sum to one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden, self.score = nn.Conv2d(channels, 16, 1), nn.Conv2d(16, 1, 1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Weights of the positions."""
        score = self.score(torch.tanh(self.hidden(h)))
        return torch.softmax(score.flatten(1), -1).reshape(score.shape)


class Regression(nn.Sequential):
    """Ten inputs, two hidden layers of 32, one output."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def train(
    kind: type[nn.Module], split: Split, epochs: int = 30, seed: int = 0, decay: float = 1e-4
) -> nn.Module:
    """A network of that kind with seeded weights and batches; cross-entropy for integer targets, squares else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = kind()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=decay)
    X, y = torch.from_numpy(split.X), torch.from_numpy(split.y)
    for _ in range(epochs):
        for rows in torch.randperm(len(X), generator=generator).split(64):
            optimizer.zero_grad()
            made = net(X[rows])
            loss = nn.functional.mse_loss(made[:, 0], y[rows])
            if not y.is_floating_point():
                loss = nn.functional.cross_entropy(made, y[rows])
            loss.backward()
            optimizer.step()
    return net.eval()


def untrained(kind: type[nn.Module], seed: int = 1) -> nn.Module:
    """The same architecture with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind().eval()


def mixtures(X: np.ndarray, seed: int = 0) -> np.ndarray:
    """λx + (1−λ)x' with λ in [−1, 2], as many as there are rows."""
    generator = np.random.default_rng(seed)
    other = X[generator.permutation(len(X))]
    share = generator.uniform(-1, 2, (len(X), *(1,) * (X.ndim - 1))).astype(np.float32)
    return share * X + (1 - share) * other


def noise(X: np.ndarray, seed: int = 0) -> np.ndarray:
    """Uniform noise over the range of the data."""
    return np.random.default_rng(seed).uniform(X.min(), X.max(), X.shape).astype(np.float32)


def fgsm(net: nn.Module, X: np.ndarray, y: np.ndarray, epsilon: float = 0.15) -> np.ndarray:
    """One signed-gradient step up the loss (Goodfellow et al. 2015)."""
    x = torch.from_numpy(X).requires_grad_()
    made, labels = net(x), torch.from_numpy(y)
    if labels.is_floating_point():
        loss = nn.functional.mse_loss(made[:, 0], labels)
    else:
        loss = nn.functional.cross_entropy(made, labels)
    (gradient,) = torch.autograd.grad(loss, x)
    return (x.detach() + epsilon * gradient.sign()).numpy()


def shuffled(X: np.ndarray, seed: int = 0) -> np.ndarray:
    """The pixels of each image in another order."""
    return np.random.default_rng(seed).permuted(X.reshape(len(X), -1), axis=1).reshape(X.shape)


def rotated(X: np.ndarray) -> np.ndarray:
    """Images turned by 90 degrees."""
    return np.ascontiguousarray(np.rot90(X, axes=(2, 3)))
