"""doctor: finds what is there, names what is not, and gives a command for it; imports nothing heavy."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import stat
import subprocess
import sys

import pytest

from interpret.commands import doctor, julia
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
    wanted = {"julia": "=1.10.0, 1.10.3", "packages": {"SymbolicRegression": {"version": "~2.7.2"}}}
    (packages / "pysr" / "juliapkg.json").write_text(json.dumps(wanted))
    wanted = {"packages": {"PythonCall": {"version": "=0.9.28"}}}
    (packages / "juliacall" / "juliapkg.json").write_text(json.dumps(wanted))
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.setattr(doctor, "_cuda", lambda: Check("CUDA", Status.MISSING, "no GPU", optional=True))
    return {
        "HOME": str(tmp_path / "home"),
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
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "pysr" else real(n, *a))
    checks = {check.name: check for check in collect({"PATH": ""})}
    assert checks["PySR"].status is Status.MISSING
    assert checks["PySR"].fix == "pip install 'twinscope[pysr]'"
    assert checks["Julia"].status is Status.MISSING
    assert checks["offline start"].fix.startswith("export PYTHON_JULIAPKG_OFFLINE=yes ")
    assert healthy(list(checks.values()))


def test_a_half_installed_pysr_is_a_problem(machine, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "juliacall" else real(n, *a))
    check = found(machine, "PySR")
    assert check.status is Status.PROBLEM
    assert check.fix == "pip install juliacall"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo julia version 1.6.7", "needs =1.10.0, 1.10.3"),
        ("echo julia version 1.10.2", "needs =1.10.0, 1.10.3"),
        ("exit 3", "does not start"),
    ],
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


def program(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho julia version 1.10.9\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def without(machine, *names):
    return {key: value for key, value in machine.items() if key not in names}


def test_julia_is_found_in_the_order_of_juliacall(machine, tmp_path):
    environment = without(machine, "PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT")
    environment["PYTHON_JULIAPKG_PROJECT"] = str(tmp_path / "project")
    assert found(environment, "Julia").found.endswith("bin/julia (on the path)")
    # What juliaup lists: the newest that fits, not the newest.
    up = tmp_path / "home" / ".julia" / "juliaup"
    program(up / "julia-1.10.9" / "bin" / "julia")
    listed = {f"{n}+0.x64.linux.gnu": {"Path": f"./julia-{n}"} for n in ("1.10.2", "1.10.9", "2.1.0")}
    (up / "juliaup.json").write_text(json.dumps({"InstalledVersions": listed}))
    assert found(environment, "Julia").found.endswith("julia-1.10.9/bin/julia (installed by juliaup)")
    own = program(tmp_path / "project" / "pyjuliapkg" / "install" / "bin" / "julia")
    assert found(environment, "Julia").found == f"julia version 1.10.9 at {own} (downloaded by juliapkg)"
    environment["PYTHON_JULIAPKG_EXE"] = str(program(tmp_path / "named" / "julia"))
    assert found(environment, "Julia").found.endswith("named/julia (PYTHON_JULIAPKG_EXE)")
    environment["PYTHON_JULIAPKG_EXE"] = "/nowhere/julia"
    assert "PYTHON_JULIAPKG_EXE names /nowhere/julia" in found(environment, "Julia").found
    assert found(machine, "Julia").found.endswith("bin/julia (PYTHON_JULIACALL_EXE)")


def test_a_damaged_list_of_juliaup_is_passed_over(machine, tmp_path):
    environment = without(machine, "PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT")
    up = tmp_path / "home" / ".julia" / "juliaup"
    up.mkdir(parents=True)
    for text in ("{", "[]", '{"InstalledVersions": {"1.10.9": 5}}', '{"InstalledVersions": [1]}'):
        (up / "juliaup.json").write_text(text)
        assert found(environment, "Julia").found.endswith("(on the path)")


def test_packages_missing_from_the_project(machine, tmp_path):
    text = MANIFEST.format(version="2.7.2").replace("[[deps.Zygote]]", "[[deps.Other]]")
    (tmp_path / "project" / "Manifest.toml").write_text(text)
    check = found(machine, "SymbolicRegression.jl")
    assert check.status is Status.PROBLEM
    assert "without Zygote" in check.found
    (tmp_path / "project" / "Manifest.toml").unlink()
    assert found(machine, "SymbolicRegression.jl").status is Status.MISSING


def test_the_command_runs_the_julia_that_was_found_with_the_versions_asked_for(machine, tmp_path):
    folder = tmp_path / "a project; rm -rf $HOME"
    folder.mkdir()
    command = found(machine | {"PYTHON_JULIACALL_PROJECT": str(folder)}, "SymbolicRegression.jl").fix
    # As a shell reads it: one word for each argument, whatever the folder is called.
    binary, project, option, code = shlex.split(command)
    assert binary == machine["PYTHON_JULIACALL_EXE"]
    assert project == f"--project={folder}"
    assert option == "-e"
    assert code == (
        'using Pkg; Pkg.add([PackageSpec(name="SymbolicRegression", version="2.7.2"), '
        'PackageSpec(name="PythonCall", version="0.9.28"), PackageSpec(name="Zygote")]); Pkg.precompile()'
    )


@pytest.mark.parametrize(
    ("asked", "there", "good"),
    [
        ("~2.7.2", "2.7.2", True),
        ("~2.7.2", "2.7.5", True),
        ("~2.7.2", "2.7.1", False),
        ("~2.7.2", "1.11.0", False),
        ("=2.0.0-alpha.10", "2.0.0-alpha.10", True),
        ("=2.0.0-alpha.10", "2.0.0-alpha.1", False),
        ("~1.0.0-alpha.10", "1.0.0-alpha.1", False),
    ],
)
def test_a_version_that_this_pysr_does_not_want(asked, there, good, machine, tmp_path):
    (tmp_path / "project" / "Manifest.toml").write_text(MANIFEST.format(version=there))
    wanted = {"packages": {"SymbolicRegression": {"version": asked}}}
    (tmp_path / "packages" / "pysr" / "juliapkg.json").write_text(json.dumps(wanted))
    check = found(machine, "SymbolicRegression.jl")
    assert (check.status is Status.OK) == good
    if not good:
        assert f"this pysr wants SymbolicRegression {asked}" in check.found
        # Julia takes a pre-release as a version literal only.
        assert f'version={"v" if "-" in asked else ""}"{asked[1:]}"' in check.fix


def test_pythoncall_must_be_juliacalls(machine, tmp_path):
    text = MANIFEST.format(version="2.7.2").replace("0.9.28", "0.9.26")
    (tmp_path / "project" / "Manifest.toml").write_text(text)
    check = found(machine, "SymbolicRegression.jl")
    assert check.status is Status.PROBLEM
    assert "this juliacall wants PythonCall =0.9.28" in check.found


@pytest.mark.parametrize(
    ("number", "wanted", "good"),
    [
        ("1.10.0", julia.JULIA_WANTED, True),
        ("1.10.1", julia.JULIA_WANTED, False),
        ("1.12.3", julia.JULIA_WANTED, True),
        ("2.0.0", julia.JULIA_WANTED, False),
        ("1.10.3-rc1", julia.JULIA_WANTED, False),
        ("0.9.30", "0.9.28", True),
        ("0.10.0", "0.9.28", False),
        ("1.9", "^1", True),
        ("of unknown version", "~2.7", True),
        ("1.0", "<=python", True),
    ],
)
def test_versions_fit_as_julias_package_manager_reads_them(number, wanted, good):
    assert julia.fits(number, wanted) is good


def test_prereleases_are_ordered_by_number():
    order = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.2",
        "1.0.0-alpha.10",
        "1.0.0-beta",
        "1.0.0",
        "1.0.1",
    ]
    keys = [julia.parse_version(text) for text in order]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert julia.parse_version("latest") is None


@pytest.mark.parametrize("name", ["PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"])
def test_one_of_the_pair_alone_is_a_problem(name, machine):
    check = found(without(machine, name), "offline start")
    assert check.status is Status.PROBLEM
    assert "only with both" in check.found
    assert f"{name}=" in check.fix


def test_juliapkg_takes_yes_or_no_only(machine):
    check = found(machine | {"PYTHON_JULIAPKG_OFFLINE": "true"}, "offline start")
    assert check.status is Status.PROBLEM
    assert "PYTHON_JULIAPKG_OFFLINE=yes" in check.fix


@pytest.mark.parametrize("name", [name for name, _, _ in doctor._OFFLINE])
def test_every_offline_variable_is_needed(machine, name):
    check = found(without(machine, name), "offline start")
    assert check.status is not Status.OK
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
    assert started == [{"PYTHON_JULIAPKG_OFFLINE": "yes", "JULIA_PKG_OFFLINE": "true"}, "closed"]

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


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"PYTHON_JULIACALL_PROJECT": "a" * 5_000}, "SymbolicRegression.jl"),
        ({"PYTHON_JULIACALL_EXE": "/x/\udcff", "PYTHON_JULIACALL_PROJECT": "/y/\udcff\x1b[31m"}, "Julia"),
        ({"PYTHON_JULIACALL_EXE": "/x/\x00y"}, "Julia"),
        ({"PYTHON_JULIACALL_PROJECT": "", "PYTHON_JULIACALL_EXE": "", "HOME": ""}, "SymbolicRegression.jl"),
    ],
)
def test_an_environment_of_any_kind_is_described(machine, monkeypatch, change, name):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(julia.Path, "home", nobody)
    monkeypatch.setattr(julia.sys, "prefix", julia.sys.base_prefix)
    checks = {check.name: check for check in collect(machine | change)}
    assert len(checks) == len(collect(machine))
    assert checks[name].status is not Status.OK
    for text in (as_text(list(checks.values())), as_json(list(checks.values()))):
        assert text.encode("utf-8")
        assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    "script", ["printf 'julia version 1.10.4 \\351\\n'", "printf 'julia version 1.10.4\\000\\033[31m\\n'"]
)
def test_a_julia_that_prints_anything_is_described(machine, tmp_path, script):
    (tmp_path / "bin" / "julia").write_text(f"#!/bin/sh\n{script}\n")
    check = found(machine, "Julia")
    assert "1.10.4" in check.found
    assert check.found.isprintable()


def test_a_check_that_fails_says_so_and_the_others_go_on(machine, monkeypatch):
    def broken(environment):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(julia, "find_julia", broken)
    checks = {check.name: check for check in collect(machine)}
    assert checks["Julia"].found == "failed: PermissionError: [Errno 13] Permission denied"
    assert checks["Julia"].status is Status.PROBLEM
    assert checks["PySR"].status is Status.OK
    assert healthy(list(checks.values()))


def test_a_pysr_that_the_backend_refuses_is_a_problem(machine, monkeypatch):
    monkeypatch.setattr("symbolic.backends.installed.version", lambda name: "1.4.9")
    check = found(machine, "PySR")
    assert check.status is Status.PROBLEM
    assert "1.4.9 is older than 1.5.0" in check.found
    assert check.fix == "pip install --upgrade 'twinscope[pysr]'"
