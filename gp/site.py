"""The place of the last affine layer in a network: read its features and outputs, put other outputs in their place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from gp.affine import Call
from gp.kernels import double
from gp.mixtures import combine
from gp.tracing import Recorder, Watch, first_row, tensors
from interpret.errors import InterpretError, NotTraceable
from interpret.probe import Probe
from interpret.probing import batches as batching
from interpret.probing import places, structure
from interpret.probing.reading import Values
from interpret.probing.state import frozen


@contextmanager
def exact_products() -> Iterator[None]:
    """TF32 off: it keeps ten bits of a product, and the GP's targets would carry that error."""
    name, exact, switches = _precision()
    before = [(switch, getattr(switch, name)) for switch in switches if getattr(switch, name) != exact]
    try:
        for switch, _ in before:
            setattr(switch, name, exact)
        yield
    finally:
        for switch, value in before:
            setattr(switch, name, value)


def _precision() -> tuple[str, Any, tuple[Any, ...]]:
    """The switches of TF32: torch has flags and, since 2.9, settings; once those are used flags cannot be read."""
    cuda: Any = torch.backends.cuda
    cudnn: Any = torch.backends.cudnn
    try:
        _ = cuda.matmul.allow_tf32, cudnn.allow_tf32
    except RuntimeError:
        return "fp32_precision", "ieee", (cuda.matmul, cudnn.conv, cudnn.rnn)
    return "allow_tf32", False, (cuda.matmul, cudnn)


#: Rows that experiments on the tail want at least, if there are so many.
FEW = 8
#: Parameters up to which a copy of the model in double precision is made.
MOST_PARAMETERS = 2**27


def precise(probe: Probe, batch: Any) -> Probe:
    """The same probe of a copy of the model in double precision, where that runs and says the same; else the probe.

    Single-precision kernels differ in the seventh digit with the size of the batch, so the same example would have
    other features alone than among others, and contributions would not add up to a prediction made elsewhere. The
    copy is also a snapshot: training the network further does not change what was distilled.
    """
    if sum(p.numel() for p in probe.model.parameters()) > MOST_PARAMETERS:
        return probe
    probe = snapshot(probe)
    try:
        other_probe = twin(probe)
        own, other = Runner(probe)(batch).cpu().double(), Runner(other_probe)(_double(batch)).cpu()
    except (InterpretError, RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError):
        return probe  # the model fixes its own types, or cannot be copied
    same = own.shape == other.shape and bool(
        ((own - other).abs().max() <= 1e-3 * own.abs().max() + 1e-30).all()
    )
    return other_probe if same else probe


def snapshot(probe: Probe) -> Probe:
    """The same probe of a copy of the model, so that training the network further leaves alone what was distilled.

    The probe itself where the model is larger than ``MOST_PARAMETERS`` or cannot be copied.
    """
    if sum(p.numel() for p in probe.model.parameters()) > MOST_PARAMETERS:
        return probe
    other = copy.copy(probe)
    try:
        other.model = copy.deepcopy(places.unwrap(probe.model))
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError):
        return probe
    return other


def twin(probe: Probe) -> Probe:
    """The same probe of a copy of the model in double precision."""
    other = copy.copy(probe)
    other.model = copy.deepcopy(places.unwrap(probe.model)).double()
    other.dtype = torch.float64
    return other


def _double(batch: Any) -> Any:
    return structure.mapped(lambda t: t.double() if t.is_floating_point() else t, batch)


class Runner:
    """Run a probe's model on prepared batches, under a watch or not."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.values = Values(probe, [probe.address])
        self.warm = False

    def __call__(self, batch: Any, watch: Watch | None = None) -> torch.Tensor:
        """(n, *out) the probe's values for one batch, as it returns them."""
        with frozen(self.probe.model), exact_products():
            if not self.warm:  # the first run counts calls and finds the batch axis: more than one pass
                self.values(batch)
                self.warm = True
            if watch is None:
                return self.values(batch)[0]
            with watch:
                return self.values(batch)[0]

    def record(self, batch: Any) -> tuple[Recorder, torch.Tensor]:
        """Run under a recorder whose sources are the batch's tensors."""
        self(batch)
        recorder = Recorder(batch)
        return recorder, self(batch, recorder)


@dataclass(frozen=True)
class Layout:
    """Where the examples are among the leading axes of the layer's output, which has ``size`` entries an example there.

    ``minor``: the axis runs over entries first and examples last, as sequence-first layers flatten it.
    """

    axis: int
    size: int
    minor: bool

    def rows_first(self, y: torch.Tensor, rows: int) -> torch.Tensor:
        """(n, *places, last) from (*lead, last)."""
        y = y.movedim(self.axis, 0)
        if self.size == 1:
            return y
        if self.minor:
            return y.reshape(self.size, rows, *y.shape[1:]).movedim(1, 0)
        return y.reshape(rows, self.size, *y.shape[1:])

    def original(self, y: torch.Tensor) -> torch.Tensor:
        """Undo ``rows_first``."""
        if self.size > 1:
            y = y.movedim(0, 1) if self.minor else y
            y = y.reshape(y.shape[0] * y.shape[1], *y.shape[2:])
        return y.movedim(0, self.axis)


