"""Every example runs to its last assertion, and the README's Python does what it prints."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
#: CPU seconds that an example may take. On a machine that does other things too it waits longer, and works no more.
MOST_SECONDS = 60.0


def cpu_seconds() -> float:
    """Of this process, its threads and the processes it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf8")
    assert text.startswith("# %% [markdown]\n# # ")
    assert text.split("# %%")[-1].count("assert ") >= 3, "an example ends in assertions"
    monkeypatch.chdir(tmp_path)
    start = cpu_seconds()
    runpy.run_path(str(path), run_name="__main__")
    assert cpu_seconds() - start < MOST_SECONDS, "docs/examples.md promises less than a minute"


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_readme_python_is_ten_lines() -> None:
    """What it prints is checked where all pages are run."""
    (block,) = blocks("python")
    assert len([line for line in block.splitlines() if line.strip()]) == 10


def test_readme_names_files_and_verbs_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)
    from typer.main import get_command

    from interpret.cli import app

    verbs = set(re.findall(r"^twinscope (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert verbs <= set(get_command(app).commands)  # type: ignore[attr-defined]
