"""Collectives that come to the same end on every process: an error on one is raised on all, none waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from interpret.errors import UsageError

T = TypeVar("T")


def running() -> None:
    """Refuse to go on without a process group.

    Raises:
        UsageError: there is none.

    """
    if not (dist.is_available() and dist.is_initialized()):
        raise UsageError(
            "no process group: start with torchrun and call torch.distributed.init_process_group first, with the "
            "backend gloo or nccl"
        )


def device(group: Any) -> torch.device:
    """Where this group's backend reduces."""
    if dist.get_backend(group) == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def exchanged(value: Any, group: Any) -> list[Any]:
    """What each process of the group gave, in order of rank; small objects only."""
    given: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(given, value, group)
    return given


def sent(value: Any, rank: int, group: Any) -> Any:
    """The object of the process ``rank`` of the group, everywhere."""
    box = [value]
    dist.broadcast_object_list(box, dist.get_global_rank(group, rank) if group is not None else rank, group)
    return box[0]


def together(call: Callable[[], T], group: Any) -> T:
    """Each process's own ``call()``.

    Raises:
        UsageError: it failed on another process; on that one its own error is raised.

    """
    failed: Exception | None = None
    value: T | None = None
    try:
        value = call()
    except Exception as error:
        failed = error
    said = exchanged(None if failed is None else f"{type(failed).__name__}: {failed}", group)
    if failed is not None:
        raise failed
    elsewhere(said)
    return value  # type: ignore[return-value]


def elsewhere(said: list[str | None]) -> None:
    """Raise where another process failed."""
    for rank, text in enumerate(said):
        if text is not None:
            raise UsageError(f"process {rank} failed, so all stop: {text}")
