"""doctor: finds what is there, names what is not, and gives a command for it; imports nothing heavy."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from interpret.commands import doctor
from interpret.commands.doctor import Check, Status, as_json, as_text, collect, healthy
from interpret.errors import BackendCrashed

MANIFEST = """
julia_version = "1.10.4"

[[deps.PythonCall]]
deps = ["CondaPkg"]
uuid = "6099a3de-0909-46bc-b1f4-468b9a2dfc0d"
version = "0.9.28"

[[deps.SymbolicRegression]]
uuid = "8254be44-1295-4e6a-a16d-46603ac705cb"
version = "{version}"

[[deps.Zygote]]
version = "0.6.70"
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that has everything: a julia, a project, a pysr that asks for 2.7.2; the GPU question is answered."""
    julia = tmp_path / "bin" / "julia"
    julia.parent.mkdir()
    julia.write_text("#!/bin/sh\necho julia version 1.10.4\n")
    julia.chmod(julia.stat().st_mode | stat.S_IXUSR)
    project = tmp_path / "project"
    project.mkdir()
    (project / "Manifest.toml").write_text(MANIFEST.format(version="2.7.2"))
    packages = tmp_path / "packages"
    for name in ("pysr", "juliacall", "juliapkg"):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text("raise SystemExit('doctor imported this')")
    wanted = {"packages": {"SymbolicRegression": {"version": "~2.7.2"}}}
    (packages / "pysr" / "juliapkg.json").write_text(json.dumps(wanted))
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.setattr(doctor, "_cuda", lambda: Check("CUDA", Status.MISSING, "no GPU", optional=True))
    return {
        "PATH": str(julia.parent),
        "PYTHON_JULIAPKG_OFFLINE": "yes",
        "PYTHON_JULIACALL_EXE": str(julia),
        "PYTHON_JULIACALL_PROJECT": str(project),
        "JULIA_CONDAPKG_BACKEND": "Null",
        "PYTHON_JULIACALL_HANDLE_SIGNALS": "yes",
    }


def found(environment, name):
    return {check.name: check for check in collect(environment)}[name]


def test_everything_there(machine):
    checks = {check.name: check for check in collect(machine)}
    for name in ("Python", "torch", "gpytorch", "PySR", "Julia", "SymbolicRegression.jl", "offline start"):
        assert checks[name].status is Status.OK, checks[name]
    assert "1.10.4" in checks["Julia"].found
    assert "2.7.2" in checks["SymbolicRegression.jl"].found
    assert "not needed" in checks["Chromium"].found
    assert healthy(list(checks.values()))


def test_without_pysr_everything_needed_is_still_there(monkeypatch):
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda n, *a: None if n == "pysr" else real(n, *a)
    )
    checks = {check.name: check for check in collect({"PATH": ""})}
    assert checks["PySR"].status is Status.MISSING
    assert checks["PySR"].fix == "pip install 'twinscope[pysr]'"
    assert checks["Julia"].status is Status.MISSING
    assert checks["offline start"].fix.startswith("export PYTHON_JULIAPKG_OFFLINE=yes ")
    assert healthy(list(checks.values()))


def test_a_half_installed_pysr_is_a_problem(machine, monkeypatch):
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda n, *a: None if n == "juliacall" else real(n, *a)
    )
    check = found(machine, "PySR")
    assert check.status is Status.PROBLEM
    assert check.fix == "pip install juliacall"


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo julia version 1.6.7", "needs 1.10"), ("exit 3", "does not start")],
)
def test_a_julia_that_will_not_do(machine, tmp_path, script, words):
    julia = tmp_path / "bin" / "julia"
    julia.write_text(f"#!/bin/sh\n{script}\n")
    check = found(machine, "Julia")
    assert check.status is Status.PROBLEM
    assert words in check.found
    assert check.fix


def test_a_julia_that_is_named_but_not_there(machine):
    check = found(machine | {"PYTHON_JULIACALL_EXE": "/nowhere/julia"}, "Julia")
    assert check.status is Status.PROBLEM
    assert "/nowhere/julia" in check.found
    assert "PYTHON_JULIACALL_EXE" in check.fix


def test_packages_missing_from_the_project(machine, tmp_path):
    text = MANIFEST.format(version="2.7.2").replace("[[deps.Zygote]]", "[[deps.Other]]")
    (tmp_path / "project" / "Manifest.toml").write_text(text)
    check = found(machine, "SymbolicRegression.jl")
    assert check.status is Status.PROBLEM
    assert "without Zygote" in check.found
    (tmp_path / "project" / "Manifest.toml").unlink()
    check = found(machine, "SymbolicRegression.jl")
    assert check.status is Status.MISSING
    assert f"--project={tmp_path / 'project'}" in check.fix
    assert "Pkg.add" in check.fix


def test_a_version_that_this_pysr_does_not_want(machine, tmp_path):
    (tmp_path / "project" / "Manifest.toml").write_text(MANIFEST.format(version="1.11.0"))
    check = found(machine, "SymbolicRegression.jl")
    assert check.status is Status.PROBLEM
    assert "wants 2.7.2" in check.found
    assert 'version="2.7.2"' in check.fix


@pytest.mark.parametrize("name", [name for name, _, _ in doctor._OFFLINE])
def test_every_offline_variable_is_needed(machine, name):
    environment = {key: value for key, value in machine.items() if key != name}
    check = found(environment, "offline start")
    assert check.status is Status.MISSING
    assert name in check.found
    assert f"{name}=" in check.fix


def test_more_threads_are_a_problem(machine):
    assert found(machine | {"PYTHON_JULIACALL_THREADS": "auto"}, "Julia threads").status is Status.PROBLEM


def test_the_text_and_json_hold_every_check():
    checks = [
        Check("Python", Status.OK, "3.11"),
        Check("torch", Status.MISSING, "not installed", "pip install torch"),
        Check("PySR", Status.PROBLEM, "odd", "fix it", True),
    ]
    lines = as_text(checks).splitlines()
    assert lines[1].split() == ["missing", "torch", "not", "installed"]
    assert lines[2].strip() == "fix: pip install torch"
    assert lines[3].endswith("(optional)")
    assert [row["name"] for row in json.loads(as_json(checks))] == ["Python", "torch", "PySR"]
    assert not healthy(checks)
    assert healthy([checks[0], checks[2]])


def test_collecting_imports_nothing_heavy():
    code = (
        "import sys; from interpret.commands import doctor;"
        "doctor._cuda = lambda: doctor.Check('CUDA', doctor.Status.OK, '');"
        "doctor.collect({}); print([m for m in ('torch', 'pysr', 'juliacall', 'sympy', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


def test_whether_pysr_starts_is_tried_offline(monkeypatch):
    started = []

    class Backend:
        def __init__(self, environment):
            started.append(environment)

        def available(self):
            return None

        def __enter__(self):
            return self

        def __exit__(self, *error):
            started.append("closed")

        def start(self, limit):
            return "pysr 2.7.2, julia 1.10.4", 31.0

    monkeypatch.setattr("symbolic.backends.pysr.PySR", Backend)
    monkeypatch.setattr(doctor, "_cuda", lambda: Check("CUDA", Status.OK, ""))
    check = collect({}, deep=True)[-1]
    assert check == Check("PySR starts offline", Status.OK, "pysr 2.7.2, julia 1.10.4 in 31 s", optional=True)
    assert started == [{"PYTHON_JULIAPKG_OFFLINE": "yes"}, "closed"]

    def fail(self, limit):
        raise BackendCrashed("the worker ended with exit status 1")

    monkeypatch.setattr(Backend, "start", fail)
    check = collect({}, deep=True)[-1]
    assert check.status is Status.PROBLEM
    assert "exit status 1" in check.found
    assert started[-1] == "closed"


def test_main_prints_and_returns_a_code(capsys, monkeypatch):
    monkeypatch.setattr(
        doctor, "collect", lambda deep=False: [Check("torch", Status.PROBLEM, "broken", "mend it")]
    )
    assert doctor.main() == 1
    assert "fix: mend it" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "collect", lambda deep=False: [Check("torch", Status.OK, "2.4")])
    assert doctor.main(json=True) == 0
    assert json.loads(capsys.readouterr().out)[0]["found"] == "2.4"
