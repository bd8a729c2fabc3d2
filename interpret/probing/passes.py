"""One forward pass with taps: read what an address names, put a leaf where gradients are wanted, stop when done."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from interpret.address import Address
from interpret.errors import BadInput, InterpretError, ModelError, NeverRan, RanTwice, WidthMismatch
from interpret.probing import structure
from interpret.probing.heads import ask_for_heads
from interpret.probing.places import Place, modules, select


class _Enough(BaseException):
    """Everything asked for has been seen; a model's ``except Exception`` must not stop it."""


@dataclass
class Tap:
    """One place of interest during a pass.

    ``leaf`` taps replace the value there by a tensor that collects gradients (or by ``given``, which carries a
    tangent); ``entry`` taps also note the module's first argument, in ``entered``.
    """

    address: Address
    place: Place
    leaf: bool = False
    entry: bool = False
    dtype: torch.dtype | None = None
    value: torch.Tensor | None = None
    entered: torch.Tensor | None = None
    given: torch.Tensor | None = None
    calls: int = 0

    @property
    def wanted(self) -> int:
        """The call that is meant."""
        return self.place.call or 0


@dataclass
class Pass:
    """A model with taps. ``run`` executes one batch; afterwards each tap holds its tensor."""

    model: nn.Module
    taps: list[Tap]
    forward: Callable[[nn.Module, Any], Any] | None = None
    known: list[str] = field(default_factory=list)

    def run(self, batch: Any, whole: bool) -> None:
        """One forward pass over ``batch``. ``whole`` runs it to its end, counts calls, and keeps values from being
        changed by in-place modules that follow.

        Raises:
            ModelError, WidthMismatch: the model failed on the batch.
            NeverRan, RanTwice: a tapped module was not called, or several times without a call index.
            UnknownLayer: a key leads nowhere.
        """
        for tap in self.taps:
            tap.value, tap.entered, tap.calls = None, None, 0
        hooked = [tap for tap in self.taps if tap.place.module is not None]
        returned = [
            tap for tap in self.taps if tap.place.module is None and not (tap.leaf and tap.value is not None)
        ]
        early = not whole and not returned
        with ExitStack() as undo:
            for tap in hooked:  # leaves first: a tap on the same module reads what the leaf puts there
                module = tap.place.module
                assert module is not None
                undo.callback(module.register_forward_hook(self._hook(tap, early)).remove)
                if tap.place.heads:
                    undo.callback(ask_for_heads(module))
                if tap.entry:
                    undo.callback(module.register_forward_pre_hook(_enter(tap)).remove)
            try:
                output = call(self.model, batch, self.forward)
            except _Enough:
                return
            except InterpretError:
                raise
            except Exception as error:
                raise explain_failure(self.model, batch, error) from error
        for tap in returned:
            tap.calls = 1
            tap.value = select(tap.place, tap.address, output, self.known)[1]
        self._check(whole)

    def count(self, batch: Any) -> int:
        """How often the module of the only tap runs in one whole pass."""
        (tap,) = self.taps
        tap.calls = 0
        if tap.place.module is None:
            return 1

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tap.calls += 1

        handle = tap.place.module.register_forward_hook(hook)
        try:
            call(self.model, batch, self.forward)
        finally:
            handle.remove()
        return tap.calls

    def _hook(self, tap: Tap, early: bool) -> Callable:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            tap.calls += 1
            if tap.calls - 1 != tap.wanted:
                return None
            keys, value = select(tap.place, tap.address, output, self.known)
            if tap.leaf:
                tap.value = _leaf(value, tap)
                output = structure.put(output, keys, tap.value.to(value.dtype, copy=True))
            else:
                tap.value = value
                if early and all(t.value is not None for t in self.taps):
                    raise _Enough
                output = structure.put(output, keys, value.clone())  # what follows may work in place
            return output

        return hook

    def _check(self, whole: bool) -> None:
        for tap in self.taps:
            if tap.value is None:
                raise never_ran(tap)
            if whole and tap.place.module is not None and tap.place.call is None and tap.calls > 1:
                place = tap.address.place
                raise RanTwice(
                    f"{place!r} ran {tap.calls} times in one forward pass; say which call: "
                    f"{place}@0 is the first, {place}@{tap.calls - 1} the last"
                )