@dataclass(frozen=True)
class Site:
    """One affine call of the forward pass. ``channels`` are those the GP is about; None means all."""

    ordinal: int
    operand: int
    layout: Layout
    places: tuple[int, ...]
    count: int
    channel_first: bool
    channels: tuple[int, ...] | None = field(default=None)

    def features(self, call: Call, rows: int) -> torch.Tensor:
        """(n, P, G, D) in the model's own precision."""
        x = call.operation.features(call.operands[self.operand], self.operand)
        groups, width = x.shape[-2:]
        x = self.layout.rows_first(x.reshape(*x.shape[:-2], groups * width), rows)
        return x.reshape(rows, -1, groups, width)

    def latents(self, call: Call, output: torch.Tensor, rows: int) -> torch.Tensor:
        """(n, P, C) the layer's outputs at the chosen channels."""
        y = self._all(call, output, rows)
        return y if self.channels is None else y[..., list(self.channels)]

    def putting(self, latent: torch.Tensor, rows: int) -> Watch:
        """A watch that puts ``latent`` (n, P, C) in the place of the layer's outputs."""

        def replace(call: Call, output: torch.Tensor) -> torch.Tensor:
            whole = latent.to(output)
            if self.channels is not None:
                whole = self._all(call, output, rows).clone()
                whole[..., list(self.channels)] = latent.to(output)
            y = self.layout.original(whole.reshape(rows, *self.places, -1))
            # A copy of its own: what follows may write into it.
            return call.operation.original(y, output, self.operand).reshape(output.shape).contiguous().clone()

        return Watch(self.ordinal, replace)

    def _all(self, call: Call, output: torch.Tensor, rows: int) -> torch.Tensor:
        y = self.layout.rows_first(call.operation.channels_last(output, self.operand), rows)
        return y.reshape(rows, -1, y.shape[-1])


def find(runner: Runner, batch: Any, rows: int) -> tuple[Site, bool]:
    """The site of the last affine layer, and whether the input reaches the output by a path round it.

    Raises:
        NotTraceable: no affine layer leads to the output, or its weights or its rows cannot be told.

    """
    recorder, output = runner.record(batch)
    node = recorder.last_affine(output)
    if node is None:
        raise NotTraceable(
            f"no affine layer leads to {runner.probe.address!r}; kernel='learned' needs none, or address another place"
        )
    around = recorder.around(output, node)
    watch, solo = Watch(node.ordinal), Watch(node.ordinal)
    runner(batch, watch)
    runner(first_row(batch, rows, [0]), solo)
    if watch.call is None or solo.call is None or watch.output is None or solo.output is None:
        raise NotTraceable("the forward pass runs other operations from batch to batch; use kernel='learned'")
    weights = watch.call.operands[1 - node.operand], solo.call.operands[1 - node.operand]
    if weights[0].shape != weights[1].shape or not torch.equal(*weights):
        raise NotTraceable("the last affine layer's weights depend on the batch; use kernel='learned'")
    layout = _layout(watch, solo, node.operand, rows)
    operation = watch.call.operation
    y = layout.rows_first(operation.channels_last(watch.output, node.operand), rows)
    channel_first = type(operation).__name__ == "Convolution"
    return Site(node.ordinal, node.operand, layout, tuple(y.shape[1:-1]), y.shape[-1], channel_first), around


def _layout(watch: Watch, solo: Watch, operand: int, rows: int) -> Layout:
    """Which leading axis holds the examples: that on which the first example alone gives the same output."""
    assert watch.call is not None and solo.call is not None
    assert watch.output is not None and solo.output is not None
    many = double(watch.call.operation.channels_last(watch.output, operand))
    one = double(solo.call.operation.channels_last(solo.output, operand))
    tolerance = 1e-3 * (many.std() + 1e-12)
    for axis in range(many.ndim - 1):
        size = one.shape[axis] if many.ndim == one.ndim else 0
        if not size or many.shape[axis] != rows * size:
            continue
        for minor in (False, True)[: 1 if size == 1 else 2]:
            layout = Layout(axis, size, minor)
            found = layout.rows_first(many, rows)[0]
            alone = layout.rows_first(one, 1)[0]
            if found.shape == alone.shape and (found - alone).abs().max() <= tolerance:
                return layout
    raise NotTraceable(
        "the rows of the batch are not found in the last affine layer's output (examples influence each other, or "
        "are reordered); use kernel='learned'"
    )


def sample(probe: Probe, X: Any, most: int) -> tuple[Any, int]:
    """The first rows of the data as one batch, repeated where they are few, and their number."""
    batch, have = _first(probe, X)
    rows = min(most, have) if have > 2 else 3
    return first_row(batch, have, [i % have for i in range(rows)]), rows


def _first(probe: Probe, X: Any) -> tuple[Any, int]:
    """The first batch and its rows; of a loader that gives few at a time, several batches as one."""
    parts: list[Any] = []
    have = 0
    for _, batch in probe.batches(X):
        parts.append(batch)
        have += batching.count(batch)
        if have >= FEW:
            break
    if len(parts) == 1:
        return parts[0], have
    try:
        return combine(lambda *pieces: torch.cat(pieces), *parts), have
    except RuntimeError:  # padded to lengths of their own, or a part that all rows share
        return max(((p, batching.count(p)) for p in parts), key=lambda part: part[1])


def length(batch: Any) -> int:
    """Rows of a prepared batch."""
    return len(next(tensors(batch)))
