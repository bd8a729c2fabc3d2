"""Every block of code in the README and the documentation is run, page by page, in an empty folder.

Blocks of a page share a namespace and the folder, in order. A comment before a block changes what is done with it:

    <!-- not run: REASON -->     cannot run here; its syntax is checked
    <!-- setup: PYTHON -->       run in its place, for what a page takes for granted (a model of yours, data of yours)

A title makes a block a file (```python title="net.py"); ```text title="prints" is what the block before it printed:
words as they are, numbers within a factor of two.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PIECE = re.compile(
    r"^(?P<margin> *)```(?P<language>\w*) *(?P<title>title=\"[^\"]*\")? *\n(?P<code>.*?)^(?P=margin)```"
    r"|<!-- (?P<word>not run|setup): *(?P<said>.*?)-->",
    re.DOTALL | re.MULTILINE,
)
SHELLS = {"sh", "bash", "console"}


@dataclass(frozen=True)
class Block:
    """One piece of a page to run, in order."""

    language: str
    code: str
    title: str = ""
    excuse: str = ""
    line: int = 0


def blocks(text: str) -> list[Block]:
    """Blocks and setups of a page, an excuse attached to the block that follows it."""
    found, excuse = [], ""
    for match in PIECE.finditer(text):
        line = text[: match.start()].count("\n") + 1
        if match["word"] == "not run":
            excuse = " ".join(match["said"].split())
        elif match["word"] == "setup":
            found.append(Block("python", match["said"], line=line))
        else:
            margin = len(match["margin"])
            code = "\n".join(row[margin:] for row in match["code"].splitlines())
            title = (match["title"] or "").removeprefix('title="').removesuffix('"')
            found.append(Block(match["language"], code, title, excuse, line))
            excuse = ""
    return found


class Page:
    """A folder and a namespace for the blocks of one page."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.printed = folder, ""
        self.namespace: dict[str, Any] = {"__name__": "page"}

    def do(self, block: Block) -> None:
        """Run, save, check or compare a block, as its language and title say."""
        if block.excuse:
            assert len(block.excuse) > 15, "a reason, please"
            syntax(block)
        elif block.language == "text":
            if block.title == "prints":
                compare(block.code, self.printed)
        elif block.title:
            syntax(block)
            (self.folder / block.title).write_text(block.code + "\n", encoding="utf8")
        elif block.language == "python":
            self.python(block)
        elif block.language in SHELLS:
            self.shell(block.code)
        else:
            syntax(block)

    def python(self, block: Block) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.chdir(self.folder):
            exec(compile("\n" * block.line + block.code, "page", "exec"), self.namespace)
        self.printed = out.getvalue()

    def shell(self, code: str) -> None:
        binaries = str(Path(sys.executable).parent)
        path = os.pathsep.join([binaries, os.environ.get("PATH", "")])
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-ec", code],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        self.printed = done.stdout


def syntax(block: Block) -> None:
    """The block could be what it says it is."""
    if block.language == "python":
        compile(block.code, "page", "exec")
    elif block.language in SHELLS:
        subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)
    elif block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "json":
        json.loads(block.code)
    else:
        assert block.language in {"text", "bibtex"}, (
            f"no check for blocks of {block.language or 'no language'}"
        )


NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def compare(shown: str, printed: str) -> None:
    """Every line shown was printed, in order: the same words, numbers within a factor of two; … stands for anything."""
    rest = iter(printed.splitlines())
    for line in filter(None, map(str.strip, shown.splitlines())):
        assert any(alike(line, other.strip()) for other in rest), (
            f"not printed: {line!r}\nbut:\n{printed[-2000:]}"
        )


def alike(line: str, other: str) -> bool:
    """The same words; at each number of ``line`` a number of its size; … stands for any text."""
    parts = re.split(rf"({NUMBER.pattern}|…|\s+)", line)
    pattern = "".join(
        f"({NUMBER.pattern})"
        if NUMBER.fullmatch(p)
        else ".*?"
        if p == "…"
        else r"\s*"
        if p.isspace()
        else re.escape(p)
        for p in parts
    )
    match = re.fullmatch(pattern, other)
    if match is None:
        return False
    pairs = zip((p for p in parts if NUMBER.fullmatch(p)), match.groups(), strict=True)
    return all(close(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs)


def close(a: float, b: float) -> bool:
    return a == b or (a * b > 0 and 0.5 <= a / b <= 2)


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_block_runs(path: Path, tmp_path: Path) -> None:
    page = Page(tmp_path)
    for block in blocks(path.read_text(encoding="utf8")):
        try:
            page.do(block)
        except Exception as error:
            raise AssertionError(f"{path.relative_to(ROOT)}:{block.line}: {error}") from error


def test_no_block_is_overlooked() -> None:
    """As many fences are found as there are; comments that look like an instruction are one."""
    for path in PAGES:
        text = path.read_text(encoding="utf8")
        fenced = [block for block in blocks(text) if block.language and not block.code.startswith("\0")]
        setups = len(re.findall(r"<!-- setup:", text))
        assert len(fenced) == len(re.findall(r"^ *```\w", text, re.MULTILINE)) + setups, path
        assert len(re.findall(r"<!-- *not.run", text)) == sum(bool(b.excuse) for b in fenced), path


def test_the_comparison_can_fail() -> None:
    compare("misalignment 1.5e-3 on … points", "x\nmisalignment 1.1e-3 on 40 held-out points\n")
    with pytest.raises(AssertionError):
        compare("misalignment 1.5e-3", "misalignment 4e-3")
    with pytest.raises(AssertionError):
        compare("EXACT", "NONE")
