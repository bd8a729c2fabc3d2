"""The page of the architecture names every source file once, and none that is gone."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
FIX = "run: python docs/_build/architecture.py"


def generator() -> Any:
    """docs/_build/architecture.py as a module."""
    found = importlib.util.spec_from_file_location(
        "architecture", ROOT / "docs" / "_build" / "architecture.py"
    )
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def listed() -> list[tuple[str, str]]:
    return re.findall(r"^\| `([^`]+\.py)` \| (.*) \|$", PAGE.read_text(encoding="utf8"), re.MULTILINE)


def test_every_source_file_is_named_once() -> None:
    files = sorted(
        path.relative_to(ROOT).as_posix()
        for package in ("interpret", "gp", "symbolic")
        for path in (ROOT / package).rglob("*.py")
    )
    named = [name for name, _ in listed()]
    assert len(files) > 100
    assert sorted(named) == files, f"{set(named) ^ set(files)}; {FIX}"


def test_every_file_has_one_job_in_a_line() -> None:
    for name, job in listed():
        assert 15 <= len(job) <= 160, (
            f"{name}: {job!r}; shorten the first sentence of its docstring, then {FIX}"
        )


def test_the_page_is_what_its_generator_writes() -> None:
    """Word for word, jobs included: `make docs` leaves the tracked page as it is."""
    written = generator().page()
    assert PAGE.read_text(encoding="utf8").splitlines() == written.splitlines(), FIX


def test_the_picture_names_every_room() -> None:
    picture = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf8")
    for package in ("interpret", "gp", "symbolic"):
        assert f"{package}/" in picture
    for room in (path for path in (ROOT / "interpret").iterdir() if (path / "__init__.py").exists()):
        assert f"{room.name}/" in picture, room
    for stem in generator().GROUND:
        assert f"{stem} " in picture or f"{stem}<" in picture, stem
