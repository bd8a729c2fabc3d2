"""Figures of the probe: whole-layer gradients against plain autograd, memory against the stated chunk, a long stream.

    python benchmarks/probe.py            # everything, about a minute
    python benchmarks/probe.py speed      # or: memory, stream

Every timing is the best of five in one process, with the same number of threads for all contenders.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from interpret import Probe

ROWS, WIDTH, UNITS = 1000, 30, 128
#: Freed tensors go back to the system at once, so that resident memory is what is in use.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


def mlp(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    steps: list[nn.Module] = []
    for a, b in pairwise(widths):
        steps += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*steps[:-1])


def best(*contenders: Callable[[], object]) -> list[float]:
    """Seconds of each, best of five rounds; they take turns, so that a busy machine is busy for all of them."""
    rounds = []
    for _ in range(5):
        times = []
        for run in contenders:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        rounds.append(times)
    return [min(times) for times in zip(*rounds, strict=True)]


def own_forward(model: nn.Sequential, X: torch.Tensor) -> torch.Tensor:
    result = torch.empty(len(X), UNITS, X.shape[1])
    for unit in range(UNITS):
        x = X.clone().requires_grad_()
        (result[:, unit],) = torch.autograd.grad(model(x)[:, unit].sum(), x)
    return result


def retained_forward(model: nn.Sequential, X: torch.Tensor) -> torch.Tensor:
    result = torch.empty(len(X), UNITS, X.shape[1])
    x = X.clone().requires_grad_()
    sums = model(x).sum(0)
    for unit in range(UNITS):
        (result[:, unit],) = torch.autograd.grad(sums[unit], x, retain_graph=True)
    return result


def speed() -> None:
    print(f"{UNITS} units, {ROWS} points, d = {WIDTH}, {torch.get_num_threads()} threads; seconds, best of 5")
    print(
        f"{'hidden layer':>14} {'probe':>8} {'own forward':>12} {'retained':>9} {'× own':>6} {'× retained':>11}"
    )
    X = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    for depth in (1, 2, 3, 4):
        whole = mlp(WIDTH, *[UNITS] * depth, 10)
        last = 2 * depth - 2
        hidden = whole[: last + 1]
        probe = Probe(whole, f"{last}[:]")
        expected = retained_forward(hidden, X)
        torch.testing.assert_close(probe.gradients(X), expected, atol=1e-5, rtol=1e-4)
        contenders = (
            partial(probe.gradients, X),
            partial(own_forward, hidden, X),
            partial(retained_forward, hidden, X),
        )
        ours, own, retained = best(*contenders)
        row = f"{ours:8.4f} {own:12.4f} {retained:9.4f} {own / ours:6.1f} {retained / ours:11.1f}"
        print(f"{f'{depth} of {depth}':>14} {row}")


def memory() -> None:
    print(
        f"\npeak memory above the returned tensor, {ROWS} points, d = {WIDTH}, hidden layers of 128 and `units`; MiB"
    )
    print(f"{'units':>6} {'chunk':>6} {'returned':>9} {'above':>7}")
    for chunk in (16, 64):
        for units in (128, 256, 512, 1024):
            returned, above = map(float, child("_memory", str(units), str(chunk)).split())
            print(f"{units:>6} {chunk:>6} {returned:9.1f} {above:7.1f}")


def _memory(units: str, chunk: str) -> None:
    model = mlp(WIDTH, 128, 128, int(units), 10)
    X = torch.randn(ROWS, WIDTH)
    probe = Probe(model, "4[:]", chunk_bytes=int(chunk) * 2**20)
    probe.gradients(X)  # libraries and their buffers
    returned = ROWS * int(units) * WIDTH * 4
    with Peak() as peak:
        assert probe.gradients(X).numel() * 4 == returned
    print(returned / 2**20, (peak.bytes - returned) / 2**20)


def stream() -> None:
    print(
        "\na memory-mapped array of 10,000,000 rows of 8 through probe.stream; MiB above the model, seconds"
    )
    for what in ("values", "gradients"):
        above, seconds = map(float, child("_stream", what).split())
        print(f"{what:>10} {above:7.1f} {seconds:7.1f}")


def _stream(what: str, rows: str = "10000000", width: str = "8", batch_size: str = "8192") -> None:
    count, columns, piece = int(rows), int(width), 1 << 20
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        data = np.lib.format.open_memmap(path, mode="w+", dtype="float32", shape=(count, columns))
        block = np.random.default_rng(0).normal(size=(piece, columns))
        for start in range(0, count, piece):
            data[start : start + piece] = block[: count - start]
        data.flush()
        del data
        probe = Probe(mlp(columns, 32, 16, 4), "2[3]", batch_size=int(batch_size))
        probe.gradients(np.load(path, mmap_mode="r")[:8])
        start, total, seen = time.perf_counter(), 0.0, 0
        with Peak() as peak:
            for _, tensor in probe.stream(np.load(path, mmap_mode="r"), what=what):
                total, seen = total + float(tensor.sum()), seen + len(tensor)
        assert seen == count
        assert np.isfinite(total)
        print(peak.bytes / 2**20, time.perf_counter() - start)


class Peak:
    """The highest resident memory of this process inside the block, above where it was before. Linux."""

    def __enter__(self) -> Peak:
        Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
        self._before = self._read("VmRSS") * 1024
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = self._read("VmHWM") * 1024 - self._before

    @staticmethod
    def _read(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))


def child(*arguments: str) -> str:
    """Each measurement of memory has a process of its own."""
    run = [sys.executable, __file__, *arguments]
    return subprocess.run(run, check=True, capture_output=True, text=True, env=os.environ | MALLOC).stdout


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["all"]
    if chosen == ["all"]:
        speed(), memory(), stream()
    else:
        {"speed": speed, "memory": memory, "stream": stream, "_memory": _memory, "_stream": _stream}[
            chosen[0]
        ](*chosen[1:])
