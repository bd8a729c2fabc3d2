"""What an address means for a model: which module, which of its calls, which part of its output."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from interpret.address import Address
from interpret.errors import ModelError, UnknownLayer
from interpret.probing import structure


@dataclass(frozen=True)
class Place:
    """A module (None: the return value of the whole forward pass), a call of it and keys into its output.

    ``heads``: the attention maps of ``nn.MultiheadAttention``, one per head, are asked of it.
    """

    path: str
    module: nn.Module | None
    call: int | None
    keys: tuple[str, ...]
    heads: bool = False


def unwrap(model: nn.Module) -> nn.Module:
    """The model behind ``torch.compile``."""
    inner = getattr(model, "_orig_mod", None)
    return unwrap(inner) if isinstance(inner, nn.Module) else model


def modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by dotted path, compiled wrappers left out; shared modules under each of their names."""
    found: dict[str, nn.Module] = {}
    for path, module in unwrap(model).named_modules(remove_duplicate=False):
        names = path.split(".")
        if names[-1] != "_orig_mod":
            found[".".join(name for name in names if name != "_orig_mod")] = unwrap(module)
    return found


def locate(model: nn.Module, address: Address) -> Place:
    """Split the path into a module's path and keys into its output: the longest module path wins.

    Raises:
        UnknownLayer: a name leads to no module, and what precedes it returns a single tensor.
    """
    known = modules(model)
    names = [name for name in address.path.split(".") if name and name != "_orig_mod"]
    cut = len(names)
    while cut and ".".join(names[:cut]) not in known:
        cut -= 1
    path, keys = ".".join(names[:cut]), (*names[cut:], *address.keys)
    module = known[path]
    if keys[:1] == ("heads",) and isinstance(module, nn.MultiheadAttention):
        return Place(path, module, address.call, ("1", *keys[1:]), heads=True)
    if keys and _returns_tensor(module):
        raise unknown(address, known, keys[0])
    return Place(path, module if path or address.call is not None else None, address.call, keys)


def select(
    place: Place, address: Address, output: Any, known: Iterable[str] = ()
) -> tuple[tuple[str, ...], torch.Tensor]:
    """The tensor that ``place`` names inside ``output``, and the full keys to it.

    Raises:
        UnknownLayer: a key leads nowhere.
        ModelError: there is no tensor, or there are several and the address does not say which.
    """
    try:
        part = structure.pick(output, place.keys)
    except KeyError as error:
        raise unknown(address, known, error.args[0], error.args[1]) from None
    keys, value = structure.single(part, place.keys)
    if isinstance(value, torch.Tensor):
        return keys, value
    inside = [".".join(k) for k, _ in structure.leaves(value, place.keys)]
    where = f"{address.text!r}" if address.text else "the model's output"
    if not inside:
        raise ModelError(f"{where} holds no tensor but {_kind(value)}; address another module or key")
    if isinstance(value, tuple) and isinstance(structure.children(value).get("0"), torch.Tensor):
        return (*keys, "0"), value[
            0
        ]  # (output, state) of recurrent and attention layers: the output is meant
    raise ModelError(
        f"{where} holds {len(inside)} tensors ({_kind(value)}); say which: {', '.join(inside[:8])}"
        + (" …" if len(inside) > 8 else "")
    )


def unknown(
    address: Address, known: Iterable[str], name: str, keys: tuple[str, ...] | None = None
) -> UnknownLayer:
    """The error for a name that leads nowhere, with the nearest names there are."""
    known = [path for path in known if path]
    near = difflib.get_close_matches(address.path, known, n=5, cutoff=0.5) or _by_last_name(
        address.path, known
    )
    names = f"nearest names: {', '.join(near)}" if near else f"there are: {_some(known)}"
    inside = f"; the output there has the keys {_some(keys)}" if keys else ""
    return UnknownLayer(
        f"no module or output {address.path or address.text!r} ({name!r} leads nowhere); {names}{inside}"
    )


def _by_last_name(path: str, known: list[str]) -> list[str]:
    last = path.split(".")[-1]
    ends = {k.split(".")[-1]: k for k in reversed(known)}
    return [ends[n] for n in difflib.get_close_matches(last, list(ends), n=5, cutoff=0.5)]


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return (", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")) or "none"


def _returns_tensor(module: nn.Module) -> bool:
    kinds = (
        nn.Linear,
        nn.modules.conv._ConvNd,
        nn.modules.batchnorm._NormBase,
        nn.LayerNorm,
        nn.ReLU,
        nn.Embedding,
        nn.Dropout,
    )
    return isinstance(module, kinds) and type(module).__module__.startswith("torch.nn.")


def _kind(value: Any) -> str:
    parts = structure.children(value)
    return type(value).__name__ + (f" with {', '.join(list(parts)[:6])}" if parts else "")


def home(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Where the model takes its inputs, and in which floating type (None: it has no parameters, any will do)."""
    first: torch.Tensor | None = None
    if any(type(module).__module__.startswith("torch.ao.nn") for module in unwrap(model).modules()):
        return torch.device("cpu"), torch.float32  # quantised layers pack their weights and take float32
    for tensor in (*unwrap(model).parameters(), *unwrap(model).buffers()):
        if is_lazy(tensor):
            raise ModelError(
                "the model has lazy parameters whose shape is not known yet; run it once on data first"
            )
        if tensor.is_meta:
            raise ModelError("the model is on the meta device and has no values; load its weights first")
        first = tensor if first is None else first
        if tensor.is_floating_point():
            return first.device, tensor.dtype
    return (first.device if first is not None else torch.device("cpu")), None
