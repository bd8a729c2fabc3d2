"""GPEX's own code, unchanged, from a checkout of it: the callbacks it asks for, and the packages it imports but does
not use here replaced by empty ones.
"""

from __future__ import annotations

import contextlib
import io
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from benchmarks.gp_fidelity import Method, Task

#: Features of each head and rows of a minibatch, as in its notebook.
WIDTH, BATCH = 20, 8
#: What its module imports and never calls in this use.
UNUSED = {
    "skimage": (),
    "skimage.filters": ("threshold_otsu",),
    "torchvision": (),
    "torchvision.models": (),
    "scipy.ndimage.interpolation": ("map_coordinates",),
    "scipy.ndimage.filters": ("gaussian_filter",),
}


def gpex(task: Task, checkout: Path, steps: int) -> Method:
    """Train its kernel module for ``steps`` minibatches and predict with its own test-time forward."""
    from benchmarks.gp_fidelity import Method

    module = _imported(checkout)
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        host = Host(task)
        made = module.GPEXModule(
            module_rawmodule=host,
            size_recurringdataset=len(task.split.X),
            device=torch.device("cpu"),
            func_mainmodule_to_moduletobecomeGP=lambda m: m.target,
            func_feed_noise_minibatch=host.feed_mixture,
            func_feed_inducing_minibatch=host.feed_inducing,
            func_feed_nonrecurring_minibatch=host.feed_mixture,
            func_feed_test_minibatch=host.feed_mixture,
            func_get_indices_lastrecurringinstances=lambda: host.last,
            func_get_modulef1=lambda: host.kernel,
        )
        made.init_UV()
        optimizer = torch.optim.Adam(host.kernel.parameters(), 1e-3)
        for step in range(steps):
            if step % 1000 == 0:
                made.renew_precomputed_XTX()
            optimizer.zero_grad()
            made.getcost_GPmatchNN().backward()
            optimizer.step()
            with torch.no_grad():
                made.update_U()
        made.initU_from_kernelmappings()
        made.renew_precomputed_XTX()
        made.eval()

    def forward(X: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        mean, _, similarity = made.testingtime_forward(torch.from_numpy(X))
        return mean[..., 0, 0].numpy(), similarity

    def alpha() -> torch.Tensor:
        with torch.no_grad():
            inverse = made.module_matmulxxtplussigma2.forward
            groups = enumerate(made._list_rngkernels)
            return torch.stack(
                [inverse(made.GP_X[:, a:b], made.GP_Y[:, i : i + 1])[:, 0] for i, (a, b) in groups]
            )

    weights = alpha()

    def contributions(X: np.ndarray, head: np.ndarray) -> np.ndarray:
        _, similarity = forward(X)
        return (similarity[head, torch.arange(len(X))] * weights[head]).double().numpy()

    return Method(lambda X: forward(X)[0].astype(np.float64), contributions, np.arange(len(task.split.X)))


class Target(nn.Module):
    """The submodule to be explained, as GPEX wants it: a module from inputs to (N, L)."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._probe = task.probe

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs, flat."""
        return self._probe.values(x).reshape(len(x), -1).float()


class Kernel(nn.Module):
    """Per-head features of unit length from the raw inputs: a small network with leaky rectifiers, as it advises."""

    def __init__(self, shape: tuple[int, ...], heads: int) -> None:
        super().__init__()
        if len(shape) == 3:
            body: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1), nn.LeakyReLU(), nn.MaxPool2d(2)]
            body += [
                nn.Conv2d(16, 32, 3, padding=1),
                nn.LeakyReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(128, 128),
            ]
        else:
            body = [nn.Linear(shape[0], 64), nn.LeakyReLU(), nn.Linear(64, 128)]
        self.body = nn.Sequential(*body, nn.LeakyReLU(), nn.Linear(128, heads * WIDTH), nn.LeakyReLU())
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, heads · WIDTH, 1, 1)."""
        u = self.body(x).reshape(len(x), self.heads, WIDTH)
        return nn.functional.normalize(u, dim=-1).reshape(len(x), -1, 1, 1)


class Host(nn.Module):
    """The main module with the callbacks that feed minibatches."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.X = torch.from_numpy(task.split.X)
        self.target = Target(task)
        self.kernel = Kernel(tuple(self.X.shape[1:]), self.target(self.X[:2]).shape[1])
        self.last: list[int] = []
        self.at = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Whatever the target has been replaced by."""
        return self.target(x)

    def feed_inducing(self) -> torch.Tensor:
        """The next training rows in order; their indices are set before the forward pass."""
        self.last = [i % len(self.X) for i in range(self.at, min(self.at + BATCH, len(self.X)))]
        self.at = (self.at + BATCH) % len(self.X) if self.at + BATCH < len(self.X) else 0
        return self(self.X[self.last])

    def feed_mixture(self) -> torch.Tensor:
        """λx + (1 − λ)x' plus noise, λ in [−1, 2]."""
        x, other = (self.X[torch.randint(len(self.X), (BATCH,))] for _ in range(2))
        share = torch.rand(BATCH, *[1] * (x.ndim - 1)) * 3 - 1
        return self(share * x + (1 - share) * other + 0.1 * torch.randn_like(x))


def _imported(checkout: Path) -> Any:
    if not (checkout / "gpex" / "gpexmodule.py").is_file():
        raise SystemExit(f"{checkout} is no checkout of GPEX: it has no gpex/gpexmodule.py")
    with _stood_in(), _on_path(checkout):
        import gpex.gpexmodule as module
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _stood_in() -> Iterator[None]:
    """Empty modules for what cannot be imported, while GPEX is."""
    added = []
    for name, members in UNUSED.items():
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = types.ModuleType(name)
            for member in members:
                setattr(sys.modules[name], member, None)
            added.append(name)
    for name in added:
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
