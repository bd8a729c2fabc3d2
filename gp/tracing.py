"""Find the last affine layer by watching what runs: every torch function of one forward pass, and who feeds whom.

Modules, functional calls and operators look alike from here (``nn.Linear``, ``F.linear``, ``x @ w``), so nothing
depends on how the network is written. The same watch later reads that layer's input (``Watch`` without
replacement) and puts another value in the place of its output, which runs the rest of the network, paths round the
layer included, on the value of our choice.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gp.affine import Call, read


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors inside nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


def _unrolled(function: Any) -> Any:
    """A copy of a composite torch function that runs its body at once, so that the calls inside are seen too."""
    quiet = {
        name: (lambda *_: False)
        for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    }
    copy = types.FunctionType(
        function.__code__,
        {**function.__globals__, **quiet},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


#: Composite functions whose insides hold affine layers.
_COMPOSITES = {F.multi_head_attention_forward: _unrolled(F.multi_head_attention_forward)}


class Watch(TorchFunctionMode):
    """Count affine calls; at number ``ordinal`` keep the call and its output, and replace the output where asked.

    Args:
        ordinal: which affine call, counted from 0 in order of execution; -1 watches none.
        replace: ``replace(call, output) -> tensor`` in the place of that call's output.
        graph: keep what was seen differentiable.

    """

    def __init__(
        self,
        ordinal: int = -1,
        replace: Callable[[Call, torch.Tensor], torch.Tensor] | None = None,
        graph: bool = False,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.ordinal, self.replace, self.seen = ordinal, replace, 0
        self.call: Call | None = None
        self.output: torch.Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _COMPOSITES:
            with self:
                return _COMPOSITES[func](*args, **kwargs)
        result = func(*args, **kwargs)
        call = read(func, args, kwargs)
        if call is not None and isinstance(result, torch.Tensor):
            result = self._affine(call, result)
        self.note(func, args, kwargs, result, call)
        return result

    def note(self, func: Any, args: Any, kwargs: Any, result: Any, call: Call | None) -> None:
        """Called after every function; a recorder overrides nothing else."""

    def _affine(self, call: Call, result: torch.Tensor) -> torch.Tensor:
        here = self.seen == self.ordinal
        self.seen += 1
        if not here:
            return result
        # What follows may work in place: the copies are what the layer saw and gave.
        first, second, seen = (
            t.clone() if self.graph else t.detach().clone() for t in (*call.operands, result)
        )
        self.call, self.output = Call(call.operation, (first, second)), seen
        return result if self.replace is None else self.replace(call, result)


@dataclass(frozen=True)
class Node:
    """One recorded function: which earlier nodes feed it (-1 is the input), and its affine call if it is one."""

    inputs: frozenset[int]
    ordinal: int = -1
    operand: int = -1


class Recorder(Watch):
    """Record who feeds whom, starting from the tensors marked as the input."""

    def __init__(self, sources: Any) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.made_by: dict[int, int] = {}
        self.kept: list[torch.Tensor] = []  # an identity is only an identity while the object lives
        for source in tensors(sources):
            self._mark(source, -1)

    def note(self, func: Any, args: Any, kwargs: Any, result: Any, call: Call | None) -> None:
        """Add the node of one function and mark what it returned or changed in place."""
        inputs = frozenset(self.made_by[id(t)] for t in tensors((args, kwargs)) if id(t) in self.made_by)
        if not inputs:
            return
        ordinal, operand = -1, -1
        if call is not None:
            dependent = [id(t) in self.made_by for t in call.operands]
            if sum(dependent) == 1 and call.operation.usable(dependent.index(True)):
                ordinal, operand = self.seen - 1, dependent.index(True)
        self.nodes.append(Node(inputs, ordinal, operand))
        changed = tensors(result) if result is not None else tensors(args[:1])
        for tensor in changed:
            self._mark(tensor, len(self.nodes) - 1)
        if result is None or getattr(func, "__name__", "").endswith("_"):
            for base in (t._base for t in tensors(args[:1]) if t._base is not None):
                self._mark(base, len(self.nodes) - 1)

    def _mark(self, tensor: torch.Tensor, node: int) -> None:
        self.made_by[id(tensor)] = node
        self.kept.append(tensor)

    def last_affine(self, output: torch.Tensor) -> Node | None:
        """The affine call that runs last among those the output depends on."""
        reached = self._reached(output)
        found = [self.nodes[i] for i in reached if i >= 0 and self.nodes[i].ordinal >= 0]
        return max(found, key=lambda node: node.ordinal) if found else None

    def around(self, output: torch.Tensor, node: Node) -> bool:
        """Whether the input reaches the output by a path that avoids the node."""
        return -1 in self._reached(output, self.nodes.index(node))

    def _reached(self, output: torch.Tensor, without: int | None = None) -> set[int]:
        stack = [self.made_by[id(output)]] if id(output) in self.made_by else []
        seen: set[int] = set()
        while stack:
            index = stack.pop()
            if index in seen or index == without:
                continue
            seen.add(index)
            if index >= 0:
                stack.extend(self.nodes[index].inputs)
        return seen


def first_row(batch: Any, rows: int, index: list[int]) -> Any:
    """The rows ``index`` of a batch of ``rows`` rows, in any structure of tensors."""
    if isinstance(batch, torch.Tensor):
        if batch.ndim == 0 or len(batch) != rows:
            return batch
        return batch[torch.tensor(index, device=batch.device)]
    if isinstance(batch, dict):
        return type(batch)((k, first_row(v, rows, index)) for k, v in batch.items())
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(first_row(v, rows, index) for v in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(first_row(v, rows, index) for v in batch)
    return batch
