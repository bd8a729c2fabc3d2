"""Who may import whom: engines stand on the ground only and never on each other; importing does nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The ground: all of ``interpret`` that an engine may import. The rest is the roof, which may import everything.
GROUND = {"address", "data", "errors", "inputs", "loading", "outcome", "probe", "probing"}


def imports(path: Path) -> set[str]:
    """Full names that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(("engine", "other"), [("gp", "symbolic"), ("symbolic", "gp")])
def test_engines_stand_on_the_ground_only(engine: str, other: str) -> None:
    files = sorted((ROOT / engine).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            assert parts[0] != other, f"{path} imports {name}"
            assert parts[0] != "interpret" or set(parts[1:2]) <= GROUND, f"{path} imports {name}"


def test_the_ground_imports_no_engine() -> None:
    files = [f for stem in sorted(GROUND) for f in (ROOT / "interpret").glob(f"{stem}.py")]
    files += [f for stem in sorted(GROUND) for f in (ROOT / "interpret" / stem).glob("*.py")]
    assert len(files) > 20
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            assert parts[0] not in ("gp", "symbolic"), f"{path} imports {name}"
            assert parts[0] != "interpret" or set(parts[1:2]) <= GROUND, f"{path} imports {name}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_interpret_loads_nothing_heavy() -> None:
    assert not loaded_by("import interpret") & {"torch", "numpy", "pandas", "sympy", "gpytorch", "matplotlib"}


def test_importing_symbolic_never_starts_julia() -> None:
    assert not loaded_by("import symbolic; symbolic.fit") & {"juliacall", "pysr"}


def test_the_import_check_can_fail() -> None:
    assert "torch" in loaded_by("import torch")


def test_interpretml_beside_it_is_refused(tmp_path: Path) -> None:
    info = tmp_path / "interpret_core-0.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: interpret-core\nVersion: 0.6\n")
    done = subprocess.run(
        [sys.executable, "-c", "import interpret"],
        capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.returncode != 0
    assert "InterpretML" in done.stderr
    assert "pip uninstall" in done.stderr
