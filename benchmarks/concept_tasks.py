"""The published classifier tasks, each with its concept, its threshold and seeded networks trained once and cached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

Array = NDArray[np.float64]
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "concepts"
POINTS, STEPS, BATCH, WIDTH = 10_000, 3_000, 500, 64


@dataclass(frozen=True)
class Task:
    """A concept decided against a threshold on a box; ``agree`` is a second concept whose sign must agree."""

    name: str
    text: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    concept: Callable[[torch.Tensor], torch.Tensor]
    threshold: float
    agree: Callable[[torch.Tensor], torch.Tensor] | None = None
    agree_threshold: float = 0.0

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Uniform points (count, d), only where both concepts agree if there are two."""
        low, high = np.array(self.low), np.array(self.high)
        if self.agree is None:
            return rng.uniform(low, high, (count, len(low)))
        rows: list[Array] = []
        while sum(map(len, rows)) < count:
            points = torch.from_numpy(rng.uniform(low, high, (count, len(low))))
            first = self.concept(points) > self.threshold
            second = self.agree(points) > self.agree_threshold
            rows.append(points[first == second].numpy())
        return np.concatenate(rows)[:count]

    def gradient(self, points: Array) -> Array:
        """The concept's own gradient (N, d) by autograd, in float64."""
        x = torch.from_numpy(points).requires_grad_(True)
        return torch.autograd.grad(self.concept(x).sum(), x)[0].numpy()


def _e(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] * x[:, 1] / ((x[:, 2] - x[:, 3]) ** 2 + (x[:, 4] - x[:, 5]) ** 2)


TASKS = {
    task.name: task
    for task in (
        Task("A", "x0^2+3x0x1+2x1^2 > 5", (-2.0,) * 2, (0.0,) * 2,
             lambda x: x[:, 0] ** 2 + 3 * x[:, 0] * x[:, 1] + 2 * x[:, 1] ** 2, 5.0),
        Task("A1", "x0^2+2x1^2 > 1", (-1.0,) * 2, (1.0,) * 2, lambda x: x[:, 0] ** 2 + 2 * x[:, 1] ** 2, 1.0),
        Task("B", "x0^2+sin(x1+x2) > 1", (-2.0,) * 3, (0.0,) * 3,
             lambda x: x[:, 0] ** 2 + torch.sin(x[:, 1] + x[:, 2]), 1.0),
        Task("C", "exp(x0-x1)-pi*x2 > 1", (-1.0,) * 3, (1.0,) * 3,
             lambda x: torch.exp(x[:, 0] - x[:, 1]) - math.pi * x[:, 2], 1.0),
        Task("D", "x0*exp(-(x1^2+x2^2)/2) > 0.2", (0.0, -2.0, -2.0), (2.0,) * 3,
             lambda x: x[:, 0] * torch.exp(-(x[:, 1] ** 2 + x[:, 2] ** 2) / 2), 0.2),
        Task("E", "x0x1/((x2-x3)^2+(x4-x5)^2) > 1", (0.0,) * 6, (2.0,) * 6, _e, 1.0),
        Task("F", "x0x1 > 1 and x2x3 > 1 agree", (0.0,) * 4, (2.0,) * 4, lambda x: x[:, 0] * x[:, 1], 1.0,
             lambda x: x[:, 2] * x[:, 3], 1.0),
        Task("G", "x0x1+x2 > 2 and sin(x1x2) > 0.5 agree", (0.0,) * 3, (2.0,) * 3,
             lambda x: x[:, 0] * x[:, 1] + x[:, 2], 2.0, lambda x: torch.sin(x[:, 1] * x[:, 2]), 0.5),
    )
}  # fmt: skip


def network(width: int) -> nn.Sequential:
    """The classifier: two hidden layers, smooth activation, one logit."""
    return nn.Sequential(
        nn.Linear(width, WIDTH),
        nn.SiLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.SiLU(),
        nn.Linear(WIDTH, 1),
        nn.Flatten(0),
    )


def train(task: Task, seed: int, steps: int = STEPS) -> nn.Sequential:
    """Train on 10,000 points labelled with 1 % noise on the concept: Adam, cosine decay, binary cross-entropy."""
    rng = np.random.default_rng([seed, *task.name.encode()])
    points = torch.from_numpy(task.sample(POINTS, rng))
    noisy = task.concept(points) * (1 + 0.01 * torch.from_numpy(rng.standard_normal(POINTS)))
    x, y = points.float(), (noisy > task.threshold).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network(x.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss = nn.BCEWithLogitsLoss()
    for _ in range(steps):
        batch = torch.from_numpy(rng.integers(0, POINTS, BATCH))
        optimizer.zero_grad()
        loss(model(x[batch]), y[batch]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def trained(task: Task, seed: int) -> nn.Sequential:
    """The cached network of one (task, seed), trained on first use."""
    path = CACHE / f"{task.name}-{seed}.safetensors"
    model = network(len(task.low))
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        save_file(train(task, seed).state_dict(), path)
    model.load_state_dict(load_file(path))
    return model.eval()


def near_boundary(task: Task, seed: int, count: int = 2_000) -> Array:
    """Fresh points whose concept lies within 5 % of the threshold."""
    rng = np.random.default_rng([seed, 77, *task.name.encode()])
    rows: list[Array] = []
    while sum(map(len, rows)) < count:
        points = task.sample(100_000, rng)
        value = task.concept(torch.from_numpy(points)).numpy()
        rows.append(points[np.abs(value - task.threshold) < 0.05 * abs(task.threshold)])
    return np.concatenate(rows)[:count]


def cosine(first: Array, second: Array) -> float:
    """|mean cos| between two gradient fields (N, d)."""
    dot = (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    return float(abs(dot.mean()))


def network_gradient(model: nn.Module, points: Array) -> tuple[Array, Array]:
    """Logits (N,) and their input gradients (N, d), float64."""
    x = torch.from_numpy(points).float().requires_grad_(True)
    logit = model(x)
    grad = torch.autograd.grad(logit.sum(), x)[0]
    return logit.detach().double().numpy(), grad.double().numpy()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for key in TASKS:
        for number in range(5):
            field = network_gradient(trained(TASKS[key], number), near_boundary(TASKS[key], number))[1]
            truth = TASKS[key].gradient(near_boundary(TASKS[key], number))
            print(
                f"{key} seed {number}: network against label rule near the boundary {cosine(field, truth):.5f}",
                flush=True,
            )
