"""The files that PySR rewrites while they are read, and the parent that may be gone without being collected."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from symbolic.backends.pysr_relay import Parent, read_hall, running

HEAD = "Complexity,Loss,Equation\n"
ONE, SEVEN = '1,0.5,"x0"\n', '7,0.001,"x0 * x0"\n'
FIRST = {"complexity": 1, "loss": 0.5, "equation": "x0"}
SECOND = {"complexity": 7, "loss": 0.001, "equation": "x0 * x0"}


@pytest.mark.parametrize("cut", range(len(HEAD + ONE + SEVEN)))
def test_a_file_cut_anywhere_falls_back_to_its_backup(cut: int, tmp_path: Path) -> None:
    hall = tmp_path / "hall_of_fame.csv"
    hall.write_text((HEAD + ONE + SEVEN)[:cut])
    assert all(row in (FIRST, SECOND) for row in read_hall(hall))
    Path(f"{hall}.bak").write_text(HEAD + ONE + SEVEN)
    assert read_hall(hall) == [FIRST, SECOND]


def test_the_better_row_of_the_two_files_counts(tmp_path: Path) -> None:
    hall = tmp_path / "hall_of_fame.csv"
    assert read_hall(hall) == []
    hall.write_text(HEAD + '7,0.0005,"x1 * x1"\n')
    Path(f"{hall}.bak").write_text(HEAD + ONE + SEVEN)
    assert read_hall(hall) == [FIRST, {"complexity": 7, "loss": 0.0005, "equation": "x1 * x1"}]


def test_single_precision_is_read(tmp_path: Path) -> None:
    hall = tmp_path / "hall_of_fame.csv"
    hall.write_text(HEAD + '5,1.5f-3,"(x0 * -2.0f0) + f2(x1f3 + 3f+2)"\n')
    assert read_hall(hall) == [
        {"complexity": 5, "loss": 0.0015, "equation": "(x0 * -2.0e0) + f2(x1f3 + 3e+2)"}
    ]


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"Complexity,Loss\n1,2\n", b'Complexity,Loss,Equation\n1,2,"x\n']
)
def test_what_is_no_frontier_gives_no_rows(text: bytes, tmp_path: Path) -> None:
    hall = tmp_path / "hall_of_fame.csv"
    hall.write_bytes(text)
    assert read_hall(hall) == []


def test_a_parent_that_waits_to_be_collected_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not Parent(process.pid, None).gone()
    assert not Parent(os.getpid(), process.pid).gone()
    process.stdin.close()
    for _ in range(200):
        if not running(process.pid):
            break
        time.sleep(0.02)
    # Its number is still taken: nobody has waited for it.
    os.kill(process.pid, 0)
    assert Parent(process.pid, None).gone()
    process.wait()
    assert Parent(process.pid, None).gone()


def test_a_child_that_got_another_parent_has_lost_its_own() -> None:
    # The shell ends and leaves its child behind; this process, which runs, was never the child's parent.
    shell = subprocess.run(
        ["sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    orphan = int(shell.stdout)
    try:
        assert Parent(os.getpid(), orphan).gone()
    finally:
        os.kill(orphan, 9)