def _enter(tap: Tap) -> Callable:
    def hook(module: nn.Module, args: Any) -> None:
        if tap.calls == tap.wanted and args and isinstance(args[0], torch.Tensor):
            tap.entered = args[0].clone()  # what follows may work in place

    return hook


def call(model: nn.Module, batch: Any, forward: Callable[[nn.Module, Any], Any] | None) -> Any:
    """The model's output: tuples are positional arguments, dicts keyword arguments, unless ``forward`` is given."""
    if forward is not None:
        return forward(model, batch)
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


def never_ran(tap: Tap) -> NeverRan:
    """Why a tap saw nothing, and what to do."""
    if tap.calls:
        return NeverRan(
            f"{tap.address.place!r}: the module ran {tap.calls} times; the first call is @0, the last @{tap.calls - 1}"
        )
    kind = type(tap.place.module).__name__
    hint = "its weights may be used without calling it; address the module around it"
    return NeverRan(
        f"{tap.address.place!r} ({kind}) did not run in the forward pass; {hint}, or another path of the model"
    )


def _leaf(value: torch.Tensor, tap: Tap) -> torch.Tensor:
    if tap.given is not None:
        return tap.given
    if not value.is_floating_point():
        raise BadInput(f"gradients need floating-point values; {tap.address.text!r} holds {value.dtype}")
    return value.detach().to(tap.dtype or value.dtype, copy=True).requires_grad_()


_WIDTH = re.compile(
    r"cannot be multiplied|to have \d+ channels|normalized_shape|must be equal to|size mismatch|"
    r"must match the size|expected .* features|running_mean should contain|embed|expected to be of size",
    re.IGNORECASE,
)


def explain_failure(model: nn.Module, batch: Any, error: Exception) -> InterpretError:
    """A named error for an exception that the model's own code raised: where, on which shapes, and what to do."""
    shapes = ", ".join(
        f"{'.'.join(k) or 'input'} {list(t.shape)} {t.dtype}" for k, t in structure.leaves(batch)
    )
    where, module = _failing(model, error)
    text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
    at = f"in {where!r} ({type(module).__name__}) " if module is not None else ""
    if isinstance(error, RuntimeError | ValueError) and _WIDTH.search(str(error)):
        wants = next(
            (getattr(module, n) for n in ("in_features", "in_channels", "input_size") if hasattr(module, n)),
            None,
        )
        need = f"; {where!r} takes {wants} features" if wants else ""
        if wants:
            advice = "give the model's own inputs only: drop other columns, or name the label column as such"
            return WidthMismatch(f"the data does not fit the model{need}, the batch is {shapes}; {advice}")
        return WidthMismatch(f"the data does not fit the model{need}, the batch is {shapes} ({at}{text})")
    if isinstance(error, IndexError) and isinstance(module, nn.Embedding):
        return BadInput(
            f"a token is outside the vocabulary of {where!r} (0 to {module.num_embeddings - 1}); the batch is {shapes}"
        )
    if "out of memory" in str(error).lower():
        return ModelError(f"out of memory {at}on a batch {shapes}; pass a smaller batch_size")
    if re.search(r"\b(Int|Long|Bool|Byte|Char|Short)\b", str(error)):
        text += "; the data is of integer type where the model wants floats, or the reverse"
    return ModelError(f"the model failed {at}on a batch {shapes}: {text}")


def _failing(model: nn.Module, error: Exception) -> tuple[str, nn.Module | None]:
    """The innermost module of ``model`` whose forward was running."""
    paths = {id(module): path for path, module in reversed(modules(model).items())}
    found: tuple[str, nn.Module | None] = ("", None)
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in paths:
            found = (paths[id(owner)], owner)
        trace = trace.tb_next
    return found
