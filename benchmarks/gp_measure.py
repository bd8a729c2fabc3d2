"""Seconds and peak memory of a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = 4096


@dataclass(frozen=True)
class Measured:
    """What a call gave, wall and processor seconds, and the peak of resident memory beyond its start, in MB."""

    value: Any
    seconds: float
    processor: float
    megabytes: float


def resident() -> float:
    """Resident memory in bytes, as the kernel counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def measured(call: Callable[[], Any]) -> Measured:
    """Run ``call`` while a thread looks at the memory every five milliseconds."""
    start, peak, done = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    clock, processor = time.perf_counter(), time.process_time()
    try:
        value = call()
    finally:
        seconds, used = time.perf_counter() - clock, time.process_time() - processor
        done.set()
        watcher.join()
    return Measured(value, seconds, used, max(0.0, peak[0] - start) / 1e6)
