"""Run the commands whose figures the pages show, keep what they print, and put their tables into the pages.

    python docs/_build/figures.py [--pages-only] [NAME ...]

A record, docs/_figures/NAME.txt, is what one command printed, word for word, below the command and the machine. Without
a name all commands are run, which takes some ten minutes of one core; seconds are worth keeping from a quiet machine
only. The pages hold the records' tables between comments, `<!-- printed by: COMMAND (table 1) -->` and `<!-- end -->`;
`(machine)` stands for what it ran on. Figures in the text are looked up in the records by tests/docs/test_figures.py.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "_figures"
#: record → command
COMMANDS = {
    "datamodel": "python benchmarks/attribution.py --parts datamodel",
    "suspects": "python benchmarks/attribution.py --parts suspects",
    "noise": "python benchmarks/gp.py --only noise",
    "scale": "python benchmarks/scale.py",
    "demo": "python benchmarks/start.py --demo",
    "regression": "python examples/regression.py",
}
#: What a record begins with.
HEAD = re.compile(r"\$ (?P<command>[^\n]+)\n# (?P<machine>[^\n]+)\n\n(?P<printed>.*)", re.DOTALL)
#: A part of a page that holds what a command printed.
PASSAGE = re.compile(
    r"(?P<start><!-- printed by: (?P<command>.+?) \((?P<part>table \d+|machine)\) -->\n)"
    r"(?P<text>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)
TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Record:
    """What a command printed, and on what machine."""

    command: str
    machine: str
    printed: str

    def part(self, name: str) -> str:
        """The machine, or the table of that number, as it stands in a page."""
        if name == "machine":
            return f"{self.machine}\n"
        return TABLE.findall(self.printed)[int(name.removeprefix("table ")) - 1]


def records() -> dict[str, Record]:
    """Every record, by its command."""
    found = {}
    for path in sorted(FOLDER.glob("*.txt")):
        match = HEAD.fullmatch(path.read_text(encoding="utf8"))
        if match is None:
            sys.exit(f"{path} is no record; make it anew: python docs/_build/figures.py {path.stem}")
        found[match["command"]] = Record(**match.groupdict())
    return found


def make(name: str) -> None:
    """Run a command and keep what it prints; a command that fails leaves the record as it was."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from page import machine

    command = COMMANDS[name]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        env=os.environ | threads | {"PYTHONPATH": search, "COLUMNS": "120"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}")
    text = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text(f"$ {command}\n# {machine()}\n\n{text}\n", encoding="utf8")


def filled(text: str, known: dict[str, Record]) -> str:
    """A page with its passages as the records have them; a passage without a record stays as it is."""

    def passage(found: re.Match[str]) -> str:
        record = known.get(found["command"])
        return found[0] if record is None else found["start"] + record.part(found["part"]) + found["end"]

    return PASSAGE.sub(passage, text)


def pages() -> Iterator[Path]:
    """The README, and every page of the documentation."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(COMMANDS))
    parser.add_argument("--pages-only", action="store_true", help="run nothing, fill the pages from the records")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.names) - set(COMMANDS)):
        parser.error(f"no such record: {', '.join(unknown)}; there are {', '.join(COMMANDS)}")
    for name in [] if asked.pages_only else asked.names or COMMANDS:
        print(f"{name}: {COMMANDS[name]}", file=sys.stderr, flush=True)
        make(name)
    for page in pages():
        text = page.read_text(encoding="utf8")
        if (made := filled(text, records())) != text:
            page.write_text(made, encoding="utf8")


if __name__ == "__main__":
    main()
