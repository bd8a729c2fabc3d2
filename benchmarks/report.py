"""A folder report of 200 neurons: seconds, largest page, index, memory. Prints one line of JSON.

The neurons are prepared (see the tests' samples), renamed so that every page differs: what is timed is the report.

    python benchmarks/report.py [--neurons 200]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from interpret.explanation import NeuronExplanation
from interpret.report import write

SAMPLES = Path(__file__).parents[1] / "tests" / "roof" / "report" / "samples.py"


def samples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report_samples", SAMPLES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Prepared:
    """A run of many neurons that holds three."""

    def __init__(self, count: int) -> None:
        made = samples()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.kinds = (made.digits(), made.table(), made.physics())
        self.count = count

    def __len__(self) -> int:
        return self.count

    def explanations(self) -> Iterator[NeuronExplanation]:
        """One renamed neuron after another."""
        for at in range(self.count):
            kind = self.kinds[at % 3]
            yield replace(kind, address=f"layer{at // 3}[{at}]")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--neurons", type=int, default=200)
    count = options.parse_args().neurons
    run = Prepared(count)
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = time.process_time(), time.perf_counter()
        index = write(run, Path(folder) / "report.html", "A benchmark")
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        pages = [path.stat().st_size for path in index.parent.rglob("*.html") if path != index]
        figures = {
            "neurons": count,
            "seconds_wall": round(wall, 1),
            "seconds_cpu": round(cpu, 1),
            "largest_page_kB": round(max(pages, default=0) / 1000),
            "index_kB": round(index.stat().st_size / 1000),
            "memory_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
