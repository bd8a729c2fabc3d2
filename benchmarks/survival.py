"""A sweep of 200 neurons killed with kill −9 at random moments, resumed each time; a reader asks throughout.

At the end every neuron is there once, the results are the bytes of an undisturbed run, and the database is
sound. With --pair, two sweepers work on the run at once and are killed together. The reader never fails and never waits
for more than a second. Prints one line of JSON; fails when any of it does not hold.

    python benchmarks/survival.py [--neurons 200] [--kills 30] [--engine gp] [--jobs 1] [--pair]
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from sweep import prepare

from interpret.store import open_run
from interpret.sweeping.session import one_thread_environment

#: Seconds that a reader may wait.
LONGEST_WAIT = 1.0


class Reader(threading.Thread):
    """Asks the run over and over; keeps the longest wait and every error."""

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.out, self.done = out, threading.Event()
        self.asked, self.longest, self.errors = 0, 0.0, []

    def run(self) -> None:
        """Query until told to stop."""
        while not self.done.wait(0.02):
            if not (self.out / "run.sqlite").exists():
                continue
            started = time.perf_counter()
            try:
                with open_run(self.out) as run:
                    run.table(None, sort="r2", limit=50)
            except Exception as error:  # whatever it is, it is what this looks for
                self.errors.append(repr(error))
            self.longest = max(self.longest, time.perf_counter() - started)
            self.asked += 1


def start(folder: Path, out: str, arguments: list[str]) -> subprocess.Popen[str]:
    """A sweep in its own session, so that its workers do not hold our pipes."""
    program = "from interpret.cli import run; run()"
    what = ["explain", "net.py:model", "--data", "d.npz", "--out", out, "--json", *arguments]
    command = [sys.executable, "-c", program, *what]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=one_thread_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(out: Path) -> list[tuple[object, ...]]:
    """Address, digest, document and figures of every neuron, in order."""
    with open_run(out) as run:
        assert run.check() == [], run.check()
        sql = (
            "SELECT n.address, n.digest, d.body, n.r2, n.pearson, n.formula FROM neuron n "
            "JOIN document d ON d.neuron = n.id ORDER BY n.sort"
        )
        return [tuple(row) for row in run.connection.execute(sql)]


class Moments:
    """Random moments at which a sweep is sure to have work left: loading, or after so many of its results.

    A moment after results is drawn in neurons, then moved on by a random part of the time a neuron takes.
    """

    def __init__(self, kills: int, neurons: int, loading: float, each: float) -> None:
        self._rng = random.Random(0)
        self._left, self._neurons, self._loading, self._each = kills, neurons, loading, each

    def strike(self, processes: list[subprocess.Popen[str]], done: int) -> None:
        """Wait for the next moment, by what the first of the sweepers has done, and kill them all."""
        process, many = processes[0], len(processes)
        share = (self._neurons - done) / self._left / many
        after = self._rng.randint(0, max(0, min(round(2 * share), (self._neurons - done - 3) // many)))
        if self._rng.random() < 0.2:
            time.sleep(self._rng.uniform(0.0, self._loading))
        else:
            for _ in range(after + 1):  # the first line says that the sweep starts
                process.stdout.readline()
            time.sleep(self._rng.uniform(0.0, self._each))
        for each in processes:
            each.send_signal(signal.SIGKILL)
        self._left -= 1


def killed(
    folder: Path, arguments: list[str], kills: int, moments: Moments, sweepers: int
) -> tuple[int, list[int]]:
    """Kill a sweep at random moments and resume it; kills that struck, and neurons done after each."""
    done, struck = [0], 0
    for _ in range(kills):
        processes = [start(folder, "killed", arguments) for _ in range(sweepers)]
        moments.strike(processes, done[-1])
        for process in processes:
            process.communicate()
        struck += all(process.returncode == -signal.SIGKILL for process in processes)
        found = 0
        if (folder / "killed" / "run.sqlite").exists():
            with open_run(folder / "killed") as run:
                found = len(run)
        done.append(found)
    return struck, done[1:]


def undisturbed(folder: Path, arguments: list[str]) -> tuple[float, float]:
    """Seconds until a sweep has loaded model and data, and until it is done."""
    started = time.perf_counter()
    process = start(folder, "whole", arguments)
    assert process.stdout is not None
    process.stdout.readline()
    loading = time.perf_counter() - started
    finish(process)
    return loading, time.perf_counter() - started


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a sweep that must succeed without a word on stderr."""
    _, complaint = process.communicate(timeout=1800)
    assert process.returncode == 0 and complaint == "", complaint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=200)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--engine", default="gp")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--pair", action="store_true")
    asked = parser.parse_args()
    arguments = ["--engine", asked.engine, "--jobs", str(asked.jobs), "--neurons", f"fc2[0:{asked.neurons}]"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, asked.neurons)
        loading, whole = undisturbed(folder, arguments)
        reader = Reader(folder / "killed")
        reader.start()
        moments = Moments(asked.kills, asked.neurons, loading, (whole - loading) / asked.neurons)
        sweepers = 2 if asked.pair else 1
        struck, done = killed(folder, arguments, asked.kills, moments, sweepers)
        assert struck == asked.kills, f"{asked.kills - struck} kills came when the sweep had ended"
        assert done[-1] < asked.neurons, "nothing was left when the last kill struck"
        last = [start(folder, "killed", arguments) for _ in range(sweepers)]
        for process in last:
            finish(process)
        reader.done.set()
        reader.join()
        found, expected = results(folder / "killed"), results(folder / "whole")
        assert reader.errors == [], reader.errors
        assert reader.longest <= LONGEST_WAIT, f"a reader waited for {reader.longest:.2f} s"
        assert [row[0] for row in found] == [row[0] for row in expected], "every neuron once"
        assert found == expected, "the bytes of an undisturbed run"
        print(json.dumps({
            "neurons": asked.neurons, "kills": struck, "done after each": done, "once each": True, "same bytes": True,
            "integrity": "ok", "sweepers": len(last), "undisturbed_s": round(whole, 1),
            "reader": {"queries": reader.asked, "longest_wait_s": round(reader.longest, 3), "errors": 0},
        }))  # fmt: skip


if __name__ == "__main__":
    main()
