"""What is shipped: wheel and source archive, their content, an installation without extras, one version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

import interpret

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]


def run(*command: str | Path, cwd: Path = ROOT, **more: str) -> str:
    """What a command prints; what it complains of, if it fails."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=clean | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_one_version() -> None:
    assert interpret.__version__ == PROJECT["version"]
    printed = run(sys.executable, "-c", "from interpret.cli import run; run()", "--version")
    assert printed.split() == ["twinscope", PROJECT["version"]]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf8")
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


def test_both_papers_are_cited() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    names = [{author["family-names"] for author in paper["authors"]} for paper in citation["references"]]
    assert {"Akbarnejad", "Bigras", "Ray"} in names
    assert {"Wetzel"} in names
    assert citation["title"] == PROJECT["name"]


def test_the_minimal_versions_are_those_of_the_project() -> None:
    pinned = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints-minimal.txt").read_text().splitlines()
        if "==" in line
    )
    for requirement in PROJECT["dependencies"]:
        name, floor = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        lowest = [int(part) for part in pinned[name].split(".")]
        wanted = [int(part) for part in floor.split(".")]
        assert lowest[: len(wanted)] == wanted, f"{name}: {pinned[name]} tests another floor than {floor}"


def tracked() -> list[str]:
    """Every file of the source tree: what git has, or in a source archive, where there is no git, all that is there."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0 and done.stdout:
        return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]
    made = {
        "__pycache__",
        ".venv",
        ".pytest_cache",
        ".hypothesis",
        "build",
        "dist",
        "site",
        "runs",
        "twinscope.egg-info",
    }
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [
        path.as_posix()
        for path in files
        if not made & set(path.parts) and path.name not in ("PKG-INFO", "setup.cfg")
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Wheel and source archive, built from a copy of the tree without the network."""
    pytest.importorskip("setuptools", "77", reason="building needs setuptools 77 or newer here")
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "built"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            tree = tmp_path_factory.mktemp("tree")
            for name in tracked():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, tree / name)
            for kind in ("wheel", "sdist"):
                build = f"import sys; from setuptools import build_meta as b; b.build_{kind}(sys.argv[1])"
                run(sys.executable, "-c", build, folder, cwd=tree)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_everything_that_is_needed(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("interpret", "gp", "symbolic"):
        assert f"{package}/py.typed" in names
    here = {
        path.relative_to(ROOT).as_posix()
        for package in ("interpret", "gp", "symbolic")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here - names == set(), "in the tree, not in the wheel"
    strangers = {name.split("/")[0] for name in names if ".dist-info/" not in name} - {
        "interpret",
        "gp",
        "symbolic",
    }
    assert strangers == set()
    assert wheel.stat().st_size < 2_000_000


@pytest.mark.slow
def test_the_source_archive_builds_what_the_wheel_holds(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.split("/", 1)[-1] for name in opened.getnames()}
    assert {"CITATION.cff", "CHANGELOG.md", "docs/tutorial.md", "tests/docs/test_packaging.py"} <= names
    assert set(tracked()) - names == set(), "in the tree, not in the source archive"
    assert archive.stat().st_size < 10_000_000


@pytest.mark.slow
def test_it_works_from_the_wheel_alone(built: Path, tmp_path: Path) -> None:
    """A clean environment that sees the required packages and no extra; the command is there and answers."""
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    shared = Path(interpret_dependencies())
    only_required(shared, site)
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", "-q", wheel)
    code = "import interpret, symbolic, gp; print(interpret.__file__, interpret.__version__)"
    where, version = run(python, "-c", code, cwd=tmp_path).split()
    assert Path(where).is_relative_to(tmp_path)
    assert version == PROJECT["version"]
    twinscope = tmp_path / "env" / "bin" / "twinscope"
    assert run(twinscope, "--version", cwd=tmp_path).split()[1] == version
    doctor = run(twinscope, "doctor", cwd=tmp_path)
    assert "pysr" in doctor.lower()
    small = (
        "import numpy as np, symbolic; x = np.random.default_rng(0).uniform(-1, 1, (300, 2)); "
        "f = symbolic.fit_gradients(x, np.c_[2 * x[:, 0], np.ones(300)], x[:, 0] ** 2 + x[:, 1]); "
        "print(f.verdict, f.text())"
    )
    assert run(python, "-c", small, cwd=tmp_path).startswith("EXACT")


def interpret_dependencies() -> str:
    """Where this environment keeps its packages."""
    import numpy

    return str(Path(numpy.__file__).parents[1])


def only_required(shared: Path, site: Path) -> None:
    """Link into ``site`` what the project's dependencies, and theirs, consist of; nothing of an extra."""
    from importlib.metadata import Distribution, distribution

    from packaging.requirements import Requirement

    wanted, seen = [*PROJECT["dependencies"]], set()
    while wanted:
        requirement = Requirement(wanted.pop())
        if requirement.name.lower() in seen or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        seen.add(requirement.name.lower())
        try:
            found: Distribution = distribution(requirement.name)
        except ModuleNotFoundError:
            continue
        wanted += found.requires or []
        for file in found.files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(shared / top)
    assert {"torch", "sympy", "typer"} <= seen
    assert not (site / "pytest").exists()


def test_importing_stays_within_its_budget() -> None:
    """Which modules an import loads; how long that takes is printed by benchmarks/start.py."""
    code = "import sys; before = set(sys.modules); import interpret; print(*(set(sys.modules) - before))"
    loaded = {name.split(".")[0] for name in run(sys.executable, "-c", code).split()}
    heavy = {
        "torch",
        "numpy",
        "pandas",
        "scipy",
        "sklearn",
        "sympy",
        "gpytorch",
        "matplotlib",
        "jinja2",
        "typer",
        "rich",
    }
    assert not loaded & heavy
    assert len(loaded) < 80
