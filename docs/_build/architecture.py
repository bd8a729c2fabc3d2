"""Rewrite the file list of docs/architecture.md: one line for each source file, its docstring's first sentence.

python docs/_build/architecture.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- files: written by docs/_build/architecture.py -->", "<!-- end of files -->"

#: Rooms in reading order: heading, folder, and which of its files come first; the others follow by name.
GROUND = ["errors", "outcome", "address", "probe", "data", "loading", "threads"]
ROOF = ["explanation", "explaining", "comparing", "store", "sweep", "cli", "demo"]
ROOMS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("The ground: what both engines stand on", "interpret", tuple(GROUND)),
    ("The ground: reading a network", "interpret/probing", ("places", "passes", "reading", "derivatives", "state")),
    ("The ground: reading data", "interpret/inputs", ()),
    ("The engine of formulas", "symbolic", ("api", "targets", "expression", "gram", "supports", "features", "deepen",
                                            "polish", "choice", "controls", "link", "judge", "formula")),
    ("Its search backends", "symbolic/backends", ("base", "eigen")),
    ("The engine of examples", "gp", ("distilling", "kernels", "activation", "learned", "tangent", "conditioning",
                                      "posterior", "distillation")),
    ("The roof: what users call", "interpret", tuple(ROOF)),
    ("The roof: evidence on one neuron", "interpret/evidence", ("explainer", "formulas", "examples", "verdict")),
    ("The roof: runs", "interpret/runs", ("schema", "codec", "rows")),
    ("The roof: sweeps", "interpret/sweeping", ("session", "worker", "pool")),
    ("The roof: commands", "interpret/commands", ("verbs",)),
    ("The roof: the report", "interpret/report", ("view", "write", "render")),
    ("The report's figures", "interpret/report/figures", ("style", "panel")),
)  # fmt: skip


def sources() -> list[str]:
    """Every source file of the three packages, relative to the repository."""
    found = (path for package in ("interpret", "gp", "symbolic") for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def job(path: str) -> str:
    """The first sentence of the file's docstring."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf8"))) or ""
    first = " ".join(text.split("\n\n")[0].replace("``", "`").split())
    sentence = re.split(r"(?<=[a-z)`’'])\. (?=[A-Z`])", first)[0]
    return sentence.rstrip(".").replace("|", "\\|") + "."


def placed() -> dict[tuple[str, str], list[str]]:
    """Files of each room in reading order; a file is in the first room that names it, else in its folder's last."""
    rooms: dict[tuple[str, str], list[str]] = {(heading, folder): [] for heading, folder, _ in ROOMS}
    left = sources()
    for heading, folder, first in ROOMS:
        for stem in first:
            if (path := f"{folder}/{stem}.py") in left:
                rooms[heading, folder].append(path)
                left.remove(path)
    for path in left:
        folder = Path(path).parent.as_posix()
        room = [key for key in rooms if key[1] == folder] or [key for key in rooms if path.startswith(key[1])]
        rooms[room[0] if path.endswith("__init__.py") else room[-1]].append(path)
    return rooms


def listing() -> str:
    """The Markdown of all rooms."""
    parts = []
    for (heading, folder), files in placed().items():
        rows = "\n".join(f"| `{path}` | {job(path)} |" for path in files)
        parts.append(f"### {heading}\n\nIn `{folder}/`.\n\n| file | its one job |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def page() -> str:
    """The whole page with the listing between its marks, as it should be."""
    before, rest = PAGE.read_text(encoding="utf8").split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n{listing()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf8")
