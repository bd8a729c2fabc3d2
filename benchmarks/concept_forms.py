"""Concepts with exact gradients, fields with nothing to find, tied inputs: what the search must tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """A closed form on a box, with the number of inputs it is given."""

    text: str
    width: int
    low: float
    high: float
    function: Callable[[torch.Tensor], torch.Tensor]

    def data(self, seed: int, count: int = 1_500) -> tuple[Array, Array, Array]:
        """Points (N, d), exact gradients (N, d) and values (N,)."""
        rng = np.random.default_rng([seed, *self.text.encode()])
        x = torch.from_numpy(rng.uniform(self.low, self.high, (count, self.width))).requires_grad_(True)
        value = self.function(x)
        gradient = torch.autograd.grad(value.sum(), x)[0]
        return x.detach().numpy(), gradient.numpy(), value.detach().numpy()

    def gradient(self, points: Array) -> Array:
        """The true gradient (N, d)."""
        x = torch.from_numpy(points).requires_grad_(True)
        return torch.autograd.grad(self.function(x).sum(), x)[0].numpy()


#: The twelve of the acceptance table: nested forms and inner constants.
FORMS = (
    Form("sin(2.3x0) + exp(-0.7x1^2)", 2, -2, 2, lambda x: torch.sin(2.3 * x[:, 0]) + torch.exp(-0.7 * x[:, 1] ** 2)),
    Form("sqrt(x0^2+x1^2) - x2", 3, -2, 2, lambda x: torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2) - x[:, 2]),
    Form("log(1+x0x1) + 0.5x2^2", 3, 0, 2, lambda x: torch.log(1 + x[:, 0] * x[:, 1]) + 0.5 * x[:, 2] ** 2),
    Form("x0/(1+x1^2)", 2, -2, 2, lambda x: x[:, 0] / (1 + x[:, 1] ** 2)),
    Form("tanh(1.5x0) + x1x2", 3, -2, 2, lambda x: torch.tanh(1.5 * x[:, 0]) + x[:, 1] * x[:, 2]),
    Form("x0 sin(1.7x1) + x2", 3, -2, 2, lambda x: x[:, 0] * torch.sin(1.7 * x[:, 1]) + x[:, 2]),
    Form("(x0+0.5x1)^2 + exp(0.8x2)", 3, -2, 2, lambda x: (x[:, 0] + 0.5 * x[:, 1]) ** 2 + torch.exp(0.8 * x[:, 2])),
    Form("exp(-(x0^2+x1^2)/2) + 0.3x2", 3, -2, 2,
         lambda x: torch.exp(-0.5 * (x[:, 0] ** 2 + x[:, 1] ** 2)) + 0.3 * x[:, 2]),
    Form("x0^1.5 + 2x1^2.5", 2, 0.1, 2, lambda x: x[:, 0] ** 1.5 + 2 * x[:, 1] ** 2.5),
    Form("cos(1.3x0x1) + x2^2", 3, -1.5, 1.5, lambda x: torch.cos(1.3 * x[:, 0] * x[:, 1]) + x[:, 2] ** 2),
    Form("log(0.4+x0^2+x1^2) - 0.6x2x3", 4, -1.5, 1.5,
         lambda x: torch.log(0.4 + x[:, 0] ** 2 + x[:, 1] ** 2) - 0.6 * x[:, 2] * x[:, 3]),
    Form("sin(3x0+0.5) + x1^2", 2, -2, 2, lambda x: torch.sin(3 * x[:, 0] + 0.5) + x[:, 1] ** 2),
)  # fmt: skip

#: More of the kind, tried after the twelve were fixed; printed, not part of the count.
MORE = (
    Form("sqrt(1.5+x0) - x1 exp(-x2)", 3, -1, 1, lambda x: torch.sqrt(1.5 + x[:, 0]) - x[:, 1] * torch.exp(-x[:, 2])),
    Form("sin(x0x1+x2) + x0", 3, -1, 1, lambda x: torch.sin(x[:, 0] * x[:, 1] + x[:, 2]) + x[:, 0]),
    Form("x0x1/(x2^2+x3^2+0.5)", 4, 0, 2, lambda x: x[:, 0] * x[:, 1] / (x[:, 2] ** 2 + x[:, 3] ** 2 + 0.5)),
    Form("sin(x0)exp(-0.4x1^2) + 0.3x2", 3, -2, 2,
         lambda x: torch.sin(x[:, 0]) * torch.exp(-0.4 * x[:, 1] ** 2) + 0.3 * x[:, 2]),
    Form("tanh(2x0+x1) - x0x2", 3, -1, 1, lambda x: torch.tanh(2 * x[:, 0] + x[:, 1]) - x[:, 0] * x[:, 2]),
    Form("exp(-(x0-0.5)^2) + exp(-2(x1+0.3)^2)", 2, -1.5, 1.5,
         lambda x: torch.exp(-((x[:, 0] - 0.5) ** 2)) + torch.exp(-2 * (x[:, 1] + 0.3) ** 2)),
    Form("|x0-0.5| + 0.7x1^2", 2, -2, 2, lambda x: (x[:, 0] - 0.5).abs() + 0.7 * x[:, 1] ** 2),
    Form("x0^2 exp(0.6x1) - x2/(1+x3)", 4, 0, 2,
         lambda x: x[:, 0] ** 2 * torch.exp(0.6 * x[:, 1]) - x[:, 2] / (1 + x[:, 3])),
)  # fmt: skip


def disturbed(gradients: Array, angle: float, rng: np.random.Generator) -> Array:
    """Unit gradients (N, d) turned by normal angles of that standard deviation in random perpendicular directions."""
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    side = rng.standard_normal(unit.shape)
    side -= (side * unit).sum(1, keepdims=True) * unit
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    turn = (
        angle * rng.standard_normal((len(unit), 1))
        if np.ndim(angle) == 0
        else angle[:, None] * rng.standard_normal((len(unit), 1))
    )
    return np.cos(turn) * unit + np.sin(turn) * side


def random_network(
    seed: int, width: int = 3, hidden: int = 32, count: int = 2_000
) -> tuple[Array, Array, Array, float]:
    """Points, gradients, values and weight scale of a random tanh network no linear formula comes near."""
    from symbolic import controls, targets

    rng = np.random.default_rng([seed, 1])
    x = rng.uniform(-1, 1, (count, width))
    first, bias = rng.standard_normal((hidden, width)) / np.sqrt(width), 0.5 * rng.standard_normal(hidden)
    second, shift = rng.standard_normal((hidden, hidden)) / np.sqrt(hidden), 0.5 * rng.standard_normal(hidden)
    last, scale = rng.standard_normal(hidden) / np.sqrt(hidden), 1.0
    while True:
        one = np.tanh(scale * (x @ first.T + bias))
        two = np.tanh(scale * (one @ second.T + shift))
        gradient = (((1 - two**2) * last * scale) @ second * (1 - one**2) * scale) @ first
        found = targets.build(x, gradient, two @ last)
        if controls.held_out(controls.best_linear(found), found) > 0.1:
            return x, gradient, two @ last, scale
        scale *= 1.2


def simplex(seed: int, count: int = 2_000) -> tuple[Array, Array, Array]:
    """Four shares that sum to one; x0² + x1 x2, with a gradient off the simplex that means nothing."""
    rng = np.random.default_rng([seed, 11])
    x = rng.dirichlet(np.full(4, 1.5), count)
    gradient = np.column_stack([2 * x[:, 0], x[:, 2], x[:, 1], np.zeros(count)])
    return x, gradient + 3 * rng.standard_normal((count, 1)), x[:, 0] ** 2 + x[:, 1] * x[:, 2]


def symmetric(seed: int, count: int = 2_000) -> tuple[Array, Array, Array]:
    """Symmetric 3×3 matrices as nine columns; the squared Frobenius norm, antisymmetric gradients at random."""
    rng = np.random.default_rng([seed, 12])
    m = rng.standard_normal((count, 3, 3))
    m = 0.5 * (m + np.swapaxes(m, 1, 2))
    noise = rng.standard_normal((count, 3, 3))
    gradient = 2 * m + 2 * (noise - np.swapaxes(noise, 1, 2))
    return m.reshape(count, 9), gradient.reshape(count, 9), (m**2).sum((1, 2))


def determinant(seed: int, count: int = 2_000) -> tuple[Array, Array, Array]:
    """The same with the sum of the leading 2×2 minor and a trace term: m00 m11 − m01² + m22."""
    rng = np.random.default_rng([seed, 13])
    x, _, _ = symmetric(seed, count)
    gradient = np.zeros_like(x)
    gradient[:, 0], gradient[:, 4], gradient[:, 8] = x[:, 4], x[:, 0], 1.0
    gradient[:, 1] = gradient[:, 3] = -x[:, 1]
    noise = rng.standard_normal((count, 1))
    gradient[:, 1:2] += noise
    gradient[:, 3:4] -= noise
    return x, gradient, x[:, 0] * x[:, 4] - x[:, 1] ** 2 + x[:, 8]


def duplicated(seed: int, count: int = 2_000) -> tuple[Array, Array, Array]:
    """x0 twice: x0² + 2x1² with the gradient shared between the copies at random."""
    rng = np.random.default_rng([seed, 14])
    base = rng.uniform(-1, 1, (count, 2))
    share = rng.uniform(-1, 2, (count, 1))
    gradient = np.column_stack([2 * base[:, :1] * share, 4 * base[:, 1:], 2 * base[:, :1] * (1 - share)])
    return np.column_stack([base, base[:, 0]]), gradient, base[:, 0] ** 2 + 2 * base[:, 1] ** 2


def circle(seed: int, count: int = 4_000) -> tuple[Array, Array, Array]:
    """Points on a cylinder x0² + x1² = 1; T = x0 + x2², with a radial gradient at random."""
    rng = np.random.default_rng([seed, 15])
    angle = rng.uniform(-np.pi, np.pi, count)
    x = np.column_stack([np.cos(angle), np.sin(angle), rng.uniform(-1, 1, count)])
    radial = np.column_stack([x[:, :2], np.zeros(count)])
    gradient = np.column_stack([np.ones(count), np.zeros(count), 2 * x[:, 2]])
    return x, gradient + 2 * rng.standard_normal((count, 1)) * radial, x[:, 0] + x[:, 2] ** 2


TIED = {
    "simplex": simplex,
    "symmetric": symmetric,
    "minor": determinant,
    "duplicated": duplicated,
    "cylinder": circle,
}
