"""A model file with manners of its own, streams that are closed or full, terminals of no width: still an answer."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import pytest

from interpret.cli import main
from interpret.explanation import NeuronExplanation
from interpret.store import create_run, open_run

Capture = pytest.CaptureFixture[str]
Make = Callable[..., NeuronExplanation]
#: Neurons of the run that is asked.
MANY = 250
PROGRAM = "from interpret.cli import run; run()"
NET = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
"""
LOUD = """
import os
print("imported", flush=True)
os.write(1, b"raw\\n")
class Loud(nn.Module):
    def forward(self, x):
        print("a forward pass")
        return x
model.append(Loud())
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("loud.py").write_text(NET + LOUD)
    np.savez("d.npz", X=np.random.default_rng(0).normal(size=(60, 3)))
    return tmp_path


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A shell line in which $T is the command line's program."""
    variables = {"T": f'{sys.executable} -c "{PROGRAM}"', "PATH": "/usr/bin:/bin"}
    variables |= {"PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    return subprocess.run(
        ["bash", "-c", line.replace("$T", variables.pop("T"))],
        capture_output=True, text=True, timeout=120, env=variables,
    )  # fmt: skip


def test_what_a_model_prints_is_not_in_the_json(work: Path) -> None:
    done = shell("$T layers loud.py:model --data d.npz --json")
    assert [layer["path"] for layer in json.loads(done.stdout)][:3] == ["0", "1", "2"]
    assert set(done.stderr.splitlines()) == {"imported", "raw", "a forward pass"}
    done = shell("$T explain loud.py:model --data d.npz --engine gp --neurons '0[0]' --out run --json")
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["start", "done", "end"]
    assert done.returncode == 0 and "a forward pass" in done.stderr


