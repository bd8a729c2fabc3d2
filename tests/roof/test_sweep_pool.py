"""Worker processes: the same bytes for any number of them, and no crash, hang or bug beyond the neuron in
hand.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from interpret.errors import InterpretError, StoreDamaged, UnknownLayer, error_from_plain, error_to_plain
from interpret.store import open_run
from interpret.sweep import Event, Result, Serial, attempt, sweep
from interpret.sweeping.frames import result_from_bytes, result_to_bytes
from interpret.sweeping.pool import Pool
from interpret.sweeping.session import Order

sys.path.insert(0, str(Path(__file__).parent))
import fake_sweep
from fake_sweep import FakeSession


def pool(order: Order, jobs: int) -> Pool:
    return Pool(order, jobs, fake_sweep.command)


def digests(out: Path) -> list[tuple[str, str]]:
    with open_run(out) as run:
        assert run.check() == []
        return [tuple(r) for r in run.connection.execute("SELECT address, digest FROM neuron ORDER BY sort")]


def named(*addresses: str, limit: float | None = None) -> Order:
    return Order(model="net.py:model", data="0.0", neurons=addresses, limit=limit)


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    order = fake_sweep.order(12, 0.0)
    sweep(order, tmp_path / "0", executor=Serial(order, FakeSession(order)))
    expected = digests(tmp_path / "0")
    for jobs in (1, 3):
        events: list[Event] = []
        outcome = sweep(order, tmp_path / str(jobs), executor=pool(order, jobs), watch=events.append)
        assert outcome.counts.done == 12 and not outcome.interrupted
        assert digests(tmp_path / str(jobs)) == expected
        assert [e.kind for e in events] == ["start", *["done"] * 12, "end"]
        assert [e.counts.done for e in events[1:-1]] == list(range(1, 13))


def test_a_neuron_that_no_engine_answered_has_failed(tmp_path: Path) -> None:
    order = named("fc[0]", "silent[0]")
    session = FakeSession(order)
    outcome = sweep(order, tmp_path, executor=Serial(order, session))
    assert (outcome.counts.done, outcome.counts.failed) == (1, 1)
    (failed,) = outcome.failures
    assert (failed.address, failed.error, failed.message) == ("silent[0]", "NoAnswer", "gp: 320 classes")
    with open_run(tmp_path) as run:
        assert run.addresses() == ["fc[0]"]
    session.order = dataclasses.replace(order, wrt="answers now")
    again = sweep(order, tmp_path, executor=Serial(order, session), retry_failed=True)
    assert (again.counts.done, again.counts.failed) == (2, 0)


def test_what_another_plan_explained_since_is_no_open_failure(tmp_path: Path) -> None:
    order = named("fc[0]", "silent[0]", "error[0]")
    sweep(order, tmp_path, executor=Serial(order, FakeSession(order)))
    other = dataclasses.replace(order, wrt="answers now", seed=1)
    outcome = sweep(other, tmp_path, executor=Serial(other, FakeSession(other)), retry_failed=True)
    assert outcome.counts.failed == 1
    with open_run(tmp_path) as run:
        assert [(f.address, f.error) for f in run.failures()] == [("error[0]", "DeadUnit")]
    again = dataclasses.replace(order, seed=2)
    sweep(again, tmp_path, executor=Serial(again, FakeSession(again)))
    with open_run(tmp_path) as run:
        assert [f.address for f in run.failures()] == ["silent[0]", "error[0]"]


def test_failures_are_recorded_and_retried(tmp_path: Path) -> None:
    order = named("fc[0]", "error[0]", "bug[0]", "print[0]")
    for executor in (Serial(order, FakeSession(order)), pool(order, 2)):
        out = tmp_path / type(executor).__name__
        outcome = sweep(order, out, executor=executor)
        assert (outcome.counts.done, outcome.counts.failed) == (2, 2)
        found = {f.address: f for f in outcome.failures}
        assert found["error[0]"].error == "DeadUnit" and found["error[0]"].message == "error[0] is constant"
        assert found["bug[0]"].error == "ZeroDivisionError" and "by design" in found["bug[0]"].message
    again = sweep(order, out, executor=Serial(order, FakeSession(order)))
    assert again.explained == 0 and again.counts.failed == 2
    retried = sweep(order, out, executor=Serial(order, FakeSession(order)), retry_failed=True)
    assert retried.explained == 2 and [f.attempts for f in retried.failures] == [2, 2]


def test_a_crash_costs_one_neuron(tmp_path: Path) -> None:
    order = named("fc[0]", "crash[0]", "fc[1]", "fc[2]")
    outcome = sweep(order, tmp_path, executor=pool(order, 2))
    assert (outcome.counts.done, outcome.counts.failed) == (3, 1)
    failure = outcome.failures[0]
    assert (failure.address, failure.error) == ("crash[0]", "WorkerLost")
    assert "SIGKILL" in failure.message


@pytest.mark.parametrize("kind", ["serial", "pool"])
def test_a_slow_neuron_is_ended_by_the_limit(tmp_path: Path, kind: str) -> None:
    order = named("slow[0]", "fc[0]", limit=0.4)
    executor = Serial(order, FakeSession(order)) if kind == "serial" else pool(order, 2)
    outcome = sweep(order, tmp_path, executor=executor)
    assert (outcome.counts.done, outcome.counts.failed) == (1, 1)
    assert (outcome.failures[0].address, outcome.failures[0].error) == ("slow[0]", "TimeLimit")
    assert outcome.seconds < 20


def test_a_neuron_that_hangs_in_a_library_loses_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interpret.sweeping.pool._GRACE", 0.3)
    order = named("hang[0]", "fc[0]", limit=0.3)
    outcome = sweep(order, tmp_path, executor=pool(order, 2))
    assert (outcome.counts.done, outcome.counts.failed) == (1, 1)
    assert outcome.failures[0].error == "TimeLimit" and outcome.seconds < 20


@pytest.mark.parametrize("addresses", [("",), ("", "fc[0]"), ("fc[0]", "")])
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_empty_address_is_an_address(tmp_path: Path, addresses: tuple[str, ...], jobs: int) -> None:
    """The output of a network that gives a number per row."""
    order = named(*addresses)
    executor = Serial(order, FakeSession(order)) if jobs == 1 else pool(order, jobs)
    outcome = sweep(order, tmp_path, executor=executor)
    assert (outcome.counts.done, outcome.counts.waiting) == (len(addresses), 0)
    assert {address for address, _ in digests(tmp_path)} == set(addresses)


def test_another_seed_is_another_plan_and_revision(tmp_path: Path) -> None:
    for seed in (0, 1, 0):
        order = fake_sweep.order(2, 0.0, seed)
        outcome = sweep(order, tmp_path, executor=Serial(order, FakeSession(order)))
        assert outcome.counts.total == 2
    with open_run(tmp_path) as run:
        assert len(run) == 2
        assert sorted(run.query(revisions=True).revision) == [1, 1, 2, 2]


def test_the_same_plan_with_more_neurons_goes_on(tmp_path: Path) -> None:
    for count, explained in ((2, 2), (6, 4), (4, 0)):
        order = fake_sweep.order(count, 0.0)
        assert sweep(order, tmp_path, executor=Serial(order, FakeSession(order))).explained == explained


def test_layers_are_shared_out(tmp_path: Path) -> None:
    """Two workers begin with different layers, and each stays with its own while it lasts."""
    from interpret.runs.claims import Claims
    from interpret.store import create_run

    with create_run(tmp_path) as run:
        claims = Claims.register(run, "key", "{}", ["a[0]", "a[1]", "a[2]", "b[0]", "b[1]"])
        first, second = claims.take(), claims.take("", {"a[0]"})
        assert (first, second) == ("a[0]", "b[0]")
        assert claims.take("b[0]", {"a[0]"}) == "b[1]"
        assert claims.take("b[1]", {"a[0]"}) == "a[1]"
        assert claims.take("a[1]", {"a[0]"}) == "a[2]"
        assert claims.take() is None
        claims.release("a[1]")
        assert claims.take() == "a[1]"


def test_claims_of_the_dead_are_taken_and_of_the_living_are_not(tmp_path: Path) -> None:
    from interpret.runs import claims as module
    from interpret.runs.claims import Claims, is_gone, new_owner
    from interpret.store import create_run

    me = new_owner()
    host, boot, _, started, _ = me.split("|")
    dead = "|".join((host, boot, "4194300", started, "x"))
    reused = "|".join((host, boot, me.split("|")[2], "1", "x"))
    away = "|".join(("elsewhere", "boot", "1", "1", "x"))
    assert not is_gone(me, 0.0, 1e9)
    assert is_gone(dead, 0.0, 0.0) and is_gone(reused, 0.0, 0.0)
    assert not is_gone(away, 100.0, 100.0 + module.LEASE) and is_gone(away, 100.0, 101.0 + module.LEASE)
    with create_run(tmp_path) as run:
        theirs = Claims.register(run, "key", "{}", ["a[0]"])
        assert theirs.take() == "a[0]"
        ours = Claims(run, theirs.plan)
        assert ours.take() is None
        run.connection.execute("UPDATE task SET owner = ?", (dead,))
        assert ours.take() == "a[0]"
        assert not theirs.fail("a[0]", "DeadUnit", "too late")
        assert ours.counts().claimed == 1


def test_heartbeats_reach_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from interpret.runs import claims as module
    from interpret.runs.claims import Claims, Heart
    from interpret.store import create_run

    monkeypatch.setattr(module, "BEAT", 0.02)
    with create_run(tmp_path) as run:
        claims = Claims.register(run, "key", "{}", ["a[0]"])
        claims.take()
        run.connection.execute("UPDATE task SET beat = 0")
        with Heart(tmp_path, claims.owner):
            for _ in range(200):
                time.sleep(0.02)
                if run.connection.execute("SELECT beat FROM task").fetchone()[0] > 0:
                    return
    pytest.fail("no heartbeat came")


@pytest.mark.parametrize("layers", [1, 50])
def test_claiming_costs_the_same_however_many_tasks_there_are(tmp_path: Path, layers: int) -> None:
    from interpret.runs.claims import Claims
    from interpret.store import create_run

    count = 20_000
    with create_run(tmp_path) as run:
        names = [f"fc{i * layers // count}[{i}]" for i in range(count)]
        claims = Claims.register(run, "key", "{}", names)
        hand: list[str] = []
        ticks: list[None] = []
        run.connection.set_progress_handler(lambda: ticks.append(None), 1000)
        for last in ["", "fc0[0]", "gone[0]"] * 10:
            address = claims.take(last, hand)
            assert address is not None
            hand.append(address)
            assert claims.any_claimed()
        with run.writing():
            assert claims.close_task(hand[0], "done")
        assert len(ticks) < 50  # thousands of SQLite's steps in all, where one walk over the tasks has more


@pytest.fixture
def results() -> list[Result]:
    order = named("fc[0]", "error[0]", "bug[0]")
    session = FakeSession(order)
    return [attempt(session, address) for address in order.neurons]


def test_frames_carry_results(results: list[Result]) -> None:
    for result in results:
        assert result_from_bytes(result_to_bytes(result)) == result
    assert [result.entry is None for result in results] == [False, True, True]


def test_arrays_that_changed_on_the_way_are_refused(results: list[Result]) -> None:
    made = results[0].entry
    assert made is not None
    packs = {key: content[:-1] + b"!" for key, content in made.packs.items()}
    frame = result_to_bytes(dataclasses.replace(results[0], entry=dataclasses.replace(made, packs=packs)))
    with pytest.raises(StoreDamaged, match="did not arrive"):
        result_from_bytes(frame)


@pytest.mark.parametrize(
    ("name", "kind"), [("UnknownLayer", UnknownLayer), ("OSError", InterpretError), ("x", InterpretError)]
)
def test_errors_travel_by_name(name: str, kind: type[Any]) -> None:
    error = error_from_plain({"error": name, "message": "said"})
    assert type(error) is kind and str(error) == "said"
    assert error_to_plain(UnknownLayer("x")) == {"error": "UnknownLayer", "message": "x"}


def test_orders_travel_as_text() -> None:
    order = Order("a.py:m", "d.csv", ("fc[0]", "ü[1]"), categorical=("a",), limit=1.5)
    assert Order.from_json(order.to_json()) == order


KILLED = """
import sys
sys.path.insert(0, {folder!r})
import fake_sweep
from interpret.sweep import sweep
from interpret.sweeping.pool import Pool
order = fake_sweep.Order(model="net.py:model", data="0.0", neurons=("slow[0]", "slow[1]"))
pool = Pool(order, 2, fake_sweep.command)
print(*(worker.process.pid for worker in pool._workers), flush=True)
sweep(order, {out!r}, executor=pool)
"""


def test_workers_end_with_a_killed_coordinator(tmp_path: Path) -> None:
    program = KILLED.format(folder=str(Path(__file__).parent), out=str(tmp_path / "run"))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(3)  # both have a neuron in hand, which takes a minute
        process.kill()
    assert len(workers) == 2
    for _ in range(100):
        if not any(alive(pid) for pid in workers):
            return
        time.sleep(0.1)
    pytest.fail("a worker outlives its coordinator")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
