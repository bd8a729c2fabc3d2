"""Who may import whom: engines stand on the ground only and never on each other; importing does nothing heavy."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The ground: all of ``interpret`` that an engine may import. The rest is the roof, which may import everything.
GROUND = {"address", "data", "errors", "inputs", "loading", "outcome", "probe", "probing", "threads"}


def imports(path: Path) -> set[str]:
    """Full names that a file imports, also inside functions."""
    return imported(path.read_text(encoding="utf8"), path.relative_to(ROOT).parent.parts)


def imported(code: str, package: tuple[str, ...]) -> set[str]:
    """Full names that code in ``package`` imports: relative ones resolved, by `import_module` with the name written
    out too, and what is reached as an attribute of `interpret`, which imports on first use.
    """
    tree, found, roots = ast.parse(code), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            roots |= {a.asname or "interpret" for a in node.names if a.name.partition(".")[0] == "interpret"
                      and (a.asname is None or a.name == "interpret")}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            home = ".".join([*above, *([node.module] if node.module else [])])
            found |= {home, *(f"{home}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                name = str(node.args[0].value)
                level = len(name) - len(name.lstrip("."))
                above = package[: len(package) - level + 1] if level else ()
                found.add(".".join([*above, name.lstrip(".")]).rstrip("."))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in roots:
            found.add(f"interpret.{node.attr}")
    return found


def strays(names: set[str], engines: tuple[str, ...]) -> set[str]:
    """Those of the imported names that neither the ground nor an engine other than these is allowed to have."""
    return {
        name
        for name in names
        if name.split(".")[0] in engines
        or (name.split(".")[0] == "interpret" and not set(name.split(".")[1:2]) <= GROUND)
    }


@pytest.mark.parametrize(("engine", "other"), [("gp", "symbolic"), ("symbolic", "gp")])
def test_engines_stand_on_the_ground_only(engine: str, other: str) -> None:
    files = sorted((ROOT / engine).rglob("*.py"))
    assert files
    for path in files:
        assert strays(imports(path), (other,)) == set(), path


def test_the_ground_imports_no_engine() -> None:
    files = [f for stem in sorted(GROUND) for f in (ROOT / "interpret").glob(f"{stem}.py")]
    files += [f for stem in sorted(GROUND) for f in (ROOT / "interpret" / stem).glob("*.py")]
    assert len(files) > 20
    for path in files:
        assert strays(imports(path), ("gp", "symbolic")) == set(), path


@pytest.mark.parametrize(
    ("code", "package"),
    [("from .explaining import explain", "interpret"), ("from . import explaining", "interpret"),
     ("from ..store import Run", "interpret.probing"), ("import interpret\ninterpret.explain", "gp"),
     ("import interpret.errors\ninterpret.explain", "gp"), ("import interpret as i\ni.open_run", "gp"),
     ("from interpret import explain", "gp"), ("import importlib\nimportlib.import_module('symbolic.api')", "gp"),
     ("def f():\n    return import_module('interpret.store')", "gp"), ("__import__('symbolic')", "gp"),
     ("import_module('.store', 'interpret')", "interpret"), ("import symbolic.api as s", "gp")],
)  # fmt: skip
def test_an_arrow_that_goes_up_or_across_is_seen(code: str, package: str) -> None:
    assert strays(imported(code, tuple(package.split("."))), ("symbolic",))


@pytest.mark.parametrize(
    ("code", "package"),
    [("from .address import parse", "interpret"), ("from . import probing", "interpret"),
     ("from ..errors import InterpretError", "interpret.probing"), ("from .passes import run", "interpret.probing"),
     ("import interpret\ninterpret.errors.InterpretError", "gp"), ("from . import kernels", "gp"),
     ("import_module('gp.tangent')", "gp"), ("x.explain", "gp"), ("import interpret.probe as p\np.Probe", "gp")],
)  # fmt: skip
def test_an_arrow_that_goes_down_is_let_pass(code: str, package: str) -> None:
    assert strays(imported(code, tuple(package.split("."))), ("symbolic",)) == set()


def test_the_page_of_the_architecture_draws_the_same_ground() -> None:
    rooms = runpy.run_path(str(ROOT / "docs" / "_build" / "architecture.py"))["ROOMS"]
    ground = [(folder, first) for heading, folder, first in rooms if heading.startswith("The ground")]
    named = {stem for folder, first in ground if folder == "interpret" for stem in first}
    assert named | {folder.split("/")[1] for folder, _ in ground if "/" in folder} == GROUND


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["interpret", "gp", "symbolic"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    heavy = {"torch", "numpy", "scipy", "pandas", "sklearn", "sympy", "gpytorch", "matplotlib", "juliacall"}
    assert not loaded_by(f"import {package}") & heavy


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
