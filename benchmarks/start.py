"""Seconds until an import is done, in fresh processes, and whether torch came with it.

python benchmarks/start.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
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
