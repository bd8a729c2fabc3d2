"""Only a package with code of its own counts as PySR, and only where the worker would find it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from symbolic.backends.installed import installed, pysr_version
from symbolic.backends.pysr import PySR

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("files", [[], ["notes.txt"], ["__init__.py"]])
def test_a_folder_in_the_working_directory_is_no_package(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "pysr_of_mine").mkdir()
    for name in files:
        (tmp_path / "pysr_of_mine" / name).touch()
    code = (
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "from symbolic.backends.installed import installed\nprint(installed('pysr_of_mine'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "False"


def test_a_folder_of_that_name_on_the_path_is_not_pysr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pysr_elsewhere").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not installed("pysr_elsewhere")
    (tmp_path / "pysr_elsewhere" / "__init__.py").touch()
    assert installed("pysr_elsewhere")


def test_the_worker_does_not_look_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shadow.py").touch()
    command = PySR()._script()
    switches = command[1 : command.index(next(part for part in command if part.endswith("pysr_worker.py")))]
    done = subprocess.run([command[0], *switches, "-c", "import shadow"], capture_output=True, timeout=60)
    assert b"No module named 'shadow'" in done.stderr


def test_a_version_that_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbolic.backends.installed.version", lambda name: "of my own")
    assert pysr_version() is None
