"""Every address there is: what ``interpret.layers`` and ``twinscope layers`` list."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from interpret import address as addressing
from interpret.probing import batches as batching
from interpret.probing import places, structure
from interpret.probing.gather import batch_axis, rows_first
from interpret.probing.passes import call, explain_failure
from interpret.probing.state import frozen

if TYPE_CHECKING:
    from interpret.probe import Probe


@dataclass(frozen=True)
class Layer:
    """One place a probe can read.

    Attributes:
        path: its address without index; ``""`` is the model's own output.
        kind: the module's class, or what its output is inside a tuple or dict.
        shape: of its value per example, the batch axis left out; None without data, or when it did not run.
        units: how many units ``expand`` gives; None without data, 0 where the value does not belong to single rows.
        parameters: numbers in the module's own and its submodules' parameters.
        calls: how often one forward pass ran it; None without data, 0 is never.
    """

    path: str
    kind: str
    shape: tuple[int, ...] | None
    units: int | None
    parameters: int
    calls: int | None


class Layers(list[Layer]):
    """A list of layers that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from html import escape

        names = ("path", "kind", "shape", "units", "parameters", "calls")
        head = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in names)
        lines = ""
        for layer in self:
            shape = None if layer.shape is None else " × ".join(map(str, layer.shape)) or "scalar"
            found = (layer.path or "(output)", layer.kind, shape, layer.units, layer.parameters, layer.calls)
            texts = ("–" if value is None else str(value) for value in found)
            shown = (
                "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) for text in texts
            )
            cells = "".join(f'<td style="text-align:left">{escape(text[:200])}</td>' for text in shown)
            lines += f"<tr>{cells}</tr>"
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}</div>'


def layers(model: nn.Module, X: Any = None, **settings: Any) -> Layers:
    """Every place of ``model`` that a probe can read, in order of definition; the model's own output comes last.

    Args:
        model: any module; it is left as it was found.
        X: data in any form that ``interpret.Probe`` takes; its first two rows are run. Without it no shapes.
        settings: further arguments of ``interpret.Probe``, such as ``forward``.
    """
    known = places.modules(model)
    seen = _observe(model, X, known, settings) if X is not None else None
    found = Layers()
    for path, module in known.items():
        if path:
            found += _listed(path, module, None if seen is None else seen[path])
            if isinstance(module, nn.MultiheadAttention):
                found += _heads(path, module, None if seen is None else seen[path])
    found += _listed("", known[""], None if seen is None else seen[""])
    return found


def unit_addresses(model: nn.Module, X: Any, text: str, **settings: Any) -> list[str]:
    """See ``interpret.address.expand``."""
    from interpret.probe import Probe

    address = addressing.parse(text)
    whole = Probe(model, address.place, **settings)
    _, batch = next(whole.batches(X))
    shape = tuple(whole.values(batch).shape[1:])
    if address.index is None and shape:
        place = places.locate(model, address)
        axis = 0 if place.heads else unit_axis(place.module or places.unwrap(model), shape)
        index: list[Any] = [addressing.Reduced()] * len(shape)
        index[axis] = slice(None)
        address = address.with_index(tuple(index))
    items = addressing.settle(address, shape)
    chosen: list[tuple[Any, ...]] = [()]
    for item in items:
        steps = item if isinstance(item, list) else [item]
        chosen = [(*head, step) for head in chosen for step in steps]
    return [address.with_index(_trimmed(index)).text for index in chosen] if shape else [address.text]


