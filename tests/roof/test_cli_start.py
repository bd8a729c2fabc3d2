"""The command line starts without what its verb does not need. Imports are counted, not seconds: benchmarks
time it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interpret.explanation import NeuronExplanation
from interpret.store import create_run

_HEAVY = ("torch", "pandas", "sympy", "gpytorch", "sklearn", "matplotlib", "scipy")
_PROGRAM = """
import sys
from interpret.cli import main
code = main(sys.argv[2:])
print("\\nLOADED", *[name for name in sys.argv[1].split(",") if name in sys.modules])
sys.exit(code)
"""


def loaded(*arguments: str, names: tuple[str, ...] = _HEAVY) -> set[str]:
    command = [sys.executable, "-c", _PROGRAM, ",".join(names), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("explain", "--help"), ("--version",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded(*arguments, names=(*_HEAVY, "numpy", "sqlite3")) == set()


def test_query_loads_nothing_heavy(tmp_path: Path, make: Callable[..., NeuronExplanation]) -> None:
    with create_run(tmp_path / "run") as run:
        run.add(make("fc1[0]"))
        run.add(make("fc1[1]"))
    for arguments in (
        ("--json",),
        ("fc1[0]", "--json"),
        ("--csv",),
        ("--sort", "r2", "--where", "r2 > 0"),
        ("fc1[0]",),
    ):
        assert loaded("query", str(tmp_path / "run"), *arguments) == set()


def test_the_count_can_fail() -> None:
    assert "interpret.cli" in loaded("--help", names=("interpret.cli", "torch"))
