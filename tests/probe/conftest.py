"""What the probe's tests share: a picture of everything about a model that must survive."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def snapshot() -> Callable[[nn.Module], list[Any]]:
    """Hooks, parameters' flags and gradients, state, modes and random state, byte for byte."""

    def take(model: nn.Module) -> list[Any]:
        hooks = [
            (path, name, tuple(table))
            for path, m in model.named_modules()
            for name, table in vars(m).items()
            if name.endswith("_hooks") and table is not None
        ]
        parameters = [
            (name, p.requires_grad, id(p), None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()))
            for name, p in model.named_parameters()
        ]
        state = [
            (name, id(t), t.detach().reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b"")
            for name, t in model.state_dict(keep_vars=True).items()
            if not t.is_meta
        ]
        modes = [(path, m.training) for path, m in model.named_modules()]
        randomness = torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state())
        settings = torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()
        return [hooks, parameters, state, modes, randomness, settings]

    return take
