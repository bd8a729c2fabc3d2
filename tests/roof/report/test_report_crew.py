"""Pages written by several processes: the same files as by one, and errors that come out as they would of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import pytest

from interpret.cli import main
from interpret.errors import ReportError, StoreDamaged, UsageError
from interpret.report import crew, write
from interpret.report.pages import Folder
from interpret.store import Run, create_run

COUNT = 40


@pytest.fixture
def run(samples: ModuleType, tmp_path: Path) -> Iterator[Run]:
    """A run of neurons with pages of different kinds and hostile names; one of two networks."""
    kinds = [samples.small(), samples.series(), samples.table()]
    with create_run(tmp_path / "run") as made:
        for at in range(COUNT):
            kind = kinds[at % 3]
            made.add(
                replace(kind, address=f"fc[{at}]", model=f"{kind.model} <b>\ud800" if at == 7 else kind.model)
            )
        yield made


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two cores whatever the machine has; the helpers that were started."""
    started: list[Any] = []

    class Helper(crew._Helper):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(crew, "_Helper", Helper)
    monkeypatch.setattr(crew, "cores", lambda: 2)
    return started


def test_one_process_and_two_write_the_same(run: Run, helped: list[Any], tmp_path: Path) -> None:
    write(run, tmp_path / "one" / "r.html", "Many")
    assert not helped
    write(run, tmp_path / "two" / "r.html", "Many", jobs=2)
    assert len(helped) == 1
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert helped[0]._process.poll() is not None, "it ends with the report"


def test_the_helper_writes_its_share(
    run: Run, helped: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, tmp_path / "one" / "r.html")
    monkeypatch.setattr(crew, "_own", lambda *_: {})
    write(run, tmp_path / "two" / "r.html", jobs=2)
    assert sum(map(len, helped[0].done.values())) == COUNT
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_few_pages_and_explanations_in_memory_need_no_helper(
    samples: ModuleType, helped: list[Any], tmp_path: Path
) -> None:
    neurons = [replace(samples.small(), address=f"fc[{at}]") for at in range(COUNT)]
    write(neurons, tmp_path / "r.html", jobs=8)
    write(neurons[:3], tmp_path / "s.html", jobs=8)
    assert not helped


def test_damage_that_a_helper_meets_is_named(
    run: Run, helped: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.writing():
        run.connection.execute("DROP TRIGGER document_keeps_UPDATE")
        run.connection.execute("UPDATE document SET body = x'00' WHERE neuron = ?", (run.keys()[20],))
    monkeypatch.setattr(crew, "_own", lambda *_: {})
    with pytest.raises(StoreDamaged, match=r"fc\[20\]"):
        write(run, tmp_path / "r.html", jobs=2)
    assert not (tmp_path / "r.html").exists(), "no index of half the pages"


def test_a_full_disk_that_a_helper_meets_is_named(
    run: Run, helped: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, tmp_path / "r.html")
    monkeypatch.setattr(crew, "_own", lambda *_: {})
    page = next((tmp_path / "r_files").glob("n*.json"))
    page.unlink()
    page.mkdir()
    with pytest.raises(ReportError, match=page.name):
        write(run, tmp_path / "r.html", jobs=2)


def own_after(helped: list[Any], how: Callable[[], object]) -> Callable[..., dict[int, list[Any]]]:
    """Our own share, begun when every helper has been dealt with and its thread has ended."""
    own = crew._own

    def later(*arguments: Any) -> dict[int, list[Any]]:
        how()
        for helper in helped:
            helper.thread.join()
        return own(*arguments)

    return later


def test_the_share_of_a_helper_that_is_killed_is_written_by_another(
    run: Run, helped: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, tmp_path / "one" / "r.html")
    monkeypatch.setattr(crew, "cores", lambda: 3)

    def kill() -> None:
        os.kill(helped[0]._process.pid, signal.SIGKILL)

    monkeypatch.setattr(crew, "_own", own_after(helped, kill))
    write(run, tmp_path / "two" / "r.html", jobs=3)
    assert len(helped) == 2
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_neurons_that_end_two_helpers_are_an_error_with_a_way_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        sys.executable,
        "-c",
        "input(); input(); raise SystemExit(5)",
    ]  # at the first neurons it is given
    monkeypatch.setattr("interpret.children.command", lambda *_: command)
    batches: crew.Batches = SimpleQueue()
    batches.put(crew._Batch(0, run.keys()))
    for _ in range(2):
        helper = crew._Helper(run.path, Folder.beside(tmp_path / "r.html"), batches)
        helper.thread.join()
        helper.end()
    assert batches.empty()
    with pytest.raises(ReportError, match=r"2 processes ended over the same 40 pages.*exit code 5.*--jobs 1"):
        raise helper.error or AssertionError


def test_an_error_inside_a_helper_is_one_inside_the_program(
    run: Run,
    helped: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "print('a line of its own')\n"
        "import interpret.report.neuron_view as view\n"
        "def identity(*_): raise ZeroDivisionError('by design')\n"
        "view.identity = identity\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(crew, "_own", lambda *_: {})
    assert main(["report", str(run.path), "-o", str(tmp_path / "r.html"), "--jobs", "2"]) == 70
    said = capfd.readouterr()
    assert (
        "an error inside twinscope, ZeroDivisionError: by design" in said.err and "Traceback" not in said.err
    )
    assert said.out == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_report_that_is_killed_ends_its_helpers_quietly(run: Run, tmp_path: Path, number: int) -> None:
    program = """
import sys
from interpret.report import crew, write
from interpret.store import open_run
crew.cores = lambda: 2
own, written = crew._own, crew._Helper._told
def told(helper, what):
    if isinstance(what, list):
        print(helper._process.pid, flush=True)
    return written(helper, what)
crew._Helper._told = told
crew._own = lambda run, folder, batches, helpers: helpers[0].thread.join() or {}
write(open_run(sys.argv[1]), sys.argv[2], jobs=2)
"""
    command = [sys.executable, "-c", program, str(run.path), str(tmp_path / "r.html")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        for _ in range(2):  # at the second batch it has written the first, and is at work
            assert parent.stdout.readline()
        parent.send_signal(number)
        said = parent.stderr.read()  # ends when the helper has ended as well
    assert said == ""
    assert not list((tmp_path / "r_files").glob(".*.part"))


def test_an_interrupt_leaves_no_helper(
    run: Run, helped: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> dict[int, list[Any]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(crew, "_own", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(run, tmp_path / "r.html", jobs=2)
    assert helped[0]._process.poll() == 0, "it ended by itself"
    assert not list((tmp_path / "r_files").glob(".*.part")), "no half of a page stays"


def test_no_process_is_wrong_use(samples: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="jobs is 0"):
        write([samples.small()], tmp_path / "r.html", jobs=0)


def test_the_command_line_asks_for_it(run: Run, tmp_path: Path) -> None:
    write(run, tmp_path / "one" / "r.html", "T")
    command = ["report", str(run.path), "-o", str(tmp_path / "two" / "r.html"), "--title", "T", "--jobs", "2"]
    program = [sys.executable, "-c", "from interpret.cli import run; run()"]
    subprocess.run([*program, *command], check=True, timeout=120)
    assert files(tmp_path / "one") == files(tmp_path / "two")
