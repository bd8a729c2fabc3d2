"""Leave a model as it was found: mode, gradients, buffers, hooks and random state, also after an interrupt."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluate ``model`` in eval mode with parameters that collect no gradient; on leaving, all is as it was.

    Restored: train/eval of every submodule, ``requires_grad`` and ``grad`` of every parameter, values and identity of
    every buffer, hooks added inside, the random state of Python, NumPy, torch and the model's CUDA devices, the fast
    path of transformer layers. Compiled models run eagerly inside, so that hooks are seen.

    Not for several threads at once: eval mode and hooks are properties of the model itself.
    """
    with ExitStack() as undo:
        # Every snapshot registers its restoration before anything of it is changed.
        for keep in (_keep_random, _keep_modes, _keep_gradients, _keep_buffers, _keep_hooks):
            keep(undo, model)
        undo.enter_context(_eager())
        for module in model.modules():
            module.training = False  # not eval(): some models merge or move weights when it is called
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        yield model


def devices(model: nn.Module) -> set[torch.device]:
    """The devices that hold parameters or buffers of ``model``."""
    return {t.device for tensors in (model.parameters(), model.buffers()) for t in tensors}


def _keep_random(undo: ExitStack, model: nn.Module) -> None:
    undo.callback(random.setstate, random.getstate())
    undo.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 - the global state is what we must restore
    undo.callback(torch.set_rng_state, torch.get_rng_state())
    for device in devices(model):
        if device.type == "cuda":
            undo.callback(torch.cuda.set_rng_state, torch.cuda.get_rng_state(device), device)


def _keep_modes(undo: ExitStack, model: nn.Module) -> None:
    modes = [(module, module.training) for module in model.modules()]

    def restore() -> None:
        for module, training in modes:
            module.training = training

    undo.callback(restore)


def _keep_gradients(undo: ExitStack, model: nn.Module) -> None:
    kept = [(p, p.requires_grad, p.grad) for p in model.parameters()]

    def restore() -> None:
        for parameter, requires_grad, grad in kept:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad

    undo.callback(restore)
    for parameter, _, _ in kept:
        parameter.grad = None  # a forward that calls backward() would add to the user's tensor in place


def _keep_buffers(undo: ExitStack, model: nn.Module) -> None:
    kept = [
        (module, name, buffer, buffer._version if not buffer.is_inference() else -1, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]

    # Buffers that the forward pass makes are taken away again, and those that were None are None again.
    named = [(module, dict(module._buffers)) for module in model.modules()]

    def restore() -> None:
        for module, before in named:
            for name in set(module._buffers) - set(before):
                del module._buffers[name]
                module._non_persistent_buffers_set.discard(name)
            module._buffers.update(before)
        for module, name, buffer, version, copy in kept:
            module._buffers[name] = buffer
            if version < 0 or buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(copy)

    undo.callback(restore)


_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)


def _keep_hooks(undo: ExitStack, model: nn.Module) -> None:
    kept = [
        (table, dict(table))
        for module in model.modules()
        for name in _HOOKS
        if (table := module.__dict__.get(name)) is not None
    ]

    def restore() -> None:
        for table, entries in kept:
            if table.keys() != entries.keys():
                table.clear()
                table.update(entries)

    undo.callback(restore)


@contextmanager
def _eager() -> Iterator[None]:
    """Compiled code is run eagerly (hooks added later are not in it) and fused transformer kernels are off."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _stance(), torch.inference_mode(False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _stance() -> Any:
    # Importing the compiler takes seconds; where nobody has, nothing is compiled.
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return ExitStack()
    return torch.compiler.set_stance("force_eager")
