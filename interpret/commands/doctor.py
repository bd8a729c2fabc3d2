"""What is installed, what is missing, and the exact command that changes it. Imports nothing heavy, starts no Julia.

Versions are read from metadata and from files, so that a broken installation can still be described. ``deep=True``
also starts a PySR worker, in a process of its own, and times it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from json import dumps, loads
from pathlib import Path


class Status(StrEnum):
    """How a check ended: "missing" is no fault where the part is optional."""

    OK = "ok"
    MISSING = "missing"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked for, what was found, and the command that fixes it (empty: nothing to
    do).
    """

    name: str
    status: Status
    found: str
    fix: str = ""
    optional: bool = False


def collect(environment: Mapping[str, str] | None = None, deep: bool = False) -> list[Check]:
    """All checks, in the order to read them. ``environment`` stands in for ``os.environ``."""
    env = os.environ if environment is None else environment
    checks = [
        _python(),
        *(_package(*row) for row in _REQUIRED),
        _cuda(),
        *(_package(*row) for row in _OPTIONAL),
    ]
    checks += [_pysr(), _julia(env), _registry(env), _libpython(), _offline(env), _threads(env), _chromium()]
    if deep:
        checks.append(_start())
    return checks


def main(json: bool = False, deep: bool | None = None) -> int:
    """Print the checks, as a table or as JSON; 0 where everything needed is there, else 1.

    Whether PySR starts is tried where it is installed, unless ``deep`` says otherwise: that takes up to a minute.
    """
    from interpret.commands import terminal

    checks = collect(deep=importlib.util.find_spec("pysr") is not None if deep is None else deep)
    terminal.out(as_json(checks) if json else as_text(checks))
    return 0 if healthy(checks) else 1


def as_json(checks: list[Check]) -> str:
    """The checks as a list of objects."""
    return dumps([asdict(check) for check in checks], ensure_ascii=False, indent=2)


