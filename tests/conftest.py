"""What every test shares: one thread (results depend on the number of threads), and seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from filelock import FileLock


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of a finished demonstration, made once for all workers, through the command line."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with FileLock(shared / "demo.lock"):
        folder = shared / "runs" / "demo"
        if not (folder / "report.html").exists():
            command = [
                sys.executable,
                "-c",
                "from interpret.cli import run; run()",
                "demo",
                "--out",
                str(folder),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (shared / "demo.txt").write_text(done.stderr + done.stdout)
    return folder
