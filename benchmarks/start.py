"""Seconds until an import is done, in fresh processes, and whether torch came with it; or those of the demonstration.

python benchmarks/start.py [--repeats 7] [--demo]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from peers import spread, table

STATEMENTS = (
    "pass",
    "import interpret",
    "import symbolic",
    "import gp",
    "import interpret.cli",
    "import torch",
)


def demonstration() -> str:
    """CPU and wall seconds of the whole command, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-c",
            "from interpret.cli import run; run()",
            "demo",
            "--out",
            f"{folder}/demo",
        ]
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, capture_output=True, check=True)
        wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return table(
        ("command", "CPU seconds", "wall seconds"), [("`twinscope demo`", f"{cpu:.0f}", f"{wall:.0f}")]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--demo", action="store_true", help="the demonstration instead, once")
    asked = parser.parse_args()
    if asked.demo:
        print(demonstration())
        return
    seconds: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    torch: dict[str, str] = {}
    for _ in range(asked.repeats):
        for statement in STATEMENTS:
            code = f"import sys\n{statement}\nprint('torch' in sys.modules)"
            start = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            seconds[statement].append(time.perf_counter() - start)
            torch[statement] = "loaded" if done.stdout.strip() == "True" else "not loaded"
    rows = [(f"`{s}`", spread(seconds[s], 2), torch[s]) for s in STATEMENTS]
    print(table(("statement", "seconds", "torch"), rows))


if __name__ == "__main__":
    main()
