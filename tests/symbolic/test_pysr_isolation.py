"""Julia and torch must not meet in one process: a whole search, seen from every process that takes part in it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).with_name("stub_pysr")

# The package `juliacall` of the stubs, like the real one, is there for every process to import. Each of the two notes
# which process ran its code, and what else was loaded there then and at the end.
_WITNESS = """
import atexit, os, sys
def note(what):
    heavy = [name for name in ("torch", "pysr", "juliacall", "gpytorch") if name in sys.modules]
    with open("/proc/self/maps") as maps:
        heavy += ["libtorch"] if "libtorch" in maps.read() else []
    with open(os.environ["WITNESS"], "a") as file:
        file.write(f"{os.getpid()} {what} {','.join(heavy)}\\n")
note("juliacall")
atexit.register(note, "end")
"""

_EVERYTHING = """
import interpret, gp, symbolic.backends, interpret.commands
for package in (symbolic, symbolic.backends, interpret, interpret.commands):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from interpret.commands import doctor
doctor.collect()
"""

_USE = """
import importlib, os, pkgutil, sys
import torch, symbolic
import numpy as np
from symbolic.backends.pysr import PySR, shared
points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
PySR().capabilities()
formula = symbolic.fit_gradients(
    points, points * [2, 4], engine="pysr", pysr_options={"niterations": 2, "patience": 60.0}
)
assert formula.engine == "pysr"
worker = shared()._worker.process.pid
with open(f"/proc/{worker}/maps") as maps:
    assert "libtorch" not in maps.read(), "torch is loaded in the worker"
EXTRA
with open("/proc/self/maps") as maps:
    assert "libjulia" not in maps.read()
print(os.getpid(), worker, *[name for name in ("torch", "pysr", "juliacall", "juliapkg") if name in sys.modules])
"""


@pytest.fixture
def search(tmp_path):
    """Runs a whole search in a process that holds torch; what it printed, and what the witness saw."""

    def run(extra, stub=True, **variables):
        packages = tmp_path / "packages"
        (packages / "juliacall").mkdir(parents=True)
        (packages / "juliacall" / "__init__.py").write_text(_WITNESS)
        paths = [str(packages), str(STUB), str(ROOT)] if stub else [str(ROOT)]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "STUB_SCRIPT": "plain",
            "WITNESS": str(tmp_path / "witness"),
            **variables,
        }
        done = subprocess.run(
            [sys.executable, "-c", _USE.replace("EXTRA", extra)],
            capture_output=True,
            text=True,
            timeout=240,
            env=environment,
            cwd="/",
        )
        return done, met(tmp_path / "witness")

    return run


def met(witness):
    """For each process that ran Julia's package: everything heavy that was ever loaded there."""
    seen = {}
    for line in witness.read_text().splitlines() if witness.exists() else []:
        process, _, heavy = line.split(" ")
        seen.setdefault(int(process), set()).update(heavy.split(","))
    return seen


def verdict(done, seen):
    """What is wrong with the processes of a search; empty where Julia and torch kept apart."""
    if done.returncode != 0:
        return done.stderr[-2_000:]
    parent, worker, *loaded = done.stdout.splitlines()[-1].split()
    if "torch" not in loaded:
        return "the parent never held torch, so nothing was proved"
    if int(worker) not in seen:
        return "the worker never imported juliacall, so nothing was proved"
    if int(parent) in seen or set(loaded) - {"torch"}:
        return f"the process that holds torch imported {loaded} {seen.get(int(parent))}"
    together = {
        process: heavy for process, heavy in seen.items() if heavy & {"torch", "libtorch", "gpytorch"}
    }
    return f"torch beside Julia: {together}" if together else ""


def test_torch_and_julia_are_never_in_one_process(search):
    assert verdict(*search(_EVERYTHING)) == ""


def test_an_import_of_julia_where_torch_is_would_be_seen(search):
    # Also when it hides what it did.
    hidden = "import juliacall; del sys.modules['juliacall']"
    assert "the process that holds torch imported" in verdict(*search(hidden))


def test_torch_in_the_worker_would_be_seen(search):
    assert "torch is loaded in the worker" in verdict(*search("", STUB_IMPORTS="torch"))


@pytest.mark.pysr
@pytest.mark.skipif(importlib.util.find_spec("pysr") is None, reason="PySR is not installed")
def test_torch_and_julia_are_never_in_one_process_with_a_real_pysr(search):
    done, _ = search(_EVERYTHING, stub=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split()[2:] == ["torch"]


def run(code):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=environment, cwd="/"
    )


def test_importing_symbolic_loads_neither_torch_nor_sympy_nor_pandas():
    done = run(
        "import sys, symbolic, symbolic.backends.pysr\n"
        "heavy = [m for m in ('torch', 'sympy', 'pandas', 'sklearn', 'juliacall', 'pysr') if m in sys.modules]\n"
        "print(heavy)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_everything_works_with_an_importer_that_has_no_julia():
    hide = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("juliacall", "juliapkg", "pysr"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
"""
    done = run(
        hide
        + "import symbolic\nfrom symbolic.backends.pysr import PySR\nfrom interpret.errors import BackendMissing\n"
        "import importlib.util\nimportlib.util.find_spec = lambda name, package=None: None\n"
        "import numpy as np\npoints = np.random.default_rng(0).uniform(-1, 1, (60, 2))\n"
        "try:\n    symbolic.fit_gradients(points, points * [2, 4], engine='pysr')\n"
        "except BackendMissing as error:\n    print(error)"
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'twinscope[pysr]'" in done.stdout
