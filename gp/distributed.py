"""A GP over rows that are spread over processes: each sums its own, one all-reduce, the same posterior everywhere.

Run under ``torchrun`` with a process group of any backend (gloo, nccl). Every process passes its own rows, however many
or none; the sums about one common shift are added in float64, so the result equals that of one process with all the
rows to rounding. What is taken from a sample (noise chosen on the frontier, amplitude) is the same as well as long as
each process has at most 8,192 rows, of which the sample is all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gp.arrays import ArrayMap, source
from gp.conditioning import Pass, calibrated, gather, settle
from gp.distillation import Distillation
from gp.distilling import check, kernel_of, refuse_constant
from gp.frontier import Sample
from gp.kernels import FeatureMap, Heads, Options, kernel_module
from gp.posterior import condition, needs_refining
from gp.processes import device, elsewhere, exchanged, running, sent, together
from gp.rows import Gone, RowBlock
from gp.sums import Sums
from interpret.errors import TooFewPoints, UsageError
from interpret.probe import Probe
from interpret.probing.hashing import model_hash

Blocks = Callable[[], Iterator[RowBlock]]
_SUMMED = ("sum_h", "gram", "cross", "sum_v", "square_v")


def all_reduced(sums: Sums, group: Any = None, source: int = 0) -> Sums:
    """The sums over the rows of all processes, equal on each of them.

    Args:
        sums: of this process's rows, about any shift; groups, features and channels as everywhere. A process without
            rows passes zeros and the count 0.
        group: the process group; None is the default one.
        source: the rank in the group whose shift is taken: one with rows.

    Raises:
        UsageError: there is no process group, or the processes' sums differ in shape.

    """
    running()
    shapes = exchanged((tuple(sums.gram.shape), sums.cross.shape[2]), group)
    if len(set(shapes)) > 1:
        raise UsageError("the processes have sums of different shapes; they must distil the same place")
    at, home = device(group), sums.gram.device
    shift_h, shift_v = sums.shift_h.to(at).clone(), sums.shift_v.to(at).clone()
    first = dist.get_global_rank(group, source) if group is not None else source
    dist.broadcast(shift_h, first, group)
    dist.broadcast(shift_v, first, group)
    moved = sums.about(shift_h.to(home), shift_v.to(home))
    count = torch.tensor([moved.count], dtype=torch.int64, device=at)
    dist.all_reduce(count, group=group)
    whole = _added([getattr(moved, name) for name in _SUMMED], group)
    return replace(moved, count=int(count), **dict(zip(_SUMMED, whole, strict=True)))


def distill(
    model_or_probe: nn.Module | Probe,
    X: Any,
    kernel: str = "activation",
    noise: float | str = "auto",
    seed: int = 0,
    group: Any = None,
    **options: Any,
) -> Distillation:
    """``gp.distill`` over the rows of all processes; ``X`` are this process's own, perhaps none.

    The feature map is made by the first process that has rows and sent to the others, so a learned kernel is trained on
    that process's rows and conditioned on all. Training rows stay where they are: the result predicts and saves
    (``rows=False``), and says so when asked for neighbors.

    Raises:
        UsageError: there is no process group, or another process failed; the message holds its error.
        TooFewPoints: fewer than two rows in all.

    """
    running()
    probe = model_or_probe if isinstance(model_or_probe, Probe) else Probe(model_or_probe, "")
    together(lambda: check(None, seed), group)
    chosen, builder = _shared(kernel, probe, X, Options(seed, options), group)

    def blocks() -> Iterator[RowBlock]:
        for block in chosen.blocks(X):
            yield RowBlock(block.rows, block.features, block.targets)

    made, counts = _gathered(blocks, chosen.center, group)
    refuse_constant(made.sums, probe.address)
    level: Any = noise
    if chosen.noise is not None and noise == "auto":  # a share of the rows the map was made from
        level = torch.from_numpy(np.asarray(chosen.noise)) * (made.examples / counts[builder])
    return replace(
        _distillation(made, chosen, level, seed, blocks, group),
        X=X,
        model_hash=model_hash(probe.model),
        tail=getattr(chosen, "function", None),
        ndim=getattr(X, "ndim", None),
    )


def fit_features(
    U: Any,
    V: Any = None,
    noise: float | str = "auto",
    center: bool = True,
    metric: str = "half",
    seed: int = 0,
    group: Any = None,
) -> Distillation:
    """``gp.fit_features`` over the rows of all processes; ``U`` and ``V`` are this process's own, perhaps none.

    Raises:
        UsageError: there is no process group, or another process failed; the message holds its error.
        TooFewPoints: fewer than two rows in all.

    """
    running()
    rows = together(lambda: source(U, V), group)
    made, _ = _gathered(rows.blocks, center, group)
    shape = () if np.ndim(V) == 1 and hasattr(V, "shape") else (made.sums.cross.shape[2],)
    again = all(exchanged(rows.again, group))
    chosen = ArrayMap(Heads.plain(shape), metric, center)
    return replace(_distillation(made, chosen, noise, seed, rows.blocks if again else None, group), ndim=2)


def _distillation(
    made: Pass, chosen: FeatureMap, noise: Any, seed: int, blocks: Blocks | None, group: Any
) -> Distillation:
    name, level, frontier = settle(made, chosen.metric, noise, chosen.center)
    why = f"the {made.examples} training rows are spread over {dist.get_world_size(group)} processes; distil in one"
    posterior = condition(made.sums.centred(chosen.center), name, level)
    if blocks is not None and needs_refining(posterior.basis, posterior.noise):
        posterior = posterior.solved(*_added(list(posterior.turned_sums(_own(blocks))), group))
    assert made.sample is not None
    return Distillation(
        kernel=chosen.kind,
        heads=chosen.heads,
        posterior=calibrated(posterior, made.sample, made.sums.count),
        passed=made,
        rows=Gone(f"{why} process to have them", made.examples),
        row_ids=np.arange(made.examples),
        places=chosen.places,
        metric=name,
        center=chosen.center,
        map=chosen,
        seed=seed,
        notes=chosen.notes,
        frontier=frontier,
        linear=chosen.linear,
    )


def _own(blocks: Blocks) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of the process itself, none where it has none."""
    try:
        for block in blocks():
            yield block.flat()
    except TooFewPoints:
        return