def as_text(checks: list[Check]) -> str:
    """The checks as aligned lines, each fix on a line of its own below what it fixes."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = {Status.OK: "ok     ", Status.MISSING: "missing", Status.PROBLEM: "PROBLEM"}[check.status]
        optional = "" if check.status is Status.OK or not check.optional else "  (optional)"
        lines.append(f"{mark}  {check.name:<{width}}  {check.found}{optional}")
        if check.fix:
            lines.append(f"{'':9}{'':<{width}}  fix: {check.fix}")
    return "\n".join(lines)


def healthy(checks: list[Check]) -> bool:
    """Whether everything that is needed is there."""
    return all(check.status is Status.OK or check.optional for check in checks)


_REQUIRED = (
    ("torch", "pip install torch", False),
    ("gpytorch", "pip install gpytorch", False),
    ("sympy", "pip install sympy", False),
    ("scikit-learn", "pip install scikit-learn", False),
    ("safetensors", "pip install safetensors", False),
)
_OPTIONAL = (
    ("pyarrow", "pip install 'twinscope[parquet]'", True),
    ("distributed", "pip install 'twinscope[cluster]'", True),
)


def _python() -> Check:
    # An older Python cannot have installed this, let alone parsed it.
    return Check("Python", Status.OK, f"{platform.python_version()} at {sys.executable}")


def _package(name: str, fix: str, optional: bool) -> Check:
    try:
        return Check(name, Status.OK, version(name), optional=optional)
    except PackageNotFoundError:
        return Check(name, Status.MISSING, "not installed", fix, optional)


def _cuda() -> Check:
    """Whether torch can use a GPU; asked in another process, because importing torch takes seconds and may fail."""
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    answer = _ask([sys.executable, "-c", code])
    if answer is None:
        fix = "pip install --force-reinstall torch"
        return Check("CUDA", Status.PROBLEM, "torch cannot be imported", fix, optional=True)
    if not answer:
        return Check("CUDA", Status.MISSING, "no GPU that torch can use; the CPU is used", optional=True)
    return Check("CUDA", Status.OK, answer, optional=True)


def _pysr() -> Check:
    if importlib.util.find_spec("pysr") is None:
        fix = "pip install 'twinscope[pysr]'"
        return Check(
            "PySR", Status.MISSING, "not installed (engine 'eigen' works without)", fix, optional=True
        )
    found = _installed("pysr")
    missing = [name for name in ("juliacall", "juliapkg") if importlib.util.find_spec(name) is None]
    if missing:
        fix = f"pip install {' '.join(missing)}"
        return Check("PySR", Status.PROBLEM, f"{found}, but without {', '.join(missing)}", fix, optional=True)
    return Check("PySR", Status.OK, f"{found}, juliacall {_installed('juliacall')}", optional=True)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown version"


def julia_executable(environment: Mapping[str, str]) -> str | None:
    """The julia binary that a worker would use, as far as it can be known without starting one."""
    named = environment.get("PYTHON_JULIACALL_EXE")
    if named:
        return named if os.access(named, os.X_OK) else shutil.which(named)
    return shutil.which("julia", path=environment.get("PATH"))


def _julia(environment: Mapping[str, str]) -> Check:
    named = environment.get("PYTHON_JULIACALL_EXE")
    binary = julia_executable(environment)
    if binary is None and named:
        fix = "export PYTHON_JULIACALL_EXE=/path/to/julia/bin/julia"
        return Check(
            "Julia", Status.PROBLEM, f"PYTHON_JULIACALL_EXE names {named}, which does not run", fix, True
        )
    if binary is None:
        fix = "curl -fsSL https://install.julialang.org | sh   (or let PySR download one on its first start)"
        return Check("Julia", Status.MISSING, "no julia on the path", fix, optional=True)
    answer = _ask([binary, "--startup-file=no", "--version"])
    if answer is None:
        fix = "export PYTHON_JULIACALL_EXE=/path/to/a/working/julia"
        return Check("Julia", Status.PROBLEM, f"{binary} does not start", fix, optional=True)
    if (_numbers(answer) or (0, 0)) < (1, 10):
        fix = "juliaup add 1.10 && juliaup default 1.10"
        return Check("Julia", Status.PROBLEM, f"{answer} at {binary}; PySR needs 1.10", fix, optional=True)
    return Check("Julia", Status.OK, f"{answer} at {binary}", optional=True)


def _numbers(text: str) -> tuple[int, ...] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


def project_folder(environment: Mapping[str, str]) -> Path:
    """The Julia project that a worker would use: the one named, or juliapkg's own."""
    named = environment.get("PYTHON_JULIACALL_PROJECT") or environment.get("PYTHON_JULIAPKG_PROJECT")
    if named:
        return Path(named)
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix) / "julia_env"
    depot = (environment.get("JULIA_DEPOT_PATH") or "").split(os.pathsep)[0]
    return Path(depot or Path.home() / ".julia") / "environments" / "pyjuliapkg"


def _registry(environment: Mapping[str, str]) -> Check:
    """SymbolicRegression.jl and PythonCall in the project's manifest."""
    folder = project_folder(environment)
    manifest = next((p for p in sorted(folder.glob("*anifest*.toml"), reverse=True)), None)
    fix = (
        f'julia --project={folder} -e \'using Pkg; Pkg.add(["PythonCall", "SymbolicRegression", "Zygote"]); '
        f"Pkg.precompile()'"
    )
    if manifest is None:
        return Check(
            "SymbolicRegression.jl", Status.MISSING, f"no Julia project in {folder}", fix, optional=True
        )
    text = manifest.read_text(encoding="utf-8", errors="replace")
    found = {name: _manifest_version(text, name) for name in ("SymbolicRegression", "PythonCall", "Zygote")}
    absent = [name for name, number in found.items() if number is None]
    listed = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    if absent:
        what = f"{listed or 'nothing'} in {folder}; without {', '.join(absent)}"
        return Check("SymbolicRegression.jl", Status.PROBLEM, what, fix, optional=True)
    wanted, number = wanted_registry_version(), found["SymbolicRegression"] or ""
    if wanted is not None and _numbers(number) != _numbers(wanted):
        fix = f'julia --project={folder} -e \'using Pkg; Pkg.add(name="SymbolicRegression", version="{wanted}")\''
        what = f"{number} in {folder}; this PySR wants {wanted}"
        return Check("SymbolicRegression.jl", Status.PROBLEM, what, fix, optional=True)
    return Check("SymbolicRegression.jl", Status.OK, f"{listed} in {folder}", optional=True)


