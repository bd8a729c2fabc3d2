"""A search that cannot run is said before anything is explained, on the command line as in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

import interpret
from interpret.cli import main
from interpret.errors import BackendMissing, UsageError
from interpret.evidence.explainer import SEARCHES, Settings
from symbolic.assemble import ENGINES
from symbolic.backends import installed

NET = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Also on a machine that has PySR.
    monkeypatch.setattr("symbolic.backends.pysr.installed", lambda name: False)
    Path("net.py").write_text(NET)
    np.savez("d.npz", X=np.random.default_rng(0).normal(size=(60, 3)))
    return tmp_path


@pytest.mark.parametrize("more", [[], ["--engine", "symbolic"], ["--jobs", "2"]])
def test_a_search_that_is_not_installed_ends_the_command_before_the_sweep(
    work: Path, more: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if more == ["--jobs", "2"] and installed.installed("pysr"):
        pytest.skip("PySR is installed, and the sweep's own processes see it")
    line = ["explain", "net.py:model", "--data", "d.npz", "--neurons", "2[0]", "--out", "runx"]
    assert main([*line, "--search", "pysr", *more]) == 2
    out, err = capsys.readouterr()
    assert err.count("pip install 'twinscope[pysr]'") == 1
    assert "explained" not in out
    assert not list(work.glob("runx/*"))


def test_a_search_of_no_such_name_lists_those_there_are(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["explain", "net.py:model", "--data", "d.npz", "--neurons", "2[0]", "--out", "runx"]
    assert main([*line, "--search", "PySR"]) == 2
    assert "auto, eigen, pysr" in capsys.readouterr().err


def test_python_hears_of_it_before_any_work(work: Path) -> None:
    model, X = nn.Sequential(nn.Linear(3, 1)), np.zeros((60, 3))
    with pytest.raises(BackendMissing, match=r"twinscope\[pysr\]"):
        interpret.explain(model, "0[0]", X, search="pysr", out="runx")
    assert not Path("runx").exists()
    with pytest.raises(UsageError, match="auto, eigen, pysr"):
        interpret.explain(model, "0[0]", X, search="PySR")


def test_the_names_are_those_of_the_symbolic_engine() -> None:
    assert SEARCHES == ENGINES


def test_without_formulas_no_search_is_needed(work: Path) -> None:
    Settings(engine="gp", search="pysr").require()
