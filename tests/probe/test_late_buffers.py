"""Buffers made during the forward pass, and output keys that are no plain names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import interpret


class Lazy(nn.Module):
    """Fills one buffer and registers another when it first runs; one output key is a submodule's name."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 6)
        self.o = nn.Linear(6, 2)
        self.register_buffer("scale", None)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if self.scale is None:
            self.scale = torch.ones(6)
            self.register_buffer("late", torch.ones(1))
        h = self.fc(x) * self.scale
        return {"o": self.o(h) * 10, "z": h, "k.k": h}


def test_lazily_made_buffers_are_taken_away() -> None:
    model, X = Lazy(), torch.randn(8, 3)
    interpret.Probe(model, "fc[0]").gradients(X)
    assert list(model.state_dict()) == ["fc.weight", "fc.bias", "o.weight", "o.bias"]
    assert dict(model._buffers) == {"scale": None}


def test_every_listed_address_is_one_place() -> None:
    model, X = Lazy(), torch.randn(8, 3)
    paths = [layer.path for layer in interpret.layers(model, X)]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert interpret.Probe(model, path).values(X).shape[0] == 8
    ten = interpret.Probe(model, '["o"]').values(X)
    assert torch.allclose(ten, 10 * interpret.Probe(model, "o").values(X))