def unit_axis(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Which axis of a value (without batch) counts units: channels of images come first, features of sequences last."""
    first = (
        nn.modules.conv._ConvNd,
        nn.modules.batchnorm._NormBase,
        nn.GroupNorm,
        nn.modules.pooling._MaxPoolNd,
    )
    if isinstance(module, first):
        return 0
    last = (
        nn.Linear,
        nn.LayerNorm,
        nn.Embedding,
        nn.RNNBase,
        nn.MultiheadAttention,
        nn.TransformerEncoderLayer,
    )
    return 0 if len(shape) >= 3 and not isinstance(module, last) else len(shape) - 1


def _trimmed(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without ``*`` at the end: trailing axes are reduced anyway."""
    while len(index) > 1 and isinstance(index[-1], addressing.Reduced):
        index = index[:-1]
    return index


@dataclass
class _Seen:
    """What one module returned in a pass over two rows, and the shapes there in a pass over three."""

    calls: int = 0
    output: Any = None
    rows: int = 0
    again: Any = None
    heads: tuple[int, ...] | None = None


def _observe(
    model: nn.Module, X: Any, known: dict[str, nn.Module], settings: dict[str, Any]
) -> dict[str, _Seen]:
    """Run two rows, then three: what every module returned, how often, and which axis follows the rows."""
    from interpret.probe import Probe

    probe = Probe(model, **{**settings, "batch_size": 2})
    _, batch = next(probe.batches(X))
    rows = batching.count(batch)
    order = torch.arange(rows + 1) % rows
    more = structure.mapped(lambda part: part[order.to(part.device)] if part.ndim else part, batch)
    outputs, counts = _outputs(probe, batch, known)
    others, _ = _outputs(probe, more, known)
    attention = [path for path, m in known.items() if isinstance(m, nn.MultiheadAttention) and counts[path]]
    maps = probe.capture(batch, [f"{path}@0.heads" for path in attention]) if attention else {}
    heads = {path: tuple(maps[f"{path}@0.heads"].shape[1:]) for path in attention}
    return {
        path: _Seen(counts[path], outputs.get(path), rows, others.get(path), heads.get(path))
        for path in known
    }


def _outputs(probe: Probe, batch: Any, known: dict[str, nn.Module]) -> tuple[dict[str, Any], dict[str, int]]:
    """Of one pass: the last output of every module, and how often it ran; the forward's own return value under ''."""
    outputs: dict[str, Any] = {}
    counts = dict.fromkeys(known, 0)
    with frozen(probe.model), torch.no_grad(), ExitStack() as undo:
        for path, module in known.items():

            def hook(_: nn.Module, __: Any, output: Any, path: str = path) -> None:
                counts[path], outputs[path] = counts[path] + 1, output

            undo.callback(module.register_forward_hook(hook).remove)
        try:
            outputs[""] = call(probe.model, batch, probe.forward)
        except Exception as error:
            raise explain_failure(probe.model, batch, error) from error
    return outputs, {**counts, "": 1}


def _listed(path: str, module: nn.Module, seen: _Seen | None) -> list[Layer]:
    parameters = sum(p.numel() for p in module.parameters())
    kind = type(module).__name__
    if seen is None or not seen.calls:
        return [Layer(path, kind, None, None, parameters, None if seen is None else 0)]
    parts = list(structure.leaves(seen.output))
    again = {keys: tuple(value.shape) for keys, value in structure.leaves(seen.again)}
    found = []
    for keys, value in parts:
        name = _address(path, keys, module) if len(parts) > 1 else path
        what = f"{kind} → {keys[-1]}" if len(parts) > 1 else kind
        shape = _row_shape(value, seen.rows, again.get(keys, ()))
        units = 0 if shape is None else shape[unit_axis(module, shape)] if shape else 1
        found.append(
            Layer(name, what, tuple(value.shape) if shape is None else shape, units, parameters, seen.calls)
        )
    return found


def _address(path: str, keys: tuple[str, ...], module: nn.Module) -> str:
    """The address of a part of an output; keys are quoted that are no plain name, or the name of a submodule."""
    inside = dict(module.named_modules())
    text = path
    for key in keys:
        plain = re.fullmatch(r"\w+", key) is not None
        if plain and not (text == path and key in inside):
            text = f"{text}.{key}" if text else key
        else:
            text += f"[{addressing.quoted(key)}]"
    return text


def _heads(path: str, module: nn.MultiheadAttention, seen: _Seen | None) -> list[Layer]:
    """The attention maps of single heads, which the module returns only when it is asked to."""
    calls = None if seen is None else seen.calls
    shape = None if seen is None else seen.heads
    units = None if shape is None else module.num_heads
    return [Layer(f"{path}.heads", "MultiheadAttention → heads", shape, units, 0, calls)]


def _row_shape(value: torch.Tensor, rows: int, other: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that belongs to one row; None where no axis follows the rows."""
    axis = batch_axis(tuple(value.shape), rows, lambda _: other)
    return None if axis is None else tuple(rows_first(value, axis, rows).shape[1:])
