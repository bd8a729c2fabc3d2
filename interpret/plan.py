"""How a probe reads one data set: what is known before the first batch, what the first batch teaches, what later ones reuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from interpret import batches as batching
from interpret import jacobian as jacobians
from interpret import places, structure
from interpret.address import Address, parse, settle
from interpret.errors import BadInput, ModelError, UnknownLayer
from interpret.gather import batch_axis, rows_first, take
from interpret.passes import Pass, Tap

if TYPE_CHECKING:
    from interpret.probe import Probe


class Plan:
    """Reads several addresses (values) or one address (gradients) batch by batch.

    The first batch runs the whole forward pass, which tells how often each module ran and which axis holds the rows;
    later ones stop as soon as everything asked for has been seen.
    """

    def __init__(
        self, probe: Probe, addresses: Sequence[str], fixed: tuple[int, ...] = (), gradients: bool = False
    ) -> None:
        self.probe = probe
        self.known = list(places.modules(probe.model))
        self.taps = [self._tap(parse(text)) for text in addresses]
        self.wrt = parse(probe.wrt)
        self.source: Tap | None = None
        self.input_keys: tuple[str, ...] | None = None
        self.fixed = fixed
        self.axes: dict[int, int] = {}
        self.whole = True
        if gradients and self._is_module(self.wrt):
            self.source = self._tap(self.wrt)
            self.source.leaf = True

    def values(self, batch: Any) -> list[torch.Tensor]:
        """(N, *shape) for each address."""
        with torch.no_grad():
            self._run(batch, self.taps)
            return [self._returned(self._arranged(tap, batch)) for tap in self.taps]

    def gradients(self, batch: Any) -> torch.Tensor:
        """(N, *units, *wrt_shape)."""
        with torch.enable_grad():
            leaf, axis, rows = self._trace(batch)
            y = self._arranged(self.taps[0], batch)
            self._differentiable(y)

            def place(grad: torch.Tensor) -> torch.Tensor:
                return self._placed(rows_first(grad, axis, rows))

            if y.ndim == 1:
                return place(jacobians.gradient(y, leaf))
            flat = jacobians.jacobian(y.reshape(rows, -1), leaf, place, self.probe.chunk_bytes)
            return flat.reshape(rows, *y.shape[1:], *flat.shape[2:])

    def _trace(self, batch: Any) -> tuple[torch.Tensor, int, int]:
        """Run the batch with a leaf at ``wrt``: the leaf, the axis of its rows, their number."""
        rows = batching.count(batch)
        if self.source is not None:
            self.source.dtype = self._dtype(None)
            self._run(batch, [self.source, *self.taps])
            assert self.source.value is not None
            return self.source.value, self._axis(self.source, self.source.value, batch), rows
        keys, value = self._input(batch)
        leaf = value.detach().to(self._dtype(value.dtype), copy=True).requires_grad_()
        self._run(structure.put(batch, keys, leaf.to(value.dtype, copy=True)), self.taps)
        return leaf, 0, rows

    def _run(self, batch: Any, taps: list[Tap]) -> None:
        self._count_calls(batch, taps)
        Pass(self.probe.model, taps, self.probe.forward, self.known).run(batch, self.whole)
        self.whole = False

    def _count_calls(self, batch: Any, taps: list[Tap]) -> None:
        """``fc@-1`` is known only when the calls have been counted."""
        for i, tap in enumerate(taps):
            call = tap.place.call
            if call is None or call >= 0:
                continue
            counter = self._tap(Address(tap.address.path, None, tap.address.keys))
            with torch.no_grad():
                counted = Pass(self.probe.model, [counter], self.probe.forward, self.known).count(batch)
            taps[i].place = places.Place(tap.place.path, tap.place.module, counted + call, tap.place.keys)

    def _arranged(self, tap: Tap, batch: Any) -> torch.Tensor:
        """The tapped value, rows first, at its index."""
        value = tap.value
        assert value is not None
        if value.is_sparse or value.layout is torch.sparse_csr:
            value = value.to_dense()
        value = rows_first(value, self._axis(tap, value, batch), batching.count(batch))
        return take(value, settle(tap.address, tuple(value.shape[1:])), self.probe.reduce)

    def _axis(self, tap: Tap, value: torch.Tensor, batch: Any) -> int:
        key = id(tap)
        if key not in self.axes:
            rows, shape = batching.count(batch), tuple(value.shape)
            axis = batch_axis(shape, rows, lambda n: self._shape_with(n, tap, batch))
            if axis is None:
                raise ModelError(
                    f"{tap.address.text!r} holds a value of shape {list(shape)}, no axis of which follows the {rows} "
                    f"rows of the batch; address a place whose value belongs to single rows"
                )
            self.axes[key] = axis
        return self.axes[key]

    def _shape_with(self, rows: int, tap: Tap, batch: Any) -> tuple[int, ...]:
        """The shape there when the batch has ``rows`` rows, to tell a batch axis from one that is as long by chance."""
        order = torch.arange(rows) % batching.count(batch)
        more = structure.mapped(lambda t: t.detach()[order.to(t.device)] if t.ndim else t, batch)
        again = Tap(tap.address, tap.place)
        with torch.no_grad():
            Pass(self.probe.model, [again], self.probe.forward, self.known).run(more, whole=False)
        assert again.value is not None
        return tuple(again.value.shape)

    def _input(self, batch: Any) -> tuple[tuple[str, ...], torch.Tensor]:
        """Keys and tensor of the input that ``wrt`` names."""
        names = tuple(name for name in self.wrt.path.split(".") if name) + self.wrt.keys
        if names[:1] == ("input",) and (
            isinstance(batch, torch.Tensor) or "input" not in structure.children(batch)
        ):
            names = names[1:]
        try:
            keys, part = structure.single(structure.pick(batch, names), names)
        except KeyError as error:
            raise places.unknown(self.wrt, self.known, error.args[0], error.args[1]) from None
        floats = [(k, t) for k, t in structure.leaves(part, keys) if t.is_floating_point()]
        if len(floats) == 1:
            return floats[0]
        if not floats:
            tables = [
                path
                for path, m in places.modules(self.probe.model).items()
                if isinstance(m, torch.nn.Embedding)
            ]
            hint = (
                f"; take them in an embedding: wrt={tables[0]!r}" if tables else "; pass floating-point data"
            )
            kinds = (
                ", ".join(sorted({str(t.dtype) for _, t in structure.leaves(part)})) or type(part).__name__
            )
            raise BadInput(f"gradients need a floating-point input; this one is {kinds}{hint}")
        listed = ", ".join(repr(".".join(k)) for k, _ in floats)
        raise BadInput(f"the model takes {len(floats)} floating-point inputs; say which with wrt=: {listed}")

    def _placed(self, grad: torch.Tensor) -> torch.Tensor:
        """A gradient (N, *wrt_shape) as it is returned: declared columns zero, the index of ``wrt`` taken."""
        if self.fixed and self.source is None and not self.wrt.path and grad.ndim > 1:
            grad[:, list(self.fixed)] = 0
        if self.wrt.index is not None:
            grad = take(
                grad, settle(self.wrt, tuple(grad.shape[1:]), reduce_trailing=False), self.probe.reduce
            )
        return self._returned(grad)

    def _returned(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._dtype(tensor.dtype) if tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(self.probe.device, dtype)

    def _dtype(self, found: torch.dtype | None) -> torch.dtype:
        dtype = self.probe.dtype or places.home(self.probe.model)[1] or found or torch.get_default_dtype()
        return torch.float32 if dtype.itemsize < 4 else dtype

    def _differentiable(self, y: torch.Tensor) -> None:
        if not y.is_floating_point():
            raise BadInput(f"{self.probe.address!r} holds {y.dtype}; gradients need floating-point values")
        if math.prod(y.shape[1:]) == 0:
            raise BadInput(f"{self.probe.address!r} holds no unit: its shape per row is {list(y.shape[1:])}")

    def _tap(self, address: Address) -> Tap:
        return Tap(address, places.locate(self.probe.model, address))

    def _is_module(self, wrt: Address) -> bool:
        try:
            place = places.locate(self.probe.model, wrt)
        except UnknownLayer:
            return True
        return place.path != ""
