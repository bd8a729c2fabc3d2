"""A sweep without a network, to be killed, doubled and starved: ``python fake_sweep.py OUT COUNT SECONDS
[WORKER FD]``.

Explanations are made up from the address alone, so an undisturbed run has the same bytes. It is also the
program of a pool's workers. Behaviour is steered by the address: ``slow``, ``crash``, ``error``, ``bug``,
``print``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from interpret.errors import DeadUnit
from interpret.explanation import NeuronExplanation
from interpret.sweep import Outcome, Serial, Stop, sweep
from interpret.sweeping.session import Order, Prepared, Session

_spec = importlib.util.spec_from_file_location("made_up", Path(__file__).with_name("conftest.py"))
assert _spec is not None and _spec.loader is not None
_made_up = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made_up)


class FakeSession(Session):
    """Makes explanations up; ``order.limit`` and the addresses are obeyed."""

    def prepare(self) -> Prepared:
        return Prepared(self.order.neurons, f"fake {self.order.seed}", "net:model", "d" * 16, "m" * 16)

    def explain(self, address: str) -> NeuronExplanation:
        time.sleep(float(self.order.data))
        if "slow" in address:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(0.01)
        if "hang" in address:
            time.sleep(60)
        if "crash" in address:
            os.kill(os.getpid(), 9)
        if "error" in address:
            raise DeadUnit(f"{address} is constant")
        if "bug" in address:
            raise ZeroDivisionError("by design")
        if "silent" in address and not self.order.wrt:
            nothing = _made_up.made(address, created=str(time.time()), seed=self.order.seed)
            return replace(nothing, formula=None, examples=None, failures=(("gp", "320 classes"),))
        if "print" in address:
            print("a model that prints", flush=True)
        return _made_up.made(address, created=str(time.time()), seed=self.order.seed)


def order(count: int, seconds: float, seed: int = 0) -> Order:
    """Neurons of two layers, ``seconds`` each."""
    names = tuple(f"fc{i % 2 + 1}[{i // 2}]" for i in range(count))
    return Order(model="net.py:model", data=str(seconds), neurons=names, seed=seed)


def command(descriptor: int) -> list[str]:
    """The command of a pool's worker that answers on that descriptor."""
    return [sys.executable, __file__, str(descriptor)]


def run(out: Path, count: int, seconds: float, seed: int = 0, stop: Stop | None = None) -> Outcome:
    """Sweep in this process."""
    what = order(count, seconds, seed)
    return sweep(what, out, executor=Serial(what, FakeSession(what)), stop=stop)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        from interpret.sweeping.worker import main

        main(int(sys.argv[1]), FakeSession)
        sys.exit()
    outcome = run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    print(outcome.explained, outcome.counts.done, outcome.interrupted)
    sys.exit(130 if outcome.interrupted else 3 if outcome.counts.failed else 0)
