"""The benchmark page can be made at any time: a rehearsal at the smallest settings, and the committed page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "page.py"
TITLES = re.findall(r'Section\(\s*"\w+",\s*"([^"]+)"', SCRIPT.read_text(encoding="utf8"))


def script(name: str) -> Any:
    """A script of the benchmarks as a module."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.mark.slow
def test_a_rehearsal_prints_every_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--smoke", "--output", str(page)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    text = page.read_text(encoding="utf8")
    assert done.returncode == 0, text[-3000:] + done.stderr[-2000:]
    assert "a rehearsal, not a measurement" in text
    for title in TITLES:
        assert f"## {title}" in text
    assert len(re.findall(r"^\|---", text, re.MULTILINE)) >= 5


def test_the_committed_page_is_whole() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf8")
    assert len(TITLES) > 5
    for title in TITLES:
        assert f"\n## {title}\n" in text, f"run: make bench ({title!r} is missing)"
    assert "**Failed" not in text and "**Did not end" not in text
    assert "a rehearsal" not in text, "run: make bench, on a machine that does nothing else"
    for peer in (
        "gplearn",
        "pyoperon",
        "GPyTorch SVGP",
        "GPyTorch exact",
        "SimilarityInfluence",
        "TracInCP",
        "shap",
    ):
        assert re.search(rf"^\| [^|]*\|? ?[^|]*{peer}[^|]*\|.* to ", text, re.MULTILINE), (
            f"no spread for {peer}"
        )
    assert re.search(r"torch \d", text)
    assert "not installed" in text or "pysr 1" in text


def test_a_section_made_anew_leaves_the_others() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf8")
    kept = script("page").sections(text)
    assert list(kept) == TITLES
    assert text.endswith("\n".join(kept.values()))


def test_a_page_measured_elsewhere_keeps_its_sections(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Machine and versions: another, 99 cores. The whole took 1 minutes.\n\n## Starting\n\nold\n"
    )
    before = page.read_text()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--only", "import", "--output", str(page)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "measured on another machine or with other versions" in done.stderr
    assert page.read_text() == before


def test_losses_are_called_losses() -> None:
    peers = script("peers")
    against, beside = peers.against, peers.beside
    assert against(1.0, 4.0) == "win, 4 ×"
    assert against(4.0, 1.0) == "**loss**, 4 ×"
    assert against(0.9, 0.5, low=False).startswith("win")
    assert against(1.0, 1.05) == "level"
    assert against(1.0, 512.0) == "win, 510 ×"
    assert beside([1.0, 2.0], [1.5, 9.0]) == "level", "the ranges overlap"
    assert beside([1.0, 2.0], [4.0, 9.0]) == "win, 4.3 ×"
    assert beside([4.0, 9.0], [1.0, 2.0]) == "**loss**, 4.3 ×"
    assert beside([], [1.0]) == "–"


def test_figures_are_medians_in_full() -> None:
    peers = script("peers")
    spread, shortened = peers.spread, peers.shortened
    assert spread([3.0, 1.0, 2.0]) == "2 (1 to 3)"
    assert spread([2.0, 1.0]) == "1.5 (1 to 2)", "of two values the mean"
    assert spread([51_234.0], 2) == "51,000"
    assert spread([]) == "–"
    assert shortened("abcd", 4) == "abcd"
    assert shortened("abcde", 4) == "abc…"
    assert script("scaling").exponent((1, 2, 4), (1.0, 1.0, 0.99999)) == "0.00"


def test_a_search_is_charged_up_to_the_first_that_finds_the_rule() -> None:
    formulas, tasks = script("peer_formulas"), script("concept_tasks")
    assert list(formulas.doubled(1, 10)) == [1, 2, 4, 8, 10]
    task, asked = tasks.TASKS["A1"], []

    def tool(model: object, X: np.ndarray, seed: int) -> Iterator[object]:
        for seconds, weight in ((1.0, -2.0), (2.0, 1.7), (4.0, 2.0)):
            asked.append(seconds)
            yield formulas.Found(
                lambda x, w=weight: np.column_stack([2 * x[:, 0], 2 * w * x[:, 1]]), "", 7, seconds
            )

    made = formulas.Figures()
    made.take(tool, task, None, np.zeros((1, 2)), 0)
    assert asked == [1.0, 2.0], "the third search would be charged too much"
    assert made.found == [2.0]
    assert made.counts == ("1 of 1", "0 of 1"), "found, and yet another concept"
    assert formulas.same(task, 0, lambda x: np.column_stack([-x[:, 0], -2.01 * x[:, 1]]))


@pytest.mark.parametrize("module", ["interpret.sweeping.session", "interpret.evidence.explainer"])
def test_a_free_process_has_no_limit_on_its_threads(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = script("sweep")
    for name in set(sweep.one_thread_environment()) - set(os.environ):
        monkeypatch.setenv(name, "1")
    free = sweep.any_threads_environment()
    limits = {name for name, value in sweep.one_thread_environment().items() if name.endswith("_THREADS")}
    assert len(limits) == 4
    assert not limits & set(free)
    program = sweep.MANY_THREADS.removesuffix("run()\n") + (
        f"\nimport {module} as m\nfrom symbolic import assemble\n"
        "print(m.one_thread is contextlib.nullcontext, type(assemble.threadpool_limits(1)).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=free, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["True", "nullcontext"], done.stderr
