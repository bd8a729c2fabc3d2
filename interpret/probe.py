"""Values and input gradients of any neuron or layer of any PyTorch module, in batches, with nothing left behind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from interpret import address as addressing
from interpret.errors import UsageError
from interpret.probing import batches as batching
from interpret.probing import places
from interpret.probing.derivatives import Gradients
from interpret.probing.filling import Filled
from interpret.probing.gather import REDUCTIONS
from interpret.probing.inventory import Layer, layers
from interpret.probing.reading import Values
from interpret.probing.state import frozen

__all__ = ["Layer", "Probe", "layers"]

#: Gradients of a whole layer are computed in pieces whose intermediate tensors take about this many bytes.
CHUNK_BYTES = 256 * 2**20


class Probe:
    """One place of a model: its values and its gradients with respect to another place.

    Args:
        model: any ``nn.Module``, on any device, of any precision, compiled or not. It is left as it was found.
        address: what is read: ``"fc2[3]"``, ``"conv[5]"``, ``"lstm.0[-1, 4]"``, ``"fc2[:]"``, ``""`` (the output).
        wrt: where gradients are taken: ``""`` is the model's input (its only float input), the key of one input of
            several (``"1"`` of a tuple, ``"x"`` of a dict; ``"input.x"`` if a module has that name), or a module's
            path. An index takes part of it: ``"[0:5]"`` the first five columns.
        reduce: how axes that the index does not cover become one number: "mean", "sum", "max", "min" or "norm".
        forward: ``forward(model, batch)`` where calling the model takes more than ``model(batch)``.
        batch_size: rows per forward pass.
        device: where results are returned; None is the CPU. Computation happens where the model is.
        dtype: of the results; None is the model's, and float32 for half precision.
        chunk_bytes: bound on the intermediate tensors of a gradient pass over many units.

    Raises:
        UsageError: a setting is of no use, such as a ``reduce`` that there is not.
        AddressError: the address does not parse.
        UnknownLayer: the model has no such place.
    """

    def __init__(
        self,
        model: nn.Module,
        address: str = "",
        wrt: str = "",
        reduce: str = "mean",
        forward: Callable[[nn.Module, Any], Any] | None = None,
        batch_size: int = 1024,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise UsageError(f"a probe takes a torch.nn.Module; got {type(model).__name__}")
        if reduce not in REDUCTIONS:
            raise UsageError(f"reduce is one of {', '.join(REDUCTIONS)}; got {reduce!r:.40}")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size is a positive integer; got {batch_size!r:.40}")
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise UsageError(f"dtype is a floating-point torch dtype; got {dtype!r:.40}")
        self.model, self.reduce, self.forward, self.batch_size = model, reduce, forward, batch_size
        self.address, self.wrt = str(addressing.parse(address).text), str(addressing.parse(wrt).text)
        self.device, self.dtype, self.chunk_bytes = torch.device(device or "cpu"), dtype, chunk_bytes
        places.locate(model, addressing.parse(address))

    def at(self, address: str) -> Probe:
        """A probe with the same model and settings at another address."""
        return self._like(self.model, address)

    def reinitialized(self, seed: int) -> Probe:
        """A probe of a deep copy whose weights are drawn anew: the control that a real explanation must beat.

        Every module's own ``reset_parameters`` draws; other parameters are permuted. The model itself and the global
        random state are not touched.
        """
        from interpret.probing.control import reinitialized

        return self._like(reinitialized(self.model, seed), self.address)

    def values(self, X: Any) -> torch.Tensor:
        """What the address holds: (N,) for a unit, (N, *shape) for a layer or slice."""
        return self._collect(X, "values")

    def gradients(self, X: Any) -> torch.Tensor:
        """Each row's gradient in that row's ``wrt``: (N, *wrt_shape) of a unit, (N, *units, *wrt_shape) of more.

        Rows are taken to be independent of each other, as they are in eval mode. Columns declared categorical or
        boolean (``interpret.data.Data``, or by a DataFrame's types) have no derivative; 0 stands there.

        Raises:
            Unreachable: nothing at ``wrt`` influences the address.
            BadInput: ``wrt`` is of integer type, as token ids are; name an embedding instead.
        """
        return self._collect(X, "gradients")

    def capture(self, X: Any, paths: Sequence[str]) -> dict[str, torch.Tensor]:
        """The values at several addresses from one pass over the data: ``{path: (N, *shape)}``.

        Args:
            X: (N, *input) data, as for ``values``.
            paths: addresses; one may be given without a list.
        """
        paths = [paths] if isinstance(paths, str) else list(paths)
        read = Values(self, paths)
        parts = {path: Filled(batching.rows_of(X), self.device) for path in paths}
        with frozen(self.model):
            for rows, batch in self.batches(X):
                for path, tensor in zip(paths, read(batch), strict=True):
                    parts[path].add(rows, tensor)
        return {path: filled.tensor for path, filled in parts.items()}

    def stream(self, X: Any, what: str = "gradients") -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield ``(rows, tensor)`` batch by batch, for data larger than memory.

        ``rows`` is a slice; ``tensor`` is ``gradients`` or ``values`` of these rows, (n, *shape).
        Between two batches the model is as it was found, so a loop may be left at any time.

        Args:
            X: (N, *input) data, or what yields batches of it.
            what: "gradients" or "values".

        Raises:
            UsageError: ``what`` is neither.
        """
        if what not in ("gradients", "values"):
            raise UsageError(f"what is 'gradients' or 'values'; got {what!r:.40}")
        values, gradients = self._readers(X, what)
        batches = self.batches(X)
        while True:
            with frozen(self.model):  # a loader that shuffles draws when it is asked for the next batch
                rows, batch = next(batches, (None, None))
                if rows is None:
                    return
                tensor = gradients(batch) if gradients else values(batch)[0]
            yield rows, tensor

    def batches(self, X: Any) -> Iterator[tuple[slice, Any]]:
        """Yield ``(rows, batch)``: a slice and the tensors of those rows as the model takes them, on its device."""
        device, dtype = places.home(self.model)
        model = None if self.forward else places.unwrap(self.model)
        for rows, batch in batching.batches(X, self.batch_size, model):
            yield rows, batching.prepared(batch, device, dtype, rows.start)

    def _collect(self, X: Any, what: str) -> torch.Tensor:
        values, gradients = self._readers(X, what)
        filled = Filled(batching.rows_of(X), self.device)
        with frozen(self.model):
            for rows, batch in self.batches(X):
                if gradients:
                    gradients(batch, filled.room(rows))
                else:
                    filled.add(rows, values(batch)[0])
        return filled.tensor

    def _readers(self, X: Any, what: str) -> tuple[Values, Gradients | None]:
        gradients = Gradients(self, batching.fixed_columns(X)) if what == "gradients" else None
        return Values(self, [self.address]), gradients

    def _like(self, model: nn.Module, address: str) -> Probe:
        other = copy.copy(self)
        other.model, other.address = model, addressing.parse(address).text
        places.locate(model, addressing.parse(address))
        return other

    def __repr__(self) -> str:
        wrt = f", wrt={self.wrt!r}" if self.wrt else ""
        return f"Probe({type(places.unwrap(self.model)).__name__}, {self.address!r}{wrt})"
