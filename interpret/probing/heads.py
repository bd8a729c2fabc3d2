"""Attention maps of single heads. ``nn.MultiheadAttention`` returns their mean, or none; here it is asked for all."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


def ask_for_heads(module: nn.Module) -> Callable[[], None]:
    """Let ``module`` return one map per head (N, heads, queries, keys) to hooks registered before this call.

    Whoever called the module gets what it asked for: the mean over heads, or None. Returns what undoes all of it.
    """
    signature = inspect.signature(module.forward)
    asked: list[dict[str, Any]] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        asked.append(dict(bound.arguments))
        bound.arguments |= {"need_weights": True, "average_attn_weights": False}
        return bound.args, bound.kwargs

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        attended, maps = output
        want = asked.pop()
        if not want["need_weights"]:
            return attended, None
        return attended, maps.mean(-3) if want["average_attn_weights"] else maps

    handles = [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    ]

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo
