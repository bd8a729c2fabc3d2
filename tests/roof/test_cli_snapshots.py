"""What a person sees, in a real terminal of 80 columns. ``UPDATE_SNAPSHOTS=1`` writes the files anew; then
read them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interpret.explanation import NeuronExplanation
from interpret.store import create_run

pexpect = pytest.importorskip("pexpect")

SNAPSHOTS = Path(__file__).with_name("snapshots")
PROGRAM = "import sys; sys.argv[0] = 'twinscope'; from interpret.cli import run; run()"
WIDTH = 80
_CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def screen(folder: Path, *arguments: str) -> str:
    """What the command prints in a terminal of 80 columns, without colours."""
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(WIDTH), "LINES": "40"}
    environment.pop("NO_COLOR", None)
    child = pexpect.spawn(
        sys.executable, ["-c", PROGRAM, *arguments], cwd=str(folder), env=environment,
        dimensions=(40, WIDTH), timeout=120, encoding="utf-8",
    )  # fmt: skip
    said = child.read()
    child.close()
    return "\n".join(shown(said)) + f"\n[exit {child.exitstatus}]\n"


def shown(said: str) -> list[str]:
    """The lines that stay on the screen: carriage returns, cursor moves upwards and erasures are obeyed."""
    lines, row, column = [""], 0, 0
    for found in _CONTROL.finditer(said):
        piece = found.group()
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            lines += [""] * (row - len(lines) + 1)
        elif found.group(2) == "A":
            row = max(0, row - int(found.group(1) or 1))
        elif found.group(2) == "K":
            lines[row] = "" if found.group(1) == "2" else lines[row][:column]
        elif not piece.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            column += len(piece)
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


def test_the_screen_obeys_what_a_terminal_obeys() -> None:
    assert shown("loading 1\r\x1b[2Kloading 2\r\n\x1b[1A\x1b[2K\x1b[31mdone\x1b[0m\r\nend\r\n") == [
        "done",
        "end",
    ]
    assert shown("abc\rX") == ["Xbc"]


def compare(name: str, text: str) -> None:
    file = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("terminal")


@pytest.fixture
def stored(folder: Path, make: Callable[..., NeuronExplanation]) -> Path:
    if not (folder / "run").exists():
        with create_run(folder / "run") as run:
            for i in range(3):
                run.add(
                    make(
                        f"encoder.layer.3.fc1[{i}]",
                        r2=0.9 + i / 100,
                        verdict=["EXACT", "NONE", "APPROXIMATE"][i],
                    )
                )
        (folder / "net.py").write_text("from torch import nn\nmodel = nn.Sequential(nn.Linear(2, 3))\n")
        (folder / "d.csv").write_text("a,b\n" + "0.5,1.5\n1.0,2.0\n" * 20)
    return folder


@pytest.mark.parametrize("verb", ["", "layers", "explain", "query", "report", "demo", "doctor"])
def test_help(folder: Path, verb: str) -> None:
    text = screen(folder, *([verb] if verb else []), "--help")
    assert max(map(len, text.splitlines())) <= WIDTH + 4, "examples may be a little wider; nothing else"
    compare(f"help-{verb or 'twinscope'}", text)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("query-table", ["query", "run", "--sort", "r2"]),
        ("query-card", ["query", "run", "encoder.layer.3.fc1[0]"]),
        ("query-empty", ["query", "run", "--has", "sqrt"]),
        ("error-input", ["query", "run", "--uses", "x9"]),
        ("error-unknown-neuron", ["query", "run", "encoder.layer.3.fc1[9]"]),
        ("error-query", ["query", "run", "--where", "r2 > 0.9 and color == 'red'"]),
        ("error-formula", ["query", "run", "--like", "x0 * (x1"]),
        ("error-store", ["query", "nowhere"]),
        ("error-usage", ["query", "run", "--limit", "few"]),
        ("error-command", ["explian"]),
        (
            "error-unknown-layer",
            ["explain", "net.py:model", "--data", "d.csv", "--neurons", "1[0]", "--out", "r"],
        ),
        ("error-index", ["explain", "net.py:model", "--data", "d.csv", "--neurons", "0[7]", "--out", "r"]),
        ("error-load", ["layers", "net.py:nothing"]),
    ],
)
def test_screens(stored: Path, name: str, arguments: list[str]) -> None:
    text = screen(stored, *arguments)
    if name.startswith("error"):
        assert text.endswith("[exit 2]\n") and "Traceback" not in text
    else:
        assert max(map(len, text.splitlines())) <= WIDTH
    compare(name, text)


LONG = (
    "encoder.layers.encoder_layer_11.self_attention.out_proj[123]",
    "backbone." + ".".join(f"stage_{i}.block_{i}" for i in range(8)) + ".attention.project[4095]",
)


def test_long_addresses_are_folded_and_never_cut(
    tmp_path: Path, make: Callable[..., NeuronExplanation]
) -> None:
    with create_run(tmp_path / "run") as run:
        for address in LONG:
            run.add(make(address))
    assert [len(address) for address in LONG] == [60, 160]
    text = screen(tmp_path, "query", "run")
    first = "".join(line[:34].rstrip() for line in text.splitlines()[2:])
    assert all(address in first for address in LONG)
    assert text.count("EXACT") == 2 and "x0*x1 + sin(x3)" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    compare("query-long", text)


def test_progress_is_live_and_an_interrupt_says_how_to_go_on(stored: Path) -> None:
    """A sweep in a terminal shows done, rate and time left; Ctrl-C ends it with 130 and the way on."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import fake_sweep
