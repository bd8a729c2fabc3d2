"""Read addresses from a model batch by batch: what the first batch teaches, later ones reuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from interpret.address import Address, parse, settle
from interpret.errors import ModelError
from interpret.probing import batches as batching
from interpret.probing import places, structure
from interpret.probing.gather import batch_axis, rows_first, take
from interpret.probing.passes import Pass, Tap

if TYPE_CHECKING:
    from interpret.probe import Probe


class Reader:
    """Runs a model with taps and arranges what they saw.

    The first batch runs the whole forward pass, which tells how often each module ran and which axis holds the rows;
    later ones stop as soon as everything asked for has been seen.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.known = list(places.modules(probe.model))
        self.home = places.home(probe.model)
        self.whole = True
        self._axes: dict[int, int] = {}

    def tap(self, address: Address, leaf: bool = False) -> Tap:
        """A tap at an address; ``leaf`` taps put a tensor there that collects gradients."""
        return Tap(address, places.locate(self.probe.model, address), leaf)

    def run(self, batch: Any, taps: list[Tap]) -> None:
        """Fill the taps from one batch; see ``interpret.probing.passes.Pass``."""
        for tap in taps:
            call = tap.place.call
            if call is not None and call < 0:  # the last call is known only when the calls have been counted
                with torch.no_grad():
                    counted = self._pass([Tap(tap.address, tap.place)]).count(batch)
                tap.place = replace(
                    tap.place, call=max(counted + call, -1) if counted + call >= 0 else counted
                )
        self._pass(taps).run(batch, self.whole)
        self.whole = False

    def arranged(self, tap: Tap, batch: Any) -> torch.Tensor:
        """What a tap saw, rows first, at its index: (N, *shape)."""
        value = self.rows_first(tap, batch)
        return take(value, settle(tap.address, tuple(value.shape[1:])), self.probe.reduce)

    def rows_first(self, tap: Tap, batch: Any) -> torch.Tensor:
        """What a tap saw with its rows on the first axis."""
        value = tap.value
        assert value is not None
        if value.layout is not torch.strided:
            value = value.to_dense()
        return rows_first(value, self.axis(tap, batch), batching.count(batch))

    def axis(self, tap: Tap, batch: Any) -> int:
        """The axis of the raw value that holds the rows of the batch.

        Raises:
            ModelError: no axis of it follows the rows.
        """
        key = id(tap)
        if key not in self._axes:
            assert tap.value is not None
            rows, shape = batching.count(batch), tuple(tap.value.shape)
            axis = batch_axis(shape, rows, lambda n: self._shape_with(n, tap, batch))
            if axis is None:
                raise ModelError(
                    f"{tap.address.text!r} holds a value of shape {list(shape)}, no axis of which follows the {rows} "
                    f"rows of the batch; address a place whose value belongs to single rows"
                )
            self._axes[key] = axis
        return self._axes[key]

    def returned(self, tensor: torch.Tensor) -> torch.Tensor:
        """``tensor`` on the device and, if it holds floats, in the type that results have."""
        dtype = self.dtype(tensor.dtype) if tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(self.probe.device, dtype)

    def dtype(self, found: torch.dtype | None) -> torch.dtype:
        """The type of results: the one asked for, else the model's, else that of the data; never half precision."""
        dtype = self.probe.dtype or self.home[1] or found or torch.get_default_dtype()
        return torch.float32 if dtype.itemsize < 4 and self.probe.dtype is None else dtype

    def _pass(self, taps: list[Tap]) -> Pass:
        return Pass(self.probe.model, taps, self.probe.forward, self.known)

    def _shape_with(self, rows: int, tap: Tap, batch: Any) -> tuple[int, ...]:
        """The shape there when the batch has ``rows`` rows, to tell its axis from one that is as long by chance."""
        order = torch.arange(rows) % batching.count(batch)
        more = structure.mapped(lambda t: t.detach()[order.to(t.device)] if t.ndim else t, batch)
        again = Tap(tap.address, tap.place)
        with torch.no_grad():
            self._pass([again]).run(more, whole=False)
        assert again.value is not None
        return tuple(again.value.shape)


class Values:
    """Reads the values of several addresses in one pass over the data."""

    def __init__(self, probe: Probe, addresses: Sequence[str]) -> None:
        self.reader = Reader(probe)
        self.taps = [self.reader.tap(parse(text)) for text in addresses]

    def __call__(self, batch: Any) -> list[torch.Tensor]:
        """(N, *shape) for each address."""
        with torch.no_grad():
            self.reader.run(batch, self.taps)
            return [self.reader.returned(self.reader.arranged(tap, batch)) for tap in self.taps]
