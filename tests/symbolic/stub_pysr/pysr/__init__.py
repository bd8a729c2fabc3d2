"""Stands in for PySR where there is none: the same names, a Julia that records what it is told, a search that is
scripted.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

__version__ = "2.7.2"
with contextlib.suppress(ImportError):
    # As the real one does; a witness stands there in the tests that ask who imports it.
    import juliacall  # noqa: F401
if os.environ.get("STUB_IMPORTS"):
    __import__(os.environ["STUB_IMPORTS"])
print("stub PySR starts, on stdout, as Julia prints")


class _Julia:
    VERSION = "1.10.4"

    def __init__(self):
        self.told = []
        self.target = None

    def seval(self, code):
        self.told.append(code)
        if code == "twinscope_target!":
            return self._aim
        return "2.7.2" if "pkgversion" in code else None

    def _aim(self, directions, weights, projectors, projected, stop_file, enough):
        assert type(projected) is bool
        assert projectors.size > 0
        self.target = (directions, weights, projectors if projected else projectors[:0], stop_file, enough)


jl = _Julia()


class PySRRegressor:
    """Takes some of PySR's options, as one version does."""

    def __init__(
        self,
        niterations=40,
        binary_operators=None,
        unary_operators=None,
        maxsize=30,
        loss_function=None,
        batching="auto",
        precision=32,
        parallelism=None,
        deterministic=False,
        random_state=None,
        progress=True,
        verbosity=1,
        output_directory=None,
        run_id=None,
        early_stop_condition=None,
        timeout_in_seconds=None,
        extra_sympy_mappings=None,
        heap_size_hint_in_bytes=None,
    ):
        self.given = {k: v for k, v in locals().items() if k not in ("self", "extra_sympy_mappings")}
        self.mappings = extra_sympy_mappings

    def fit(self, X, y):
        assert y.tolist() == list(range(1, len(X) + 1))
        directions, weights, projectors, stop_file, enough = jl.target
        assert directions.shape == X.shape
        assert weights.shape == y.shape
        folder = Path(self.given["output_directory"]) / self.given["run_id"]
        folder.mkdir(parents=True)
        hall = folder / "hall_of_fame.csv"
        script = os.environ["STUB_SCRIPT"]
        note = os.environ.get("STUB_NOTE")
        if note:
            seen = {
                "given": self.given,
                "told": jl.told,
                "mappings": sorted(self.mappings or {}),
                "projectors": list(projectors.shape),
                "enough": enough,
                "hint": os.environ.get("PYTHON_JULIACALL_HEAP_SIZE_HINT"),
                "limit": __import__("resource").getrlimit(__import__("resource").RLIMIT_DATA)[0],
            }
            Path(note).write_text(json.dumps(seen, default=str))
        hall.write_text('Complexity,Loss,Equation\n1,0.5,"x0"\n')
        if script == "error":
            raise RuntimeError("a Julia error")
        time.sleep(0.6)
        if script == "torn":
            # The backup is whole, the file itself is being written anew: its last line has no end.
            whole = 'Complexity,Loss,Equation\n1,0.5,"x0"\n7,0.001,"(x0 * x0) + (2.0 * (x1 * x1))"\n'
            Path(f"{hall}.bak").write_text(whole)
            hall.write_text(whole[:50] + '7,0.0,"x0')
            time.sleep(0.6)
            os.kill(os.getpid(), 9)
        hall.write_text('Complexity,Loss,Equation\n1,0.5,"x0"\n7,0.001,"(x0 * x0) + (2.0 * (x1 * x1))"\n')
        if script == "killed":
            time.sleep(0.05)
            os.kill(os.getpid(), 9)
        if script == "memory":
            time.sleep(0.6)
            hoard = bytearray(400 << 20)
            for k in range(0, len(hoard), 4096):
                hoard[k] = 1
            time.sleep(30)
        if script == "memory-child":
            time.sleep(0.6)
            hoard = "import time; hoard = bytearray(b'x') * (400 << 20); time.sleep(30)"
            subprocess.run([sys.executable, "-c", hoard])
        if script == "endless":
            while not os.path.exists(stop_file):
                time.sleep(0.05)