def _gathered(blocks: Blocks, center: bool, group: Any) -> tuple[Pass, list[int]]:
    """The pass over all processes' rows, and how many examples each process has."""

    def own() -> Pass | None:
        try:
            return gather(blocks(), center, keep=False)
        except TooFewPoints:
            return None

    mine = together(own, group)
    counts = exchanged(0 if mine is None else mine.examples, group)
    if not any(counts):
        raise TooFewPoints("no process has any rows")
    source = next(rank for rank, count in enumerate(counts) if count)
    like = sent(None if mine is None else _shapes(mine), source, group)
    mine = mine or _none(*like)
    sums = all_reduced(mine.sums, group, source)
    return Pass(sums, _samples(mine, sum(counts), group), None, sum(counts)), counts


def _shapes(made: Pass) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of one example's features and targets."""
    assert made.sample is not None
    features, targets = made.sample.features, made.sample.targets
    return (features.shape[0], *features.shape[2:]), tuple(targets.shape[1:])


def _none(features: tuple[int, ...], targets: tuple[int, ...]) -> Pass:
    """The pass of a process without rows."""
    (groups, places, width), (_, channels) = features, targets
    h = torch.zeros(groups, 0, places, width, dtype=torch.float64)
    v = torch.zeros(0, places, channels, dtype=torch.float64)
    zero_h, zero_v = h.new_zeros(groups, width), h.new_zeros(groups, channels // groups)
    sums = Sums.of(h.flatten(1, 2), h.new_zeros(groups, 0, channels // groups), zero_h, zero_v)
    return Pass(sums, Sample(h, v, 0), None, 0)


def _samples(mine: Pass, examples: int, group: Any) -> Sample:
    """The samples of all processes in order of rank."""
    assert mine.sample is not None
    given = exchanged((mine.sample.features.cpu(), mine.sample.targets.cpu()), group)
    home = mine.sums.gram.device
    features = torch.cat([f for f, _ in given], dim=1).to(home)
    return Sample(features, torch.cat([t for _, t in given]).to(home), examples)


def _shared(kernel: str, probe: Probe, X: Any, options: Options, group: Any) -> tuple[FeatureMap, int]:
    """The map made by the first process that has rows, everywhere, and that process's rank."""
    me = dist.get_rank(group)
    for builder in range(dist.get_world_size(group)):
        made: FeatureMap | None = None
        failed: Exception | None = None
        report: Any = None
        if me == builder:
            try:
                made, _ = kernel_of(kernel, probe, X, options)
                report = ("made", made.kind, made.state())
            except TooFewPoints:
                report = ("none",)
            except Exception as error:
                failed, report = error, ("failed", f"{type(error).__name__}: {error}")
        word, *rest = sent(report, builder, group)
        if failed is not None:
            raise failed
        if word == "failed":
            elsewhere([None] * builder + rest)
        if word == "made":
            restored = made or kernel_module(rest[0]).restore(probe, *rest[1])
            return restored, builder
    raise TooFewPoints("no process has any rows")


def _added(parts: list[Tensor], group: Any) -> list[Tensor]:
    """Each tensor summed over the processes, in one reduction."""
    home = parts[0].device
    packed = torch.cat([part.reshape(-1) for part in parts]).to(device(group))
    dist.all_reduce(packed, group=group)
    pieces = packed.to(home).split([part.numel() for part in parts])
    return [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)]
