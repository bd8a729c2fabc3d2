"""The model is left as it was found: after success, an exception, an interrupt, an abandoned loop."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import interpret
from interpret.probing.state import frozen


class Restless(nn.Module):
    """Writes buffers, draws random numbers and runs a backward while it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.drop, self.norm = nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last", torch.zeros(4))
        self.register_buffer("empty", None)
        self.fail: type[BaseException] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        random.random()
        np.random.rand()
        h = self.norm(self.drop(self.fc(x))) + 0 * torch.randn(4)
        self.last = h.detach().mean(0)
        if self.fail is not None:
            raise self.fail("halfway")
        return torch.sin(h)


@pytest.fixture
def model() -> Restless:
    torch.manual_seed(0)
    found = Restless()
    found.norm.eval()
    found.fc.bias.requires_grad_(False)
    found.fc.weight.grad = torch.ones(4, 3)
    found.fc.register_forward_hook(lambda module, args, out: None)
    return found


X = np.random.default_rng(0).normal(size=(7, 3))
READS: dict[str, Callable[[interpret.Probe], Any]] = {
    "values": lambda probe: probe.values(X),
    "gradients": lambda probe: probe.gradients(X),
    "capture": lambda probe: probe.capture(X, ["fc", "norm[0]"]),
    "stream": lambda probe: list(probe.stream(X)),
    "layers": lambda probe: interpret.layers(probe.model, X),
    "expand": lambda probe: interpret.address.expand(probe.model, X, "fc"),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("address", ["fc[0]", "[:]"])
def test_after_success(model: Restless, snapshot: Callable, read: str, address: str) -> None:
    before = snapshot(model)
    READS[read](interpret.Probe(model, address, batch_size=3))
    assert snapshot(model) == before


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_after_an_exception_or_interrupt(model: Restless, snapshot: Callable, read: str, error: type) -> None:
    model.fail = error
    before = snapshot(model)
    expected = interpret.errors.ModelError if issubclass(error, Exception) else error
    with pytest.raises(expected):
        READS[read](interpret.Probe(model, "", batch_size=3))
    assert snapshot(model) == before


def test_after_an_interrupt_in_the_backward(model: Restless, snapshot: Callable) -> None:
    class Interrupted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    model.drop.register_forward_hook(lambda module, args, out: Interrupted.apply(out))
    before = snapshot(model)
    for address in ("[0]", "[:]"):
        with pytest.raises(KeyboardInterrupt):
            interpret.Probe(model, address).gradients(X)
    assert snapshot(model) == before


def test_between_two_batches_and_after_leaving_a_stream(model: Restless, snapshot: Callable) -> None:
    before = snapshot(model)
    for _rows, _ in interpret.Probe(model, "fc[0]", batch_size=2).stream(X):
        assert snapshot(model) == before
        break
    assert snapshot(model) == before


def test_evaluation_is_repeatable_and_does_not_follow_the_global_seed(model: Restless) -> None:
    probe = interpret.Probe(model, "[:]")
    first = probe.values(X)
    torch.manual_seed(5)
    assert torch.equal(first, probe.values(X))


def test_the_users_gradient_is_the_same_tensor_and_was_not_added_to(model: Restless) -> None:
    class Trains(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x)
            with torch.enable_grad():
                weight = self.inner.fc.weight
                weight.requires_grad_(True)
                weight.sum().backward()
            return y

    kept = model.fc.weight.grad
    interpret.Probe(Trains(model), "inner.fc[0]").gradients(X)
    assert model.fc.weight.grad is kept
    assert torch.equal(kept, torch.ones(4, 3))


def test_frozen_is_eval_without_gradients_and_can_be_nested(model: Restless) -> None:
    with frozen(model), frozen(model):
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        model.fc.register_forward_hook(lambda module, args, out: out * 0)
    assert model.training
    assert model.fc.weight.requires_grad
    assert len(model.fc._forward_hooks) == 1


def test_under_no_grad_and_inference_mode(model: Restless) -> None:
    expected = interpret.Probe(model, "[:]").gradients(X)
    with torch.no_grad():
        assert torch.equal(interpret.Probe(model, "[:]").gradients(X), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(interpret.Probe(model, "[:]").gradients(X), expected)
        assert torch.is_inference_mode_enabled()


def test_the_callers_data_is_never_written_to() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))
    for data in (X.astype("float32"), torch.tensor(X, dtype=torch.float32)):
        kept = data.copy() if isinstance(data, np.ndarray) else data.clone()
        probe = interpret.Probe(model, "1[0]")
        probe.values(data), probe.gradients(data), list(probe.batches(data))
        assert (data == kept).all()


def test_what_frozen_protects_is_seen_to_change_without_it(model: Restless, snapshot: Callable) -> None:
    """The tests above can fail: a plain call changes what they compare."""
    before = snapshot(model)
    model(torch.tensor(X, dtype=torch.float32))
    after = snapshot(model)
    assert after[2] != before[2]
    assert after[4] != before[4]
