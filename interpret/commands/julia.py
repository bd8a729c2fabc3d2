"""Where a PySR worker finds Julia and its packages, and the versions it asks for: read from files, no Julia started."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from json import loads
from pathlib import Path
from shlex import quote
from typing import Any

#: The Python package whose ``juliapkg.json`` says which version of a Julia package is wanted.
ASKED_BY = {"SymbolicRegression": "pysr", "PythonCall": "juliacall", "Zygote": "pysr"}
#: What PySR asks of Julia where it does not say so itself.
JULIA_WANTED = "=1.10.0, 1.10.3"

_VERSION = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+\S*)?")
Version = tuple[tuple[int, int, int], tuple[Any, ...]]


def parse_version(text: str) -> Version | None:
    """A key that orders versions as SemVer does: 1.0.0-alpha.1 < 1.0.0-alpha.10 < 1.0.0; None where there is none."""
    found = _VERSION.search(text)
    if found is None:
        return None
    numbers = (int(found[1]), int(found[2] or 0), int(found[3] or 0))
    if found[4] is None:
        return numbers, (1,)
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in found[4].split(".")]
    return numbers, (0, *parts)


def fits(number: str, wanted: str) -> bool:
    """Whether a version is one of those wanted, such as "~2.7.2" or "=1.10.0, 1.10.3"; what cannot be read fits."""
    version = parse_version(number)
    return version is None or any(_fits_one(version, part.strip()) for part in wanted.split(","))


def _fits_one(version: Version, wanted: str) -> bool:
    found = re.fullmatch(r"([=~^]?)\s*v?(\d\S*)", wanted)
    least = None if found is None else parse_version(found[2])
    if found is None or least is None:
        return True
    if found[1] == "=":
        return version == least
    given = found[2].partition("-")[0].count(".") + 1
    # The part that may not grow: the minor one after a tilde, else the first that is not zero.
    place = min(given, 2) if found[1] == "~" else next((k + 1 for k in range(given) if least[0][k]), given)
    return version >= least and version[0][:place] == least[0][:place]


def wanted_version(package: str, asked_by: str) -> str | None:
    """What an installed Python package asks of a Julia package, such as "~2.7.2"; None where it does not say.

    ``package`` "julia" is Julia itself.
    """
    spec = importlib.util.find_spec(asked_by)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        try:
            asked = loads((Path(folder) / "juliapkg.json").read_text(encoding="utf-8"))
            return str(asked["julia"] if package == "julia" else asked["packages"][package]["version"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def project_folder(environment: Mapping[str, str]) -> Path:
    """The Julia project that a worker would use: the one named, or juliapkg's own."""
    named = environment.get("PYTHON_JULIACALL_PROJECT") or environment.get("PYTHON_JULIAPKG_PROJECT")
    if named:
        return Path(named)
    prefix = sys.prefix if sys.prefix != sys.base_prefix else environment.get("CONDA_PREFIX")
    if prefix:
        return Path(prefix) / "julia_env"
    depot = (environment.get("JULIA_DEPOT_PATH") or "").split(os.pathsep)[0]
    return Path(depot or _home(environment) / ".julia") / "environments" / "pyjuliapkg"


def find_julia(environment: Mapping[str, str]) -> tuple[str | None, str]:
    """The julia binary that a worker would use, and where it comes from, in juliacall's and juliapkg's order.

    None with the variable that names one which is not there, or with "" where none was found.
    """
    path = environment.get("PATH", "")
    for variable in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIAPKG_EXE"):
        if environment.get(variable):
            return shutil.which(environment[variable], path=path), variable
    own = shutil.which(str(project_folder(environment) / "pyjuliapkg" / "install" / "bin" / "julia"))
    if own is not None:
        return own, "downloaded by juliapkg"
    managed = _juliaup(environment)
    if managed is not None:
        return managed, "installed by juliaup"
    found = shutil.which("julia", path=path)
    return found, "" if found is None else "on the path"


def _juliaup(environment: Mapping[str, str]) -> str | None:
    """The newest fitting Julia that juliaup lists."""
    folder = Path(environment.get("JULIAUP_DEPOT_PATH") or _home(environment) / ".julia") / "juliaup"
    try:
        listed = loads((folder / "juliaup.json").read_text(encoding="utf-8"))["InstalledVersions"]
        places = {
            str(number): folder / (at.get("BinaryPath") or f"{at['Path']}/bin/julia")
            for number, at in listed.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    wanted = wanted_version("julia", "pysr") or JULIA_WANTED
    good = [number for number in places if parse_version(number) is not None and fits(number, wanted)]
    for number in sorted(good, key=lambda text: parse_version(text) or (), reverse=True):
        found = shutil.which(str(places[number].absolute()))
        if found is not None:
            return found
    return None


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())


def manifest_versions(folder: Path) -> dict[str, str | None] | None:
    """The versions of the packages that a worker needs in a Julia project; None where there is no project."""
    for manifest in sorted(folder.glob("*anifest*.toml"), reverse=True):
        try:
            text = manifest.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        return {package: _manifest_version(text, package) for package in ASKED_BY}
    return None


def _manifest_version(manifest: str, package: str) -> str | None:
    section = re.search(
        rf"^\[\[(?:deps\.)?{package}\]\](.*?)(?=^\[\[|\Z)", manifest, re.DOTALL | re.MULTILINE
    )
    if section is None:
        return None
    number = re.search(r'^version\s*=\s*"([^"]+)"', section[1], re.MULTILINE)
    return number[1] if number else "of unknown version"


def install_command(julia: str | None, folder: Path) -> str:
    """The shell command that puts what PySR asks for into a project; paths quoted, versions those asked for."""
    specs = []
    for package, asked_by in ASKED_BY.items():
        wanted = (wanted_version(package, asked_by) or "").split(",")[0].strip().lstrip("=~^ ")
        # Julia reads a pre-release only as a version literal.
        literal = f'v"{wanted}"' if "-" in wanted else f'"{wanted}"'
        specs.append(f'PackageSpec(name="{package}"' + (f", version={literal})" if wanted else ")"))
    code = f"using Pkg; Pkg.add([{', '.join(specs)}]); Pkg.precompile()"
    return f"{quote(julia or 'julia')} --project={quote(str(folder))} -e {quote(code)}"
