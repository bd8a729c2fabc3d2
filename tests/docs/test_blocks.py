"""Every block of code in the README and the documentation is run, page by page, in an empty folder.

Blocks of a page share a namespace and the folder, in order. A comment before a block changes what is done with it:

    <!-- not run: REASON -->     cannot run here; its syntax is checked
    <!-- setup: PYTHON -->       run in its place, for what a page takes for granted (a model of yours, data of yours)

A title makes a block a file (```python title="net.py"); ```text title="prints" is what the block before it printed:
words as they are, numbers as ``close`` has it.
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


#: A number that is no part of a name: the digits of x0 and fc1 are letters to the comparison.
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
INTEGER = re.compile(r"[-+]?\d[\d,]*")
SECONDS = re.compile(r"\s*(?:s|ms|seconds?|minutes?)\b")
COEFFICIENT = re.compile(r"\s*\*")


def compare(shown: str, printed: str) -> None:
    """Every line shown was printed, in order: the same words, numbers as ``close`` has it; … stands for anything."""
    rest = iter(printed.splitlines())
    for line in filter(None, map(str.strip, shown.splitlines())):
        assert any(alike(line, other.strip()) for other in rest), (
            f"not printed: {line!r}\nbut:\n{printed[-2000:]}"
        )


def alike(line: str, other: str) -> bool:
    """The same words; at each number of ``line`` one that is ``close``; … stands for any text."""
    pattern, numbers, at = "", [], 0
    for match in re.finditer(rf"{NUMBER.pattern}|…|\s+", line):
        pattern += re.escape(line[at : match.start()])
        at = match.end()
        if match[0] == "…":
            pattern += ".*?"
        elif match[0].isspace():
            pattern += r"\s*"
        else:
            pattern += f"({NUMBER.pattern})"
            numbers.append((match[0], line[at:]))
    found = re.fullmatch(pattern + re.escape(line[at:]), other)
    return found is not None and all(
        close(shown, printed, after) for (shown, after), printed in zip(numbers, found.groups(), strict=True)
    )


def close(shown: str, printed: str, after: str) -> bool:
    """Whether a printed number may stand where ``shown`` does, before the text ``after``.

    Times agree within a factor of ten; whole numbers, and so exponents and indices, exactly; a coefficient, and a
    number beyond 1, within 5 %. From 0.9 to 1 it is what is missing to 1 that counts, as it does for a cosine or an R²:
    that agrees within a factor of two, up to rounding. What is smaller, such as a misalignment, agrees within a factor
    of two, and within 0.02.
    """
    a, b = (float(text.replace(",", "")) for text in (shown, printed))
    if SECONDS.match(after):
        return a == b or (a * b > 0 and 0.1 <= a / b <= 10)
    if INTEGER.fullmatch(shown):
        return a == b
    if COEFFICIENT.match(after) or abs(a) > 1:
        return abs(a - b) <= 0.05 * abs(a)
    if a >= 0.9:
        rounding = 2 * 10.0 ** -len(shown.partition(".")[2]) + 1e-5
        return 1 - b <= 2 * (1 - a) + rounding and 1 - a <= 2 * max(1 - b, 0) + rounding and b <= 1 + rounding
    return a == b or (a * b > 0 and 0.5 <= a / b <= 2 and abs(a - b) <= 0.02)


#: Whatever a reader of Markdown takes for the fence of a block, in a list or a quotation too, or raw HTML for one.
FENCE = re.compile(r"^[ \t>*+\-\d.)]*(?:`{3,}|~{3,}).*$|^.*<pre\b.*$", re.MULTILINE)
#: The fences that ``blocks`` finds.
PLAIN = re.compile(r' *```(?:\w+(?: title="[^"]*")?)?')


def strange(text: str) -> list[str]:
    """Fences of a page that the tests would not find, or not find the end of."""
    fences = [match[0] for match in FENCE.finditer(text)]
    odd = [fence for fence in fences if not PLAIN.fullmatch(fence)]
    unnamed = [fence for fence in fences[::2] if fence.strip() == "```"]
    return odd or unnamed or fences[len(fences) // 2 * 2 :]


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


def test_every_fence_is_one_that_the_tests_find() -> None:
    for path in PAGES:
        assert strange(path.read_text(encoding="utf8")) == [], path


@pytest.mark.parametrize(
    "opening",
    ["~~~python", "````python", "- ```python", "1. ```python", "> ```python", "``` python", "```{.python}", "```",
     "```python linenums", "```python title=net.py", "<pre><code>"],
)  # fmt: skip
def test_other_fences_are_refused(opening: str) -> None:
    closing = "~~~" if opening.startswith("~") else opening.split("p")[0] if "````" in opening else "```"
    assert strange(f"words\n\n{opening}\n1 / 0\n{closing}\n")
    assert strange('```python title="net.py"\n1\n```\n\n  ```sh\nls\n  ```\n') == []


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("misalignment 1.5e-3 on … points", "misalignment 1.1e-3 on 40 held-out points"),
     ("x0^2 + 2.027 * x1^2", "x0^2 + 2.05 * x1^2"), ("R² 0.9996", "R² 0.9991"), ("took 0.73 s", "took 3.1 s"),
     ("R² 0.9996", "R² 0.9998"), ("correlation 1.000000", "correlation 0.999994"), ("0.94 inside", "0.953 inside"),
     ("4[0]   EXACT", "4[0] EXACT"), ("10,000 rows", "10000 rows"), ("a row: -24.80", "a row: -24.1")],
)  # fmt: skip
def test_what_may_differ(shown: str, printed: str) -> None:
    compare(shown, f"before\n{printed}\n")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("misalignment 1.5e-3", "misalignment 4e-3"), ("EXACT", "NONE"), ("x0^2 + 2.027 * x1^2", "x0^2 + 2.2 * x1^2"),
     ("x0^2", "x0^3"), ("x0 * x1", "x0 * x2"), ("fc1[3]", "fc2[3]"), ("fc1[3]", "fc1[4]"), ("R² 0.9996", "R² 0.95"),
     ("0.9995 1.0000", "0.9995 -1.0000"), ("1 of 1 neurons", "1 of 2 neurons"), ("took 0.73 s", "took 9.1 s"),
     ("-24.80", "24.80"), ("R² 0.9996", "R² 0.998"), ("1.000000", "0.981"), ("1.000000", "0.9998"), ("0.95", "0.99"),
     ("0.9995", "1.02"), ("0.98", "0.9")],
)  # fmt: skip
def test_the_comparison_can_fail(shown: str, printed: str) -> None:
    with pytest.raises(AssertionError):
        compare(shown, printed)
