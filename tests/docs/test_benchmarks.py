"""The benchmark page can be made at any time: a rehearsal at the smallest settings, and the committed page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "page.py"
TITLES = re.findall(r'Section\(\s*"\w+",\s*"([^"]+)"', SCRIPT.read_text(encoding="utf8"))


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
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        import page
    finally:
        sys.path.remove(str(SCRIPT.parent))
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf8")
    kept = page.sections(text)
    assert list(kept) == TITLES
    assert text.endswith("\n".join(kept.values()))


def test_losses_are_called_losses() -> None:
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from peers import against, beside, spread
    finally:
        sys.path.remove(str(SCRIPT.parent))
    assert against(1.0, 4.0) == "win, 4 ×"
    assert against(4.0, 1.0) == "**loss**, 4 ×"
    assert against(0.9, 0.5, low=False).startswith("win")
    assert against(1.0, 1.05) == "level"
    assert spread([3.0, 1.0, 2.0]) == "2 (1 to 3)"
    assert beside([1.0, 2.0], [1.5, 9.0]) == "level", "the ranges overlap"
    assert beside([1.0, 2.0], [4.0, 9.0]) == "win, 4.3 ×"
    assert beside([4.0, 9.0], [1.0, 2.0]) == "**loss**, 4.3 ×"
    assert beside([], [1.0]) == "–"