from interpret.commands import verbs
from interpret.sweep import Serial
order = fake_sweep.order(60, 0.05)
verbs.executor = lambda order, how: Serial(order, fake_sweep.FakeSession(order))
sys.exit(verbs.explain(order, Path("live"), verbs.How()))
"""
    child = pexpect.spawn(
        sys.executable, ["-c", program], cwd=str(stored), env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        dimensions=(40, WIDTH), timeout=60, encoding="utf-8",
    )  # fmt: skip
    child.expect(r"\d+/60")
    child.expect("/min")
    child.expect("left")
    child.sendintr()
    child.expect("interrupted with")
    rest = child.read()
    child.close()
    assert child.exitstatus == 130
    assert "the same command goes on where it stopped" in _ESCAPES.sub("", rest).replace("\r\n", " ")


@pytest.mark.parametrize("moment", ["import", "worker"])
def test_an_interrupt_at_the_start_is_one_line(stored: Path, moment: str) -> None:
    """Ctrl-C while the command is imported, or while its workers are: no traceback from any process."""
    slow = "import time; print('importing', flush=True); time.sleep(1)\n"
    site = stored / "site"
    site.mkdir(exist_ok=True)
    if moment == "import":  # typer is what the command line imports first
        (site / "typer.py").write_text(slow)
    else:  # a process's own start, before it can have told the system anything
        (site / "sitecustomize.py").write_text(
            "import sys\nif any('interpret.sweeping.worker' in word for word in sys.orig_argv):\n    " + slow
        )
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environment["PYTHONPATH"] = f"{site}:{Path(__file__).parents[2]}"
    arguments = ["--data", "d.csv", "--neurons", "0[:]", "--engine", "gp", "--out", "r", "--jobs", "2"]
    program = "import sys; sys.argv[0] = 'twinscope'\n" + PROGRAM
    child = pexpect.spawn(
        sys.executable, ["-c", program, "explain", "net.py:model", *arguments], cwd=str(stored),
        env=environment, dimensions=(40, WIDTH), timeout=60, encoding="utf-8",
    )  # fmt: skip
    child.expect("importing")
    child.sendintr()
    rest = child.read()
    child.close()
    for name in ("typer.py", "sitecustomize.py"):
        (site / name).unlink(missing_ok=True)
    assert child.exitstatus == 130
    assert "Traceback" not in rest and rest.count("twinscope: interrupted") == 1
