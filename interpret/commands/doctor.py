"""What is installed, what is missing, and the exact command that changes it. Imports nothing heavy, starts no Julia.

Versions are read from metadata and from files, so that a broken installation can still be described. ``deep=True``
also starts a PySR worker, in a process of its own, and times it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from json import dumps
from pathlib import Path
from shlex import quote

from interpret.commands import julia

#: Characters of a finding; a variable may hold any number.
_LONGEST = 2_000


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
    rows: list[tuple[str, bool, Callable[[], Check]]] = [
        ("Python", False, _python),
        *((row[0], row[2], partial(_package, *row)) for row in _REQUIRED),
        ("CUDA", True, _cuda),
        *((row[0], row[2], partial(_package, *row)) for row in _OPTIONAL),
        ("PySR", True, _pysr),
        ("Julia", True, partial(_julia, env)),
        ("SymbolicRegression.jl", True, partial(_packages, env)),
        ("libpython", True, _libpython),
        ("offline start", True, partial(_offline, env)),
        ("Julia threads", True, partial(_threads, env)),
        ("Chromium", True, _chromium),
    ]
    if deep:
        rows.append(("PySR starts offline", True, _start))
    return [_made(*row) for row in rows]


def _made(name: str, optional: bool, look: Callable[[], Check]) -> Check:
    """A check that always answers: what goes wrong in one is its finding, and costs the others nothing."""
    try:
        check = look()
    except Exception as error:
        check = Check(name, Status.PROBLEM, f"failed: {type(error).__name__}: {error}", optional=optional)
    return replace(check, found=_printable(check.found), fix=_printable(check.fix, None))


def _printable(text: str, most: int | None = _LONGEST) -> str:
    """Text that any terminal takes: variables, paths and other programs' answers may hold anything."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text[:most]
    )


def main(json: bool = False, deep: bool | None = None) -> int:
    """Print the checks, as a table or as JSON; 0 where everything needed is there, else 1.

    Whether PySR starts is tried where it is installed, unless ``deep`` says otherwise: that takes up to a minute.
    """
    from interpret.commands import terminal

    checks = looked(deep)
    terminal.out(as_json(checks) if json else as_text(checks))
    return 0 if healthy(checks) else 1


def looked(deep: bool | None = None) -> list[Check]:
    """All checks; ``deep`` as for ``main``."""
    return collect(deep=_has("pysr") if deep is None else deep)


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


def _has(name: str) -> bool:
    """Whether a worker would find that package."""
    try:
        from symbolic.backends.installed import installed

        return installed(name)
    except Exception:
        # The checks say what is broken.
        return False


def _pysr() -> Check:
    from symbolic.backends.installed import pysr_version
    from symbolic.backends.pysr_parameters import too_old

    if not _has("pysr"):
        fix = "pip install 'twinscope[pysr]'"
        return Check(
            "PySR", Status.MISSING, "not installed (engine 'eigen' works without)", fix, optional=True
        )
    found, old = _installed("pysr"), too_old(pysr_version())
    if old:
        fix = "pip install --upgrade 'twinscope[pysr]'"
        return Check("PySR", Status.PROBLEM, old, fix, optional=True)
    missing = [name for name in ("juliacall", "juliapkg") if not _has(name)]
    if missing:
        fix = f"pip install {' '.join(missing)}"
        return Check("PySR", Status.PROBLEM, f"{found}, but without {', '.join(missing)}", fix, optional=True)
    return Check("PySR", Status.OK, f"{found}, juliacall {_installed('juliacall')}", optional=True)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown version"


def _julia(environment: Mapping[str, str]) -> Check:
    binary, source = julia.find_julia(environment)
    if binary is None and source:
        what = f"{source} names {environment[source]}, which does not run"
        return Check("Julia", Status.PROBLEM, what, f"export {source}=/path/to/julia/bin/julia", True)
    if binary is None:
        fix = "curl -fsSL https://install.julialang.org | sh   (or let PySR download one on its first start)"
        return Check("Julia", Status.MISSING, "no julia found", fix, optional=True)
    answer = _ask([binary, "--startup-file=no", "--version"])
    if answer is None:
        fix = "export PYTHON_JULIAPKG_EXE=/path/to/a/working/julia"
        return Check("Julia", Status.PROBLEM, f"{binary} does not start", fix, optional=True)
    wanted = julia.wanted_version("julia", "pysr") or julia.JULIA_WANTED
    what = f"{answer} at {binary} ({source})"
    if not julia.fits(answer, wanted):
        fix = "juliaup add 1.10 && juliaup default 1.10"
        return Check("Julia", Status.PROBLEM, f"{what}; PySR needs {wanted}", fix, optional=True)
    return Check("Julia", Status.OK, what, optional=True)


def _packages(environment: Mapping[str, str]) -> Check:
    """What a worker needs in its Julia project, in the versions that PySR and juliacall ask for."""
    name = "SymbolicRegression.jl"
    folder = julia.project_folder(environment)
    fix = julia.install_command(julia.find_julia(environment)[0], folder)
    found = julia.manifest_versions(folder)
    if found is None:
        return Check(name, Status.MISSING, f"no Julia project in {folder}", fix, optional=True)
    listed = ", ".join(f"{package} {number}" for package, number in found.items() if number)
    absent = [package for package, number in found.items() if number is None]
    if absent:
        what = f"{listed or 'nothing'} in {folder}; without {', '.join(absent)}"
        return Check(name, Status.PROBLEM, what, fix, optional=True)
    for package, asked_by in julia.ASKED_BY.items():
        wanted = julia.wanted_version(package, asked_by)
        if wanted is not None and not julia.fits(found[package] or "", wanted):
            what = f"{listed} in {folder}; this {asked_by} wants {package} {wanted}"
            return Check(name, Status.PROBLEM, what, fix, optional=True)
    return Check(name, Status.OK, f"{listed} in {folder}", optional=True)


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
    # juliapkg takes "yes" and "no" and nothing else.
    ("PYTHON_JULIAPKG_OFFLINE", lambda value: value == "yes", "yes"),
    ("PYTHON_JULIACALL_EXE", lambda value: shutil.which(value) is not None, "/path/to/julia/bin/julia"),
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
    known = {
        "PYTHON_JULIACALL_EXE": julia.find_julia(environment)[0],
        "PYTHON_JULIACALL_PROJECT": str(julia.project_folder(environment)),
    }
    fix = "export " + " ".join(f"{name}={quote(known.get(name) or value)}" for name, value in wrong)
    pair = [name for name in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT") if environment.get(name)]
    if len(pair) == 1:
        what = f"{pair[0]} is set alone: juliacall starts only with both of EXE and PROJECT, or neither"
        return Check("offline start", Status.PROBLEM, what, fix, optional=True)
    if environment.get("PYTHON_JULIAPKG_OFFLINE", "no") not in ("yes", "no"):
        what = (
            f"PYTHON_JULIAPKG_OFFLINE={environment['PYTHON_JULIAPKG_OFFLINE']}: juliapkg takes yes or no only"
        )
        return Check("offline start", Status.PROBLEM, what, fix, optional=True)
    what = f"PySR may go online at its start: {', '.join(name for name, _ in wrong)} not set or not right"
    return Check("offline start", Status.MISSING, what, fix, optional=True)


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

    backend = PySR(environment={"PYTHON_JULIAPKG_OFFLINE": "yes", "JULIA_PKG_OFFLINE": "true"})
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
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return next(iter(answer.stdout.strip().splitlines()), "")
