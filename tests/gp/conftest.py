"""A digits classifier and its data, trained once for the whole session, and small synthetic features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn


class DigitsCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


@dataclass(frozen=True)
class Digits:
    net: nn.Module
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@pytest.fixture(scope="session")
def digits() -> Digits:
    data = load_digits()
    X = np.ascontiguousarray(data.images[:, None] / 16, dtype=np.float32)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], data.target[order]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = DigitsCNN()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    inputs, labels = torch.from_numpy(X[:1437]), torch.from_numpy(y[:1437])
    for _ in range(20):
        for rows in torch.randperm(1437, generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return Digits(net.eval(), X[:1437], y[:1437], X[1437:], y[1437:])


@pytest.fixture
def features():
    """(M, D) correlated features of unequal scale and (M, 2) targets that are almost linear in them."""
    rng = np.random.default_rng(3)
    U = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5)) * np.array([3, 1, 0.3, 1, 1]) + rng.normal(size=5)
    V = U @ rng.normal(size=(5, 2)) + 0.1 * np.sin(U[:, :2]) + 4
    return U, V
