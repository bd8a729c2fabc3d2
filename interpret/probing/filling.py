"""Results written where they are returned, batch by batch, without a second copy of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import torch

from interpret.errors import BadInput

#: Gives room for the rows of one batch: a tensor (rows, *shape) of that type to be written.
Room = Callable[[tuple[int, ...], torch.dtype], torch.Tensor]


def fresh(rows: int, device: torch.device) -> Room:
    """Room of its own for one batch.

    Raises:
        BadInput: there is not enough memory for it.
    """

    def give(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        _check((rows, *shape), dtype, device)
        return torch.empty((rows, *shape), dtype=dtype, device=device)

    return give


class Filled:
    """One tensor for all rows, allocated by the first batch; parts, where the number of rows is not known before."""

    def __init__(self, rows: int | None, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self._whole: torch.Tensor | None = None
        self._parts: list[torch.Tensor] = []

    def room(self, rows: slice) -> Room:
        """Room for those rows.

        Raises:
            BadInput: these rows have another shape than earlier ones, or there is not enough memory.
        """

        def give(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
            if self.rows is None:
                self._parts.append(fresh(rows.stop - rows.start, self.device)(shape, dtype))
                return self._parts[-1]
            if self._whole is None:
                self._whole = fresh(self.rows, self.device)(shape, dtype)
            if shape != tuple(self._whole.shape[1:]):
                raise BadInput(
                    f"rows {rows.start} to {rows.stop - 1} give values of shape {list(shape)}, earlier ones "
                    f"{list(self._whole.shape[1:])}; pad the data to one length, or address one position"
                )
            return self._whole[rows]

        return give

    def add(self, rows: slice, tensor: torch.Tensor) -> None:
        """Write those rows; a tensor of all rows is taken as it is."""
        if self.rows == len(tensor):
            self._whole = tensor
        else:
            self.room(rows)(tuple(tensor.shape[1:]), tensor.dtype).copy_(tensor)

    @property
    def tensor(self) -> torch.Tensor:
        """All rows."""
        if self.rows is None:
            return torch.cat(self._parts)
        assert self._whole is not None
        return self._whole


def _check(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """Memory is promised by the system long before it is there; refuse before the machine grinds."""
    needed, free = math.prod(shape) * dtype.itemsize, _free(device)
    if needed > free:
        raise BadInput(
            f"a result of shape {list(shape)} takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; address "
            f"fewer units, or take the batches one by one with probe.stream(X) and a smaller batch_size"
        )


def _free(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return math.inf
    try:
        with open("/proc/meminfo") as file:
            return next(float(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
        known = hasattr(os, "sysconf") and all(name in os.sysconf_names for name in names)
        return float(os.sysconf(names[0]) * os.sysconf(names[1])) if known else math.inf
