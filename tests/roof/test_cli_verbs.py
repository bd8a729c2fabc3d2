"""Every verb from the outside: what it prints where, its exit code, and one message for every wrong call."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interpret.cli import app, main
from interpret.commands.terminal import csv_text, figure, json_text, safe
from interpret.explanation import NeuronExplanation
from interpret.store import create_run, open_run

Make = Callable[..., NeuronExplanation]
Capture = pytest.CaptureFixture[str]

NET = """
import torch
from collections import OrderedDict
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(OrderedDict(fc1=nn.Linear(3, 8), act=nn.Tanh(), out=nn.Linear(8, 1)))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a table that fits it and one that does not; also the working folder."""
    (tmp_path / "net.py").write_text(NET)
    X = np.random.default_rng(0).uniform(-1, 1, (120, 3))
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    table.assign(kind=(X[:, 0] > 0).astype(int)).to_csv(tmp_path / "d.csv", index=False)
    table.assign(d=0.5).to_csv(tmp_path / "wide.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stored(work: Path, make: Make) -> Path:
    with create_run(work / "run") as run:
        for i in range(3):
            run.add(make(f"fc1[{i}]", r2=0.9 + i / 100, verdict=["EXACT", "NONE", "APPROXIMATE"][i]))
    return work / "run"


def wrong(capsys: Capture, *arguments: str) -> str:
    """The message of a call that must end with 2, print nothing on stdout, and no traceback."""
    code = main(arguments)
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    assert said.err.startswith("twinscope: ") and "Traceback" not in said.err
    return said.err


EXPLAIN = ("explain", "net.py:model", "--out", "runs/x", "--data")


def test_an_unknown_layer(work: Path, capsys: Capture) -> None:
    message = wrong(capsys, *EXPLAIN, "d.csv", "--label", "kind", "--neurons", "fc2[0]")
    assert "fc2" in message and "fc1" in message
    assert not Path("runs").exists()


def test_an_index_out_of_range(work: Path, capsys: Capture) -> None:
    message = wrong(capsys, *EXPLAIN, "d.csv", "--label", "kind", "--neurons", "fc1[8]")
    assert "fc1[8]" in message and "8" in message
    assert not Path("runs").exists()


def test_a_table_that_does_not_fit(work: Path, capsys: Capture) -> None:
    message = wrong(capsys, *EXPLAIN, "wide.csv", "--neurons", "fc1[0]")
    assert "3" in message and "4" in message
    assert not Path("runs").exists()


def test_the_model_is_resolved_before_the_data(work: Path, capsys: Capture) -> None:
    message = wrong(
        capsys, "explain", "gone.py:model", "--data", "gone.csv", "--neurons", "a[0]", "--out", "runs/x"
    )
    assert "gone.py" in message and "gone.csv" not in message
    message = wrong(
        capsys, "explain", "net.py:nothing", "--data", "gone.csv", "--neurons", "a[0]", "--out", "runs/x"
    )
    assert "nothing" in message and "gone.csv" not in message
    assert "gone.csv" in wrong(capsys, *EXPLAIN, "gone.csv", "--neurons", "fc1[0]")


def test_the_same_from_worker_processes(work: Path, capsys: Capture) -> None:
    message = wrong(capsys, *EXPLAIN, "d.csv", "--label", "kind", "--neurons", "fc2[0]", "--jobs", "2")
    assert "fc2" in message and "fc1" in message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["query"], "Missing argument"),
        (["query", "nowhere"], "no run here"),
        (["query", "run", "--limit", "many"], "--limit"),
        (["query", "run", "--limit", "-1"], "--limit"),
        (["query", "run", "--json", "--csv"], "choose one"),
        (["query", "run", "fc1[9]"], "fc1[0]"),
        (["query", "run", "--where", "r2 >"], "--where"),
        (["query", "run", "--where", "r3 > 1"], "did you mean r2"),
        (["query", "run", "--sort", "beauty"], "no column"),
        (["query", "run", "--verdict", "GOOD"], "EXACT, APPROXIMATE, NONE"),
        (["query", "run", "--like", "import os"], ""),
        (["explain", "net.py:model"], "Missing option"),
        (["explain", "net.py:model", "--jobs", "0"], "--jobs"),
        (["explain", "net.py:model", "--data", "d.csv", "--label", "kind", "--neurons", "fc1[0]", "--out", "r",
          "--engine", "magic"], "magic"),
        (["explain", "net.py:model", "--data", "d.csv", "--label", "kind", "--neurons", "fc1[0", "--out", "r"], ""),
        (["explain", "net.py:model", "--data", "d.csv", "--label", "nosuch", "--neurons", "fc1[0]", "--out", "r"],
         "nosuch"),
        (["explain", "net.py:model", "--data", "d.csv", "--label", "kind", "--neurons", "fc1[0]", "--out", "net.py"],
         "net.py"),
        (["report", "nowhere"], "no run here"),
        (["doctor", "nowhere"], "no run here"),
        (["layers", "net.py"], ""),
        (["--config", "nowhere.toml", "query", "run"], "nowhere.toml"),
    ],
)  # fmt: skip
def test_wrong_calls(stored: Path, capsys: Capture, arguments: list[str], part: str) -> None:
    if arguments[0] == "doctor":
        code = main(arguments)
        said = capsys.readouterr()
        assert code == 2 and part in said.err
        return
    assert part in wrong(capsys, *arguments)


def test_no_arguments_is_help(capsys: Capture) -> None:
    code = main([])
    said = capsys.readouterr()
    assert code in (0, 2) and "Usage: twinscope" in said.out + said.err


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("twinscope 0.")


def test_query_json_is_a_list_of_objects(stored: Path, capsys: Capture) -> None:
    assert main(["query", str(stored), "--json", "--sort", "r2"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [one["address"] for one in found] == ["fc1[2]", "fc1[1]", "fc1[0]"]
    assert found[0]["r2"] == 0.92 and found[0]["terms"] == 2 and found[0]["verdict"] == "APPROXIMATE"
    assert said.err == ""
    assert main(["query", str(stored), "fc1[1]", "--json"]) == 0
    assert [one["address"] for one in json.loads(capsys.readouterr().out)] == ["fc1[1]"]
    assert main(["query", str(stored), "--has", "sqrt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["query", str(stored), "--uses", "nothing", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "no neuron of this run has an input 'nothing'; there are" in said.err


def test_query_csv_and_markdown(stored: Path, capsys: Capture) -> None:
    assert main(["query", str(stored), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["address"] for row in rows] == ["fc1[0]", "fc1[1]", "fc1[2]"]
    assert float(rows[1]["r2"]) == 0.91
    assert main(["query", str(stored), "--markdown", "--limit", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| address | verdict | formula |") and len(lines) == 3


def test_query_table_and_card(stored: Path, capsys: Capture) -> None:
    assert main(["query", str(stored)]) == 0
    said = capsys.readouterr().out
    assert "fc1[0]" in said and "APPROXIMATE" in said and "3 of 3 neurons" in said
    assert main(["query", str(stored), "fc1[0]"]) == 0
    assert "It multiplies x0 by x1." in capsys.readouterr().out


def test_the_configuration_file(stored: Path, capsys: Capture) -> None:
    Path("twinscope.toml").write_text('[query]\nsort = "r2"\nmin-alignment = 0.5\nlimit = 2\n')
    assert main(["query", str(stored), "--json"]) == 0
    assert [one["address"] for one in json.loads(capsys.readouterr().out)] == ["fc1[2]", "fc1[1]"]
    assert main(["query", str(stored), "--json", "--limit", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    Path("other.toml").write_text("[query]\nlimit = 0\n")
    assert main(["--config", "other.toml", "query", str(stored), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("[query]\nlimits = 3\n", "limits: no such option; there is limit"),
        ("[qery]\nlimit = 3\n", "[qery]: no such verb; there is query"),
        ("limit = 3\n", "stands outside a table"),
        ("[query\n", "not a TOML file"),
        ("[query]\nlimit = 'many'\n", "limit"),
        ("\xff", "not a TOML file"),
    ],
)
def test_a_wrong_configuration(stored: Path, capsys: Capture, content: str, part: str) -> None:
    Path("twinscope.toml").write_bytes(content.encode("latin-1"))
    assert part in wrong(capsys, "query", "run")


def test_a_typo_in_another_verbs_table_is_a_warning(stored: Path, capsys: Capture) -> None:
    Path("twinscope.toml").write_text("[explain]\njbos = 3\n[zzz]\n[query]\nlimit = 1\n")
    assert main(["query", "run", "--json"]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 1
    assert "warning: twinscope.toml: [explain] jbos: no such option; there are jobs" in said.err
    assert "[zzz]: no such verb" in said.err
    message = wrong(capsys, "explain", "net.py:model", "--data", "d.csv", "--neurons", "fc1[0]", "--out", "r")
    assert "[explain] jbos: no such option" in message


def test_layers(work: Path, capsys: Capture) -> None:
    assert main(["layers", "net.py:model", "--data", "d.csv", "--label", "kind", "--json"]) == 0
    found = {one["path"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["fc1"]["shape"] == [8] and found["fc1"]["parameters"] == 32
    assert main(["layers", "net.py:model"]) == 0
    assert "fc1" in capsys.readouterr().out


def test_failed_neurons_end_with_three(work: Path, capsys: Capture) -> None:
    """A dead unit has no explanation by formula; whatever fails outright is listed and makes the code 3."""
    sys.path.insert(0, str(Path(__file__).parent))
    from fake_sweep import FakeSession

    from interpret.commands import verbs
    from interpret.sweep import Serial
    from interpret.sweeping.session import Order

    order = Order(model="net.py:model", data="0.0", neurons=("fc[0]", "error[0]"))
    session = Serial(order, FakeSession(order))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verbs, "executor", lambda order, how: session)
        assert verbs.explain(order, work / "run", verbs.How()) == 3
        said = capsys.readouterr()
        assert "1 of 2 neurons failed, the first error[0]: DeadUnit: error[0] is constant" in said.err
        assert verbs.explain(order, work / "run", verbs.How(json=True)) == 3
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [e["event"] for e in events] == ["start", "end"] and events[0]["failed"] == 1
        assert verbs.explain(order, work / "run", verbs.How(quiet=True, retry_failed=True)) == 3
        said = capsys.readouterr()
        assert said.out == "" and "failed" in said.err
    assert main(["query", "run", "--failed", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == [
        {"address": "error[0]", "error": "DeadUnit", "message": "error[0] is constant", "attempts": 2}
    ]
    for shape in ("--csv", "--markdown"):
        assert main(["query", "run", "--failed", shape]) == 0
        assert "error[0]" in capsys.readouterr().out.replace("\\[", "[")


def test_a_network_that_gives_a_number_per_row(work: Path, capsys: Capture) -> None:
    Path("net.py").write_text(NET + "model.append(nn.Flatten(0))\n")
    arguments = [
        *EXPLAIN,
        "d.csv",
        "--label",
        "kind",
        "--engine",
        "gp",
        "--neurons",
        "",
        "--neurons",
        "fc1[0]",
    ]
    assert main(arguments) == 0
    assert "2 of 2 neurons explained" in capsys.readouterr().out
    with open_run("runs/x") as run:
        assert run.addresses() == ["", "fc1[0]"]


@pytest.mark.parametrize("width", ["200", "80", "40"])
@pytest.mark.parametrize("shape", [[], ["--markdown"]])
def test_one_network_under_two_titles(
    work: Path, make: Make, capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: str, shape: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    with create_run("run") as run:
        for title in ("first", "second"):
            run.add(make("fc1[0]", model=title))
    assert main(["query", "run", *shape]) == 0
    said = capsys.readouterr().out
    assert "first" in said and "second" in said and "model_hash" not in said.replace("\\", "")


def test_neurons_that_are_left_though_nothing_stopped_the_sweep(
    work: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interpret.runs.claims import Claims

    monkeypatch.setattr(Claims, "take", lambda *_: None)
    assert main([*EXPLAIN, "d.csv", "--label", "kind", "--neurons", "fc1[0:2]"]) == 3
    assert "2 of 2 neurons are not explained yet" in capsys.readouterr().err


def test_quiet_and_json_where_they_make_sense(stored: Path, capsys: Capture) -> None:
    assert main(["query", "run", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "fc1[0]" in said and "3 of 3" not in said
    assert main(["query", "run", "--failed", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["layers", "net.py:model", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["report", "run", "--output", "r.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "event": "report", "path": "r.html", "pages": None, "neurons": 3, "failed": 0,
    }  # fmt: skip


def test_a_report_of_many_files_says_where_they_are(
    stored: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("interpret.report.write"), "MOST_IN_ONE_FILE", 2)
    assert main(["report", "run", "--output", "site/r.html"]) == 0
    assert capsys.readouterr().out == "report: site/r.html, its pages in site/r_files/\n"
    assert main(["report", "run", "--output", "site/r.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == "site/r_files"
    assert len(list(Path("site/r_files").glob("*.html"))) == 3


def test_a_closed_pipe_is_no_error(stored: Path) -> None:
    command = f"{sys.executable} -c 'from interpret.cli import run; run()' query {stored} --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[" and done.stderr == ""


def test_completion_offers_addresses(stored: Path) -> None:
    environment = {**os.environ, "_TWINSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": f"twinscope query {stored} fc1",
                   "COMP_CWORD": "3"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from interpret.cli import run; run()"],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == ["fc1[0]", "fc1[1]", "fc1[2]"], done
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_is_shown_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    # Typer asks which shell started the process; a suite may be started by none.
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    assert main(["--show-completion", "bash"]) == 0
    said = capsys.readouterr()
    assert "_TWINSCOPE_COMPLETE" in said.out and said.err == ""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--install-completion", "bash"]) == 0
    assert capsys.readouterr().err == ""
    assert list(tmp_path.rglob("twinscope.sh"))


def test_a_model_that_ends_the_program_is_said_so(work: Path, capsys: Capture) -> None:
    Path("net.py").write_text("import sys\nsys.exit(0)\n")
    assert "sys.exit(0)" in wrong(capsys, "layers", "net.py:model")


def test_what_a_terminal_would_obey_is_not_printed(stored: Path, capsys: Capture, make: Make) -> None:
    with open_run(stored) as run:
        run.add(make("evil\x1b]0;title\x07[0]\u202e"))
    for arguments in ([], ["--markdown"]):
        assert main(["query", str(stored), *arguments]) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said
    assert safe("a\x1bb\udc80c\n") == "a�b?c\n"


def test_figures_and_formats() -> None:
    assert [figure(v) for v in (None, float("nan"), 0.5, 1e-5, 0.0, 12, "x", float("inf"))] == [
        "·", "·", "0.5", "1e-05", "0", "12", "x", "inf",
    ]  # fmt: skip
    assert json.loads(json_text([{"a": float("nan"), "b": (1.0, float("inf"))}])) == [
        {"a": None, "b": [1.0, None]}
    ]
    from interpret.runs.answers import Table

    text = csv_text(Table(("a", "b"), [("=cmd()", None), ("plain", 1.5)]))
    assert text == "a,b\n'=cmd(),\nplain,1.5"


def test_errors_inside_are_one_message(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from interpret.commands import asking

    def broken(*_: object) -> int:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(asking, "query", broken)
    assert main(["query", "run"]) == 70
    said = capsys.readouterr().err
    assert "RuntimeError: unexpected" in said and "Traceback" not in said
    monkeypatch.setenv("TWINSCOPE_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["query", "run"])


def test_errors_of_the_system_are_named(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from interpret.commands import asking

    def broken(*_: object) -> int:
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr(asking, "query", broken)
    assert wrong(capsys, "query", "run") == "twinscope: x: Permission denied\n"


def test_an_interrupt_before_the_first_neuron(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from interpret.commands import verbs

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, "executor", interrupted)
    assert main([*EXPLAIN, "d.csv", "--neurons", "fc1[0]"]) == 130
    assert "the same command goes on where it stopped" in capsys.readouterr().err


def test_every_verb_has_an_example() -> None:
    for command in app.registered_commands:
        assert command.epilog is not None and "twinscope" in command.epilog
