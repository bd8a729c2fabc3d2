"""The same network with other weights: what an explanation is compared with."""

from __future__ import annotations

import copy

import torch
from torch import nn


def reinitialized(model: nn.Module, seed: int) -> nn.Module:
    """A deep copy of ``model`` whose weights are drawn anew from ``seed``; neither it nor the global state changes.

    Modules draw by their own ``reset_parameters``; parameters of others, and of parametrised ones, are permuted.
    """
    from interpret.probing.state import devices

    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    cuda = [device for device in devices(other) if device.type == "cuda"]
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        torch.manual_seed(seed)
        drawn: set[int] = set()
        for module in other.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset) and not hasattr(module, "parametrizations"):
                reset()
                drawn |= {id(p) for p in module.parameters(recurse=False)}
        for parameter in other.parameters():
            if id(parameter) not in drawn and parameter.numel():
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order.to(parameter.device)].reshape(parameter.shape))
    return other