def test_standard_output_is_given_back(work: Path, capsys: Capture) -> None:
    assert main(["layers", "loud.py:model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    print("ours again")
    assert capsys.readouterr().out == "ours again\n"


@pytest.mark.parametrize(
    ("jobs", "program"),
    [
        ("1", "import sys; sys.exit(7)"),
        ("1", "import sys\ndef model(): sys.exit('bye')"),
        ("2", "import sys; sys.exit(7)"),
    ],
)
def test_a_model_that_ends_the_program(work: Path, capsys: Capture, program: str, jobs: str) -> None:
    Path("exits.py").write_text(program)
    order = [
        "explain",
        "exits.py:model",
        "--data",
        "d.npz",
        "--neurons",
        "0[0]",
        "--out",
        "run",
        "--jobs",
        jobs,
    ]
    assert main(order) == 2
    said = capsys.readouterr()
    assert "the model's file ended the program, sys.exit(" in said.err and said.out == ""
    assert not Path("run").exists()


def test_a_thousand_workers_are_refused(work: Path, capsys: Capture) -> None:
    order = [
        "explain",
        "net.py:model",
        "--data",
        "d.npz",
        "--neurons",
        "0[0]",
        "--out",
        "run",
        "--jobs",
        "1000",
    ]
    assert main(order) == 2
    assert "1000 worker processes on" in capsys.readouterr().err
    for few in ("0", "-1"):
        assert main([*order[:-1], few]) == 2


def test_a_run_in_the_place_of_a_file(work: Path, capsys: Capture) -> None:
    for place in ("net.py", "net.py/run"):
        order = [
            "explain",
            "net.py:model",
            "--data",
            "d.npz",
            "--engine",
            "gp",
            "--neurons",
            "0[0]",
            "--out",
            place,
        ]
        assert main(order) == 2
        assert "a run is a folder, and there is a file of that name" in capsys.readouterr().err
    assert Path("net.py").read_text() == NET


def test_other_data_in_the_same_run_is_said(work: Path, capsys: Capture) -> None:
    order = ["explain", "net.py:model", "--engine", "gp", "--neurons", "0[0]", "--out", "run", "--data"]
    np.savez("e.npz", X=np.random.default_rng(1).normal(size=(60, 3)))
    assert main([*order, "d.npz"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*order, "d.npz", "--seed", "1"]) == 0
    assert "explained from" not in capsys.readouterr().err, "another seed is no other data"
    assert main([*order, "e.npz"]) == 0
    said = capsys.readouterr().err
    assert "run holds 1 neurons of 'net:model' explained from other data" in said
    start = said.split("--data ")[1][:8]
    assert main(["query", "run", "--data", start, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["data_hash"].startswith(start)
    assert main([*order, "d.npz", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make: Make) -> Path:
    """A run whose table as CSV is more than a pipe holds."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    with create_run(folder) as made:
        for i in range(MANY):
            made.add(make(f"a.long.module.path.fc1[{i}]"))
    return folder


def test_streams_that_are_closed_full_or_unread(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    assert len(shell("$T query run --csv").stdout) > 2**16
    done = shell("$T query run --csv | head -1; echo ${PIPESTATUS[0]}")
    assert done.stdout.splitlines()[0].startswith("address,") and done.stdout.splitlines()[1] == "0"
    assert done.stderr == ""
    done = shell("$T query run > /dev/full")
    assert done.returncode == 2 and done.stderr == "twinscope: writing the output: No space left on device\n"
    for closed in (">&-", ">&- 2>&-", "<&- >&- 2>&-"):
        assert shell(f"$T query run {closed}").returncode == 0
    with open_run(run) as opened:
        assert opened.check() == []


def test_a_sweep_with_closed_streams_leaves_a_sound_run(work: Path) -> None:
    line = "$T explain net.py:model --data d.npz --engine gp --neurons '0[:]' --out run <&- >&- 2>&-"
    assert shell(line).returncode == 0
    with open_run("run") as opened:
        assert len(opened) == 2 and opened.check() == []


def test_names_that_are_not_utf8(work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setattr(import_module("interpret.report.write"), "MOST_IN_ONE_FILE", 0)
    folder = work / os.fsdecode(b"n\xff")
    folder.mkdir()
    for name in ("net.py", "d.npz"):
        (work / name).rename(folder / name)
    (folder / "net.py").rename(folder / os.fsdecode(b"n\xe9t.py"))
    run, page = f"{folder}/run", folder / os.fsdecode(b"r\xff.html")
    model = os.fsdecode(b"n\xe9t.py:model")
    explain = [
        "explain",
        f"{folder}/{model}",
        "--data",
        f"{folder}/d.npz",
        "--engine",
        "gp",
        "--neurons",
        "0[:]",
    ]
    for line in (
        [*explain, "--out", run], [*explain, "--out", f"{run}2", "--jobs", "2"], ["query", run],
        ["query", run, "0[0]"], ["query", run, "--json"], ["doctor", run], ["report", run, "--output", str(page)],
        ["report", run, "--output", f"{page}", "--json"],
    ):  # fmt: skip
        assert main(line) == 0, capfd.readouterr().err
    links = re.findall(r'(?:href|src)="([^"#]+)"', page.read_text())
    assert len(links) >= 4
    pages = [folder / os.fsdecode(unquote_to_bytes(link)) for link in links if link != "data:,"]
    assert all(path.is_file() for path in pages)
    home = re.findall(r'href="([^"]+)"', next(page for page in pages if page.suffix == ".html").read_text())
    assert f"../{quote(os.fsencode(page.name))}" in {link.partition("#")[0] for link in home}


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_workers_of_closed_streams_explain(work: Path, closed: str) -> None:
    line = "$T explain loud.py:model --data d.npz --engine gp --neurons '0[:]' --out run --jobs 2 --json"
    done = shell(f"{line} {closed}")
    assert done.returncode == 0
    if closed == "2>&-":
        assert [json.loads(said)["event"] for said in done.stdout.splitlines()] == [
            "start",
            "done",
            "done",
            "end",
        ]
    with open_run("run") as opened:
        assert len(opened) == 2 and opened.check() == []


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("verb", ["explain", "report"])
def test_files_of_the_working_folder_are_not_imported(run: Path, work: Path, verb: str, jobs: str) -> None:
    """The program lies elsewhere, as an installed one does; a model named as a package is found here all the same."""
    program = work / "bin" / "twinscope.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    for name in ("json", "numpy", "interpret/__init__"):
        path = work / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("import os; os.write(2, b'the wrong file is run'); os._exit(9)")
    package = work / "nets"
    package.mkdir()
    (package / "one.py").write_text(NET)
    line = {
        "explain": "explain nets.one:model --data d.npz --engine gp --neurons '0[:]' --out run",
        "report": f"report {run} --output r.html",
    }[verb]
    done = shell(f"{sys.executable} {program} {line} --jobs {jobs}")
    assert (done.returncode, done.stderr) == (0, "")


def test_no_home_no_terminal_and_forty_columns(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell above has neither HOME nor TERM."""
    monkeypatch.chdir(run.parent)
    done = shell("$T query run --limit 3", COLUMNS="40", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0 and done.stderr == ""
    letters = "".join(line.split("  ")[0] for line in done.stdout.splitlines())
    assert "a.long.module.path.fc1[2]" in letters, "folded, never cut"
    assert max(map(len, done.stdout.splitlines())) <= 40
    assert shell("$T query run --limit 3", PYTHONIOENCODING="ascii").returncode == 0


def test_a_run_behind_a_link(run: Path, work: Path, capsys: Capture) -> None:
    Path("link").symlink_to(run)
    assert main(["query", "link", "--limit", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert main(["report", "link", "-o", "r.html", "-q"]) == 0


@pytest.mark.parametrize("limit", ["0", "9" * 25])
def test_limits_of_any_size(run: Path, capsys: Capture, limit: str) -> None:
    assert main(["query", str(run), "--limit", limit, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == (0 if limit == "0" else MANY)


@pytest.mark.parametrize("name", ["a\nb", 'a"b', "a,b", "=cmd()", "ü🙂\u202e", "x" * 10_000, "|", "a\r\nb"])
def test_formulas_of_any_name_in_csv(work: Path, make: Make, capsys: Capture, name: str) -> None:
    one = make("fc1[0]")
    assert one.formula is not None
    with create_run("one") as made:
        made.add(
            replace(one, formula=replace(one.formula, expression=name, variables=(name,), names=(name,)))
        )
    assert main(["query", "one", "--csv", "--uses", name]) == 0
    text = capsys.readouterr().out
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["formula"].lstrip("'") == name or "\r" in name
    assert not row["formula"].startswith("=")
    assert main(["query", "one", "--markdown"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3, "a row stays a line"


def test_a_sweep_goes_on_when_its_reader_has_gone(work: Path) -> None:
    line = "$T explain net.py:model --data d.npz --engine gp --neurons '0[:]' --neurons '1[:]' --out run"
    done = shell(f"{line} --json | head -1; echo ${{PIPESTATUS[0]}}")
    assert json.loads(done.stdout.splitlines()[0])["event"] == "start"
    assert done.stdout.splitlines()[1] == "0" and done.stderr == ""
    with open_run("run") as opened:
        assert len(opened) == 4 and opened.check() == []
    sleepy = f"{line} --time-limit 0.1 --seed 7 --json | true; echo ${{PIPESTATUS[0]}}"
    Path("net.py").write_text(
        NET + "class Slow(nn.Module):\n    def forward(self, x):\n        import time; time.sleep(1)\n"
        "        return x\nmodel.append(Slow())\n"
    )
    assert shell(sleepy).stdout == "3\n", "neurons failed, though nobody heard of it"


def test_every_character_reaches_a_plain_terminal(
    run: Path, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    monkeypatch.chdir(run.parent)
    one = make("fc1[0]")
    with create_run("unknown") as made:
        made.add(replace(one, examples=None, crosscheck=None))
        made.add(make("größe[0]"))
    plain = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    for verb in (
        "query unknown",
        "query unknown 'fc1[0]'",
        "query unknown --markdown",
        "query unknown --csv",
    ):
        done = shell(f"$T {verb}", **plain)
        assert (done.returncode, done.stderr) == (0, ""), verb
    assert "gr\\xf6\\xdfe[0]" in shell("$T query unknown", **plain).stdout


def test_doctor_is_one_document(run: Path, capsys: Capture) -> None:
    main(["doctor", str(run), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["run"] == str(run) and said["problems"] == []
    assert {"name", "status", "found"} <= set(said["checks"][0])
    main(["doctor", str(run), "--quiet"])
    assert capsys.readouterr().out == ""


EXPLAIN = ("explain", "net.py:model", "--data", "d.npz", "--engine", "gp", "--out", "r", "--neurons", "0[0]")


@pytest.mark.parametrize(
    "arguments",
    [
        (*EXPLAIN, "--seed", "-1"),
        (*EXPLAIN, "--seed", str(2**63)),
        (*EXPLAIN, "--seed", "9" * 5000),
        *((*EXPLAIN, "--time-limit", value) for value in ("inf", "nan", "0", "-1", "1e300")),
        *((*EXPLAIN, "--search-time", value) for value in ("inf", "nan", "0", "-1")),
        *((*EXPLAIN[:-1], place) for place in (f"0[{'9' * 5000}:]", f"0@{'9' * 5000}[0]")),
        ("query", "r", "--min-alignment", "nan"),
    ],
)
def test_numbers_that_mean_nothing(work: Path, capsys: Capture, arguments: tuple[str, ...]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("twinscope: ") and len(said.err) < 7000
    assert "inside twinscope" not in said.err and "Exceeds the limit" not in said.err
    assert not Path("r").exists()


HOSTILE = {
    "text": "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E",
    "base": "class B(BaseException): pass\nraise B('x')",
    "factory": "class B(BaseException): pass\ndef model(): raise B('x')",
    "depth": "import sys; sys.setrecursionlimit(60)\nimport xml.dom.minidom, unittest, email.message\n"
    "def f(n): return f(n - 1)\nf(60)",
}


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_file_that_fails_in_its_own_way(work: Path, capfd: Capture, name: str, jobs: str) -> None:
    Path("net.py").write_text(NET + HOSTILE[name])
    assert main([*EXPLAIN, "--jobs", jobs]) == 2
    said = capfd.readouterr().err
    assert "net.py" in said and "fails" in said and "Traceback" not in said
    assert not Path("r").exists()


def test_a_model_that_fails_in_its_forward_pass(work: Path, capfd: Capture) -> None:
    body = "class B(BaseException): pass\ndef fail(x): raise B('at work')\nmodel.forward = fail\n"
    Path("net.py").write_text(NET + body)
    assert main([*EXPLAIN, "--jobs", "2"]) == 2
    said = capfd.readouterr().err
    assert "at work" in said and "Traceback" not in said


def test_a_model_that_leaves_forks_or_exits(work: Path) -> None:
    Path("elsewhere").mkdir()
    Path("net.py").write_text("import os; os.chdir('elsewhere')\n" + NET)
    line = "$T explain net.py:model --data d.npz --engine gp --neurons '0[0]' --out "
    assert shell(f"{line} left").returncode == 0
    assert Path("left/run.sqlite").exists() and not list(Path("elsewhere").iterdir())
    Path("net.py").write_text(NET + "import os; os.fork()\n")
    done = shell(f"{line} forked --json")
    assert done.returncode == 0 and done.stdout.count('"start"') == 1, "two programs went on"
    Path("net.py").write_text(NET + "import os; os._exit(0)\n")
    done = shell(f"{line} gone --jobs 2")
    assert done.returncode == 2 and "exit code 0 while it loaded the model" in done.stderr


def test_markdown_and_csv_are_inert(work: Path, make: Make, capsys: Capture) -> None:
    from interpret.commands.terminal import csv_text, markdown_lines, safe
    from interpret.runs.answers import Table

    text = "a*b*c <img src=x> [l](u) `c` \\| _d_ !x"
    (row,) = markdown_lines(("f",), [(text,)]).splitlines()[2:]
    assert row == r"| a\*b\*c \<img src=x\> \[l](u) \`c\` \\\| \_d\_ \!x |"
    cells = csv_text(Table(("f",), [("-x0 + 1",), ("-1.5e3",), ("+cmd",)])).splitlines()
    assert cells == ["f", "'-x0 + 1", "-1.5e3", "'+cmd"]
    assert safe("\u200e\u200f\u061c\u2028") == "\N{REPLACEMENT CHARACTER}" * 4
    assert len(markdown_lines(("f",), [("a\u2028b\nc",)]).splitlines()) == 3


def test_the_options_file_meets_the_line(run: Path, work: Path, capsys: Capture) -> None:
    file = Path("twinscope.toml")
    file.write_text("\ufeff[query]\njson = true\nhas = '*'\n", encoding="utf-8")
    assert main(["query", str(run), "--csv", "--limit", "1"]) == 0
    assert capsys.readouterr().out.startswith("address,")
    assert main(["query", str(run), "--csv", "--markdown"]) == 2
    capsys.readouterr()
    for content, part in (
        ("limit = true", "[query] limit: one text or number is expected; True came"),
        ("json = 1", "[query] json: true or false is expected"),
        ("uses = {a = 1}", "[query] uses: texts or numbers"),
        ("sort = ['r2']", "[query] sort: one text"),
    ):
        file.write_text(f"[query]\n{content}\n")
        assert main(["query", str(run)]) == 2
        assert part in capsys.readouterr().err


def test_texts_are_sorted_either_way(run: Path, capsys: Capture) -> None:
    first = []
    for way in ([], ["--ascending"], ["--descending"]):
        assert main(["query", str(run), "--sort", "address", "--limit", "1", "--json", *way]) == 0
        first.append(json.loads(capsys.readouterr().out)[0]["address"].partition("[")[2])
    assert first == ["0]", "0]", f"{MANY - 1}]"]
    assert main(["query", str(run), "--ascending", "--descending"]) == 2


def opened(process: int, name: str) -> bool:
    """Whether a process has a file of that name open."""
    descriptors = Path(f"/proc/{process}/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc")
    links = (os.readlink(at) for at in descriptors.iterdir() if at.is_symlink())
    return any(link.endswith(name) for link in links)


def test_two_interrupts_end_a_wait_for_the_database(work: Path) -> None:
    line = f"{PROGRAM.removesuffix('run()')} run({[*EXPLAIN]!r})"
    create_run("r").close()
    with closing(sqlite3.connect("r/run.sqlite")) as held:
        held.execute("BEGIN EXCLUSIVE")
        variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen([sys.executable, "-c", line], stderr=subprocess.PIPE, env=variables) as process:
            until = time.monotonic() + 60  # importing takes long on a busy machine
            while not opened(process.pid, "run.sqlite") and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(0.5)
            assert process.poll() is None, "it waits"
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(0.3)
            assert process.wait(timeout=5) == 130
            assert process.stderr is not None and b"Traceback" not in process.stderr.read()
