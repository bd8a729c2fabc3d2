"""Julia and torch must not meet in one process: what this process imports, and that the check can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_worker.py")

_WATCH = """
import sys

class Watch:
    # First on the path of finders: sees every import, whether the module exists or not.
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("juliacall", "juliapkg", "pysr", "julia"):
            raise SystemExit("imported " + name)

sys.meta_path.insert(0, Watch())
"""

_USE = f"""
import importlib, pkgutil, sys
import torch, interpret, symbolic, gp, symbolic.backends
for package in (symbolic, symbolic.backends, interpret):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("__main__", "pysr_worker")):
            importlib.import_module(module.name)
import numpy as np
from symbolic.backends.pysr import PySR
points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
PySR().capabilities()
with PySR([sys.executable, {str(FAKE)!r}, "slow"]) as backend:
    formula = symbolic.fit_gradients(points, points * [2, 4], engine=backend)
assert formula.engine == "pysr"
from interpret.commands import doctor
doctor.collect()
assert not [name for name in sys.modules if name.split(".")[0] in ("juliacall", "juliapkg", "julia", "pysr")]
print("clean")
"""


def run(code):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=environment, cwd="/"
    )


def test_nothing_that_imports_torch_ever_imports_julia():
    # The watcher would also stop find_spec("pysr"), which imports nothing: doctor and available ask by that.
    quiet = _WATCH.replace(
        'raise SystemExit("imported " + name)',
        'import traceback\n            stack = "".join(traceback.format_stack())\n'
        '            if "importlib/util.py" not in stack and "util.find_spec" not in stack:\n'
        '                raise SystemExit("imported " + name)',
    )
    done = run(quiet + _USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("clean")


@pytest.mark.parametrize("name", ["juliacall", "pysr"])
def test_the_check_can_fail(name):
    done = run(
        _WATCH + f"import torch\ntry:\n    import {name}\nexcept ImportError:\n    pass\nprint('clean')"
    )
    assert done.returncode != 0
    assert "imported " + name.split(".")[0] in done.stderr


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
