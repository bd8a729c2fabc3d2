"""A GP over rows that are spread over processes: each sums its own, one all-reduce, the same posterior everywhere.

Run under ``torchrun`` with a process group of any backend (gloo, nccl). Every process passes its own rows; the sums
about one common shift are added in float64, so the result equals that of one process with all the rows to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gp.arrays import ArrayMap, source
from gp.conditioning import Pass, fitted, gather, settle
from gp.distillation import Distillation
from gp.frontier import Sample
from gp.kernels import FeatureMap, Heads, Options, kernel_module
from gp.rows import Gone, RowBlock
from gp.sums import Sums
from interpret.errors import UsageError
from interpret.probe import Probe
from interpret.probing.hashing import model_hash

_SUMMED = ("sum_h", "gram", "cross", "sum_v", "square_v")


def all_reduced(sums: Sums, group: Any = None) -> Sums:
    """The sums over the rows of all processes, equal on each of them.

    Args:
        sums: of this process's rows, about any shift; groups, features and channels as everywhere.
        group: the process group; None is the default one.

    Raises:
        UsageError: there is no process group, or the processes' sums differ in shape.

    """
    _running()
    device = _device(sums.gram, group)
    shapes = torch.tensor([*sums.gram.shape, sums.cross.shape[2]], device=device)
    least, most = shapes.clone(), shapes.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN, group)
    dist.all_reduce(most, dist.ReduceOp.MAX, group)
    if not torch.equal(
        least, most
    ):  # compared after both reductions: every process must come to the same end
        raise UsageError("the processes have sums of different shapes; they must distil the same place")
    shift_h, shift_v = sums.shift_h.to(device).clone(), sums.shift_v.to(device).clone()
    first = dist.get_global_rank(group, 0) if group is not None else 0
    dist.broadcast(shift_h, first, group)
    dist.broadcast(shift_v, first, group)
    home = sums.gram.device
    moved = sums.about(shift_h.to(home), shift_v.to(home))
    count = torch.tensor([moved.count], dtype=torch.int64, device=device)
    dist.all_reduce(count, group=group)
    packed = torch.cat([getattr(moved, name).reshape(-1) for name in _SUMMED]).to(device)
    dist.all_reduce(packed, group=group)
    whole, start = {}, 0
    for name in _SUMMED:
        like = getattr(moved, name)
        whole[name] = packed[start : start + like.numel()].reshape(like.shape).to(home)
        start += like.numel()
    return replace(moved, count=int(count), **whole)


def distill(
    model_or_probe: nn.Module | Probe,
    X: Any,
    kernel: str = "activation",
    noise: float | str = "auto",
    seed: int = 0,
    group: Any = None,
    **options: Any,
) -> Distillation:
    """:func:`gp.distill` over the rows of all processes; ``X`` are this process's own.

    The feature map is made by the first process and sent to the others, so a learned kernel is trained on the first
    process's rows and conditioned on all. Training rows stay where they are: the result predicts and saves
    (``rows=False``), and says so when asked for neighbors.
    """
    _running()
    probe = model_or_probe if isinstance(model_or_probe, Probe) else Probe(model_or_probe, "")
    chosen = _shared(kernel, probe, X, Options(seed, options), group)

    def blocks() -> Iterator[RowBlock]:
        for block in chosen.blocks(X):
            yield RowBlock(block.rows, block.features, block.targets)

    made, own = _gathered(blocks(), chosen.center, group)
    level: Any = noise
    if chosen.noise is not None:  # a share of the rows the map was made from
        level = torch.from_numpy(np.asarray(chosen.noise)) * (made.examples / _of_first(own, group))
    d = _distillation(made, chosen, chosen.metric, level, seed)
    return replace(
        d,
        X=X,
        places=chosen.places,
        notes=chosen.notes,
        model_hash=model_hash(probe.model),
        tail=getattr(chosen, "function", None),
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
    """:func:`gp.fit_features` over the rows of all processes; ``U`` and ``V`` are this process's own."""
    _running()
    made, _ = _gathered(source(U, V).blocks(), center, group)
    channels = made.sums.cross.shape[2]
    shape = () if np.ndim(V) == 1 and hasattr(V, "shape") else (channels,)
    return _distillation(made, ArrayMap(Heads.plain(shape), metric, center), metric, noise, seed)


def _distillation(made: Pass, chosen: FeatureMap, metric: str, noise: Any, seed: int) -> Distillation:
    name, level, frontier = settle(made, metric, noise, chosen.center)
    why = f"the {made.examples} training rows are spread over {dist.get_world_size()} processes; distil in one process"
    return Distillation(
        kernel=chosen.kind,
        heads=chosen.heads,
        posterior=fitted(made, name, level, chosen.center, None),
        passed=made,
        rows=Gone(why, made.examples),
        row_ids=np.arange(made.examples),
        places=(),
        metric=name,
        center=chosen.center,
        map=chosen,
        seed=seed,
        frontier=frontier,
    )


def _gathered(blocks: Iterator[RowBlock], center: bool, group: Any) -> tuple[Pass, int]:
    """The pass over all processes' rows, and how many examples were this process's own."""
    own = gather(blocks, center, keep=False)
    if own.sample is None:
        raise UsageError("rows that leave no sample cannot be distilled over several processes")
    sums = all_reduced(own.sums, group)  # first: it compares shapes
    samples: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(
        samples, (own.sample.features.cpu(), own.sample.targets.cpu(), own.examples), group
    )
    home, examples = own.sums.gram.device, sum(count for *_, count in samples)
    features = torch.cat([f for f, _, _ in samples], dim=1).to(home)
    targets = torch.cat([t for _, t, _ in samples]).to(home)
    return Pass(sums, Sample(features, targets, examples), None, examples), own.examples


def _shared(kernel: str, probe: Probe, X: Any, options: Options, group: Any) -> FeatureMap:
    """The map made by the first process, everywhere."""
    module = kernel_module(kernel)
    state: list[Any] = [None]
    made: FeatureMap | None = None
    if dist.get_rank(group) == 0:
        made = module.build(probe, X, options)
        state = [made.state()]
    first = dist.get_global_rank(group, 0) if group is not None else 0
    dist.broadcast_object_list(state, first, group)
    if made is None:
        made = module.restore(probe, *state[0])
    assert made is not None
    return made


def _of_first(own: int, group: Any) -> int:
    counts: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(counts, own, group)
    return int(counts[0])


def _running() -> None:
    if not (dist.is_available() and dist.is_initialized()):
        raise UsageError(
            "no process group: start with torchrun and call torch.distributed.init_process_group first, with the "
            "backend gloo or nccl"
        )


def _device(like: Tensor, group: Any) -> torch.device:
    """Where this group's backend reduces."""
    if dist.get_backend(group) == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu") if like.device.type != "cpu" else like.device