def wanted_registry_version() -> str | None:
    """The version of SymbolicRegression.jl that the installed PySR asks for; None where it does not say."""
    spec = importlib.util.find_spec("pysr")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        try:
            asked = loads((Path(folder) / "juliapkg.json").read_text(encoding="utf-8"))
            number = asked["packages"]["SymbolicRegression"]["version"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return str(number).lstrip("~^=")
    return None


def _manifest_version(manifest: str, package: str) -> str | None:
    section = re.search(
        rf"^\[\[(?:deps\.)?{package}\]\](.*?)(?=^\[\[|\Z)", manifest, re.DOTALL | re.MULTILINE
    )
    if section is None:
        return None
    number = re.search(r'^version\s*=\s*"([^"]+)"', section[1], re.MULTILINE)
    return number[1] if number else "of unknown version"


def _libpython() -> Check:
    """Julia loads Python as a shared library."""
    name = sysconfig.get_config_var("LDLIBRARY") or ""
    if sysconfig.get_config_var("Py_ENABLE_SHARED") or ".so" in name or ".dylib" in name:
        return Check("libpython", Status.OK, name or "shared", optional=True)
    fix = "use a Python built with --enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.11)"
    return Check(
        "libpython",
        Status.PROBLEM,
        "this Python has no shared library, which Julia needs",
        fix,
        optional=True,
    )


#: What keeps a start of PySR off the network, and the value each variable needs.
_OFFLINE: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("PYTHON_JULIAPKG_OFFLINE", lambda value: value.lower() in ("yes", "true", "1"), "yes"),
    ("PYTHON_JULIACALL_EXE", lambda value: os.access(value, os.X_OK), "/path/to/julia/bin/julia"),
    (
        "PYTHON_JULIACALL_PROJECT",
        lambda value: bool(value) and Path(value).is_dir(),
        "/path/to/the/julia/project",
    ),
    ("JULIA_CONDAPKG_BACKEND", lambda value: value == "Null", "Null"),
    ("PYTHON_JULIACALL_HANDLE_SIGNALS", lambda value: value == "yes", "yes"),
)


def _offline(environment: Mapping[str, str]) -> Check:
    wrong = [(name, value) for name, good, value in _OFFLINE if not good(environment.get(name, ""))]
    if not wrong:
        return Check("offline start", Status.OK, "all variables are set: nothing goes online", optional=True)
    binary = julia_executable(environment)
    known = {"PYTHON_JULIACALL_EXE": binary, "PYTHON_JULIACALL_PROJECT": str(project_folder(environment))}
    settings = " ".join(f"{name}={known.get(name) or value}" for name, value in wrong)
    names = ", ".join(name for name, _ in wrong)
    what = f"PySR may go online at its start: {names} not set or not right"
    return Check("offline start", Status.MISSING, what, f"export {settings}", optional=True)


def _threads(environment: Mapping[str, str]) -> Check:
    found = environment.get("PYTHON_JULIACALL_THREADS")
    if found in (None, "1"):
        return Check("Julia threads", Status.OK, "1 for each worker", optional=True)
    fix = "unset PYTHON_JULIACALL_THREADS"
    what = f"PYTHON_JULIACALL_THREADS={found}: one core for each worker uses cores better"
    return Check("Julia threads", Status.PROBLEM, what, fix, optional=True)


def _chromium() -> Check:
    return Check("Chromium", Status.OK, "not needed: reports open in any browser", optional=True)


#: Seconds a worker gets to start; without compiling it needs less than one minute.
_PATIENCE = 180.0


def _start() -> Check:
    """Start a worker that may not go online, and wait for Julia."""
    from interpret.errors import InterpretError
    from symbolic.backends.pysr import PySR

    backend = PySR(environment={"PYTHON_JULIAPKG_OFFLINE": "yes"})
    missing = backend.available()
    if missing is not None:
        return Check("PySR starts offline", Status.MISSING, missing.reason, missing.command, optional=True)
    try:
        with backend:
            found, seconds = backend.start(_PATIENCE)
    except InterpretError as error:
        fix = "set the variables above; or let PySR download what it needs: python -c 'import pysr'"
        return Check("PySR starts offline", Status.PROBLEM, str(error), fix, optional=True)
    return Check("PySR starts offline", Status.OK, f"{found} in {seconds:.0f} s", optional=True)


def _ask(command: list[str]) -> str | None:
    """The first line a command prints, or None where it fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(answer.stdout.strip().splitlines()), "")
