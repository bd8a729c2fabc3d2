"""Gradients of what one address holds, batch by batch, by the cheapest way that its graph allows."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from interpret.address import Reduced, parse, settle
from interpret.errors import BadInput, InterpretError, ModelError, UnknownLayer
from interpret.probing import batches as batching
from interpret.probing import jacobian, places, structure
from interpret.probing.filling import Room, fresh
from interpret.probing.gather import take
from interpret.probing.passes import Tap
from interpret.probing.reading import Reader

if TYPE_CHECKING:
    from interpret.probe import Probe


@dataclass
class Traced:
    """One batch after its forward pass: the leaf at ``wrt``, and the units (N, U) that came of it."""

    batch: Any
    leaf: torch.Tensor
    axis: int
    rows: int
    units: torch.Tensor
    entered: torch.Tensor | None
    shape: tuple[int, ...]


class Gradients:
    """(N, *units, *wrt_shape) of one address, for one batch after the other."""

    def __init__(self, probe: Probe, fixed: tuple[int, ...]) -> None:
        self.probe, self.fixed = probe, fixed
        self.reader = Reader(probe)
        self.wrt = parse(probe.wrt)
        self.target = self.reader.tap(parse(probe.address))
        self.target.entry = _is_linear(self.target, probe.reduce)
        self.source = self.reader.tap(self.wrt, leaf=True) if self._is_module() else None
        #: Ways that a check on the first batch, or a failure, has ruled out.
        self.closed: set[str] = set()
        self.way = ""
        #: Rows that fit into one pass, known after the first.
        self.rows: int | None = None
        self.retraced = False

    def __call__(self, batch: Any, room: Room | None = None) -> torch.Tensor:
        """(N, *units, *wrt_shape) of this batch, written into ``room``.

        Raises:
            Unreachable: nothing at ``wrt`` influences the units. ModelError: a backward of the model fails.
        """
        rows = batching.count(batch)
        room = room or fresh(rows, self.probe.device)
        with torch.enable_grad():
            traced = None
            if self.rows is None:
                traced = self._trace(batch)
                self._warn_if_coupled(traced)
                self.rows = jacobian.cost(traced.units, traced.leaf).rows(self.probe.chunk_bytes, rows)
            if rows <= self.rows:
                traced = traced or self._trace(batch)
                result = room((*traced.shape, *self._wrt_shape(traced)), self.reader.dtype(traced.leaf.dtype))
                self._computed(traced, result)
                return result
            del traced
            return self._in_parts(batch, rows, room)

    def _warn_if_coupled(self, traced: Traced) -> None:
        """One backward from the first row: what reaches other rows' inputs would be added to their gradients."""
        if traced.rows < 2:
            return
        try:
            found = jacobian.gradient(traced.units[0], traced.leaf)
        except (RuntimeError, InterpretError):
            return  # whatever it is, the gradient itself meets it too, and says so
        others = self._place(traced, found[None])[1:]
        if bool(((others != 0) & ~others.isnan()).any()):
            warnings.warn(
                f"rows influence each other on the way to {self.probe.address!r} (normalisation over the batch, or "
                f"attention across it), so a row's value and gradient depend on the batch it is in",
                stacklevel=2,
            )

    def _in_parts(self, batch: Any, rows: int, room: Room) -> torch.Tensor:
        """As many rows at a time as fit beside the graph of their forward pass."""
        assert self.rows is not None
        result: torch.Tensor | None = None
        for start in range(0, rows, self.rows):
            part = slice(start, min(start + self.rows, rows))
            traced = self._trace(batching.cut(batch, part))
            if result is None:
                shape = (*traced.shape, *self._wrt_shape(traced))
                result = room(shape, self.reader.dtype(traced.leaf.dtype))
            self._computed(traced, result[part])
        assert result is not None
        return result

    def _computed(self, traced: Traced, result: torch.Tensor) -> None:
        try:
            return self._differentiated(traced, result)
        except RuntimeError as error:
            if self.retraced or "inplace operation" not in str(error):
                raise ModelError(f"a backward pass failed: {str(error).splitlines()[0]}") from error
        # What follows the unit overwrote what its backward needs; from now on the pass stops before that.
        self.retraced = True
        return self._differentiated(self._trace(traced.batch), result)

    def _differentiated(self, traced: Traced, result: torch.Tensor) -> None:
        if traced.shape:
            units = traced.units.shape[1]
            return self._fill(traced, result.view(traced.rows, units, *self._wrt_shape(traced)))
        one = jacobian.gradient(traced.units[:, 0], traced.leaf)[None]
        result.copy_(self._place(traced, one)[:, 0])
        return None

    def _trace(self, batch: Any) -> Traced:
        """Run the batch with a leaf at ``wrt``."""
        rows = batching.count(batch)
        if self.source is not None:
            self.source.dtype = self.reader.dtype(None)
            self.reader.run(batch, [self.source, self.target])
            assert self.source.value is not None
            leaf, axis = self.source.value, self.reader.axis(self.source, batch)
        else:
            keys, value = self._input(batch)
            leaf = value.detach().to(self.reader.dtype(value.dtype), copy=True).requires_grad_()
            self.reader.run(structure.put(batch, keys, leaf.to(value.dtype, copy=True)), [self.target])
            axis = 0
        y = self.reader.arranged(self.target, batch)
        if not y.is_floating_point():
            raise BadInput(f"{self.probe.address!r} holds {y.dtype}; gradients need floating-point values")
        if math.prod(y.shape[1:]) == 0:
            raise BadInput(f"{self.probe.address!r} holds no unit: its shape per row is {list(y.shape[1:])}")
        return Traced(batch, leaf, axis, rows, y.reshape(rows, -1), self.target.entered, tuple(y.shape[1:]))

    def _fill(self, traced: Traced, result: torch.Tensor) -> None:
        """All units, by the cheapest way left; on the first batch the result is checked against plain autograd."""
        cost = jacobian.cost(traced.units, traced.leaf)
        while True:
            first = not self.way
            self.way = self.way or self._cheapest(traced, cost)
            if self.way == "reverse":
                sums = traced.units.sum(0)
                seeds = jacobian.unit_seeds(len(sums), sums)
                self._reverse(traced, sums, seeds, result, cost)
                return
            try:
                self._direct(traced, result) if self.way == "direct" else self._forward(traced, result, cost)
                if not first or jacobian.agrees(
                    traced.units, traced.leaf, lambda g: self._place(traced, g), result
                ):
                    return
            except (RuntimeError, InterpretError):
                pass  # an operation without a forward or batching rule: what plain autograd can do, the next way can
            self.closed.add(self.way)
            self.way = ""

    def _cheapest(self, traced: Traced, cost: jacobian.Cost) -> str:
        """Fewest multiplications, of the ways not ruled out."""
        units, leaf, entered = traced.units.shape[1], traced.leaf, traced.entered
        ways = {"reverse": units * cost.multiplications}
        if traced.units.dtype.itemsize >= 4 and leaf.dtype.itemsize >= 4:
            if traced.axis == 0 and len(leaf) == traced.rows:
                ways["forward"] = math.prod(leaf.shape[1:]) * cost.multiplications
            if entered is not None and entered.requires_grad and len(entered) == traced.rows:
                ways["direct"] = units * jacobian.cost(entered, leaf).multiplications
        return min((way for way in ways if way not in self.closed), key=lambda way: ways[way])

    def _direct(self, traced: Traced, result: torch.Tensor) -> None:
        """Start behind the linear layer: its units' gradients in its input are rows of its weight, for every row."""
        entered, layer = traced.entered, self.target.place.module
        assert entered is not None and isinstance(layer, nn.Linear)
        one = torch.zeros_like(entered[:1]).requires_grad_()
        value = nn.functional.linear(one, layer.weight, layer.bias)
        units = take(value, settle(self.target.address, tuple(value.shape[1:])), self.probe.reduce).reshape(
            -1
        )
        pick = jacobian.unit_seeds(len(units), units)

        def seeds(start: int, stop: int) -> torch.Tensor:
            (found,) = torch.autograd.grad(
                units, one, pick(start, stop), retain_graph=True, is_grads_batched=True
            )
            return found.expand(-1, traced.rows, *found.shape[2:])

        self._reverse(traced, entered, seeds, result, jacobian.cost(entered, traced.leaf))

    def _reverse(
        self,
        traced: Traced,
        outputs: torch.Tensor,
        seeds: jacobian.Seeds,
        result: torch.Tensor,
        cost: jacobian.Cost,
    ) -> None:
        chunk = cost.chunk(self.probe.chunk_bytes, traced.leaf.device)
        jacobian.reverse(outputs, traced.leaf, seeds, lambda grads: self._place(traced, grads), result, chunk)

    def _forward(self, traced: Traced, result: torch.Tensor, cost: jacobian.Cost) -> None:
        """Run the model again on dual numbers, once for every entry of ``wrt``."""
        shape = (traced.rows, traced.units.shape[1], *traced.leaf.shape[1:])
        whole = result if self._is_whole() else result.new_empty(shape)
        kept = _tensor_attributes(self.probe.model)

        def function(primal: torch.Tensor) -> torch.Tensor:
            if self.source is not None:
                self.source.given = primal
                taps, batch = [self.source, self.target], traced.batch
            else:
                keys, value = self._input(traced.batch)
                taps, batch = (
                    [self.target],
                    structure.put(traced.batch, keys, primal.to(value.dtype, copy=True)),
                )
            self.reader.run(batch, taps)
            return self.reader.arranged(self.target, traced.batch).reshape(traced.rows, -1)

        try:
            chunk = cost.chunk(self.probe.chunk_bytes, traced.leaf.device, 4 * jacobian.CACHE_BYTES)
            jacobian.forward(function, traced.leaf, whole, chunk)
        finally:
            _restore_attributes(kept)
            if self.source is not None:
                self.source.given = None
        if whole is not result:
            result.copy_(self._finished(whole))

    def _place(self, traced: Traced, grads: torch.Tensor) -> torch.Tensor:
        """(k, *leaf_shape) as (rows, k, *wrt_shape), declared columns zero and the index of ``wrt`` taken."""
        return self._finished(jacobian.rows_in_front(grads, traced.axis, traced.rows))

    def _finished(self, grads: torch.Tensor) -> torch.Tensor:
        if self._is_whole():
            return grads
        rows, units, *shape = grads.shape
        grads = grads.reshape(rows * units, *shape)
        if self.fixed and self.source is None and not self.wrt.path and shape:
            grads = grads.clone()
            grads[..., list(self.fixed)] = 0
        if self.wrt.index is not None:
            grads = take(grads, settle(self.wrt, tuple(shape), reduce_trailing=False), self.probe.reduce)
        return grads.reshape(rows, units, *grads.shape[1:])

    def _is_whole(self) -> bool:
        return not self.fixed and self.wrt.index is None

    def _wrt_shape(self, traced: Traced) -> tuple[int, ...]:
        """The shape of one unit's gradient in one row."""
        return tuple(self._place(traced, traced.leaf.detach()[None]).shape[2:])

    def _input(self, batch: Any) -> tuple[tuple[str, ...], torch.Tensor]:
        """Keys and tensor of the input that ``wrt`` names."""
        names = tuple(name for name in self.wrt.path.split(".") if name) + self.wrt.keys
        if names[:1] == ("input",) and "input" not in structure.children(batch):
            names = names[1:]
        try:
            keys, part = structure.single(structure.pick(batch, names), names)
        except KeyError as error:
            raise places.unknown(self.wrt, self.reader.known, error.args[0], error.args[1]) from None
        floats = [(k, t) for k, t in structure.leaves(part, keys) if t.is_floating_point()]
        if len(floats) == 1:
            return floats[0]
        if floats:
            listed = ", ".join(repr(".".join(k)) for k, _ in floats)
            raise BadInput(
                f"the model takes {len(floats)} floating-point inputs; say which with wrt=: {listed}"
            )
        tables = [path for path, m in places.modules(self.probe.model).items() if isinstance(m, nn.Embedding)]
        hint = f"; take them in an embedding: wrt={tables[0]!r}" if tables else "; pass floating-point data"
        kinds = ", ".join(sorted({str(t.dtype) for _, t in structure.leaves(part)})) or type(part).__name__
        raise BadInput(f"gradients need a floating-point input; this one is {kinds}{hint}")

    def _is_module(self) -> bool:
        try:
            return bool(places.locate(self.probe.model, self.wrt).path)
        except UnknownLayer:
            return True


def _is_linear(tap: Tap, reduce: str) -> bool:
    """Is the target the output of an unchanged linear layer, read by a linear map?"""
    module, index = tap.place.module, tap.address.index or ()
    plain = isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward and not tap.place.keys
    return plain and (reduce in ("mean", "sum") or not any(isinstance(item, Reduced) for item in index))


def _tensor_attributes(model: nn.Module) -> list[tuple[nn.Module, dict[str, torch.Tensor]]]:
    return [(m, {k: v for k, v in vars(m).items() if isinstance(v, torch.Tensor)}) for m in model.modules()]


def _restore_attributes(kept: list[tuple[nn.Module, dict[str, torch.Tensor]]]) -> None:
    """Dual tensors that a model stored on itself die with the pass; what was there before comes back."""
    for module, before in kept:
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and name in before:
                vars(module)[name] = before[name]
