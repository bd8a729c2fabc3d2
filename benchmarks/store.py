"""A run of 100,000 neurons: size, opening time, and every kind of query.

The neurons are made up at the size of real ones (eight frontier rows with MathML, three cases of ten
neighbors, twenty pictures). Arrays are left out: a query reads none, and they are files of their own.

    python benchmarks/store.py [--neurons 100000] [--folder FOLDER] [--strict] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from peers import table

from interpret.commands import terminal
from interpret.explanation import (
    ExamplePart,
    FormulaPart,
    FrontierRow,
    Neighbor,
    NeuronExplanation,
    Provenance,
    QueryCase,
    Thumbnail,
)
from interpret.outcome import Verdict
from interpret.runs.codec import encode
from interpret.runs.writing import entry
from interpret.store import Run, create_run, open_run

TEMPLATES = 500
#: Bounds at FULL neurons: CPU seconds of opening and of any query, size of the file.
FULL, OPENING, QUERY, MEGABYTES = 100_000, 0.2, 0.5, 1000
NAMES = tuple(f"x{i}" for i in range(12))
SHAPES = (
    "x{a}*x{b}",
    "x{a}^2 + {c}*x{b}^2",
    "sin(x{a}) + {c}*x{b}",
    "exp(x{a} - x{b})",
    "x{a}/x{b} + {c}*x{d}",
)
QUERIES: dict[str, tuple[str | None, dict[str, object]]] = {
    "one address": ("layer0.fc[77]", {}),
    "glob": ("layer0.*", {}),
    "range of units": ("layer0.fc[100:200]", {}),
    "range of units anywhere": ("*[0:50]", {}),
    "all": (None, {}),
    "sorted, limit 10": (None, {"sort": "r2", "limit": 10}),
    "uses": (None, {"uses": "x3"}),
    "uses and has": (None, {"uses": ["x3", "x5"], "has": ["sin"]}),
    "verdict": (None, {"verdict": "EXACT"}),
    "model": (None, {"model": "net:model"}),
    "data and model": (None, {"data": "dddd", "model": "net:model"}),
    "min_alignment": (None, {"min_alignment": 0.999}),
    "where": (None, {"where": "r2 > 0.9 and terms <= 2 or address ~ '*[7]'"}),
    "like": (None, {"like": "2*x3*x5 + 1"}),
    "like, with filters": (
        None,
        {"like": "x0^2 + 2*x1^2", "where": "r2 > 0.5", "sort": "alignment", "limit": 20},
    ),
}


def formula(rng: random.Random) -> tuple[str, str]:
    """A formula's text and its tree as JSON."""
    from symbolic.expression import to_json
    from symbolic.parser import parse

    a, b, d = rng.sample(range(12), 3)
    text = rng.choice(SHAPES).format(a=a, b=b, c=round(rng.uniform(0.5, 3), 3), d=d)
    return text, to_json(parse(text, NAMES))


def made(i: int, rng: random.Random) -> NeuronExplanation:
    """A neuron of usual size."""
    from symbolic.expression import from_json, operators_in, variables

    text, tree = formula(rng)
    math = "<math><mrow>" + "<msup><mi>x</mi><mn>2</mn></msup><mo>+</mo>" * 8 + "</mrow></math>"
    frontier = tuple(
        FrontierRow(3 * k + 1, k + 1, *(rng.random() for _ in range(4)), text, text * 2, math, k == 2)
        for k in range(8)
    )
    none = np.empty(0)
    used = from_json(tree)
    misfit = rng.random() ** 4
    part = FormulaPart(
        Verdict.EXACT, ("because it is",), (), "eigen", text, text, math, tuple(NAMES[v] for v in variables(used)),
        operators_in(used), tree, misfit, misfit / 2, misfit * 2, rng.random(), frontier, (), None, (), (), NAMES,
        none, none, none, none, 400, 3,
    )  # fmt: skip
    pictures = tuple(
        Thumbnail(j, "image", str(j % 10), png=random.Random(j).randbytes(300))
        for j in rng.sample(range(1437), 20)
    )
    cases = tuple(
        QueryCase(kind, rng.randrange(360), *(rng.random() for _ in range(6)), tuple(
            Neighbor(rng.randrange(1437), rng.random(), rng.random()) for _ in range(10)))
        for kind in ("typical", "extreme", "uncertain")
    )  # fmt: skip
    examples = ExamplePart(
        "activation",
        1.0,
        1437,
        *(rng.random() for _ in range(7)),
        True,
        *([none] * 6),
        cases=cases,
        thumbnails=pictures,
    )
    verdict = rng.choice(list(Verdict))
    return NeuronExplanation(
        f"layer{i // 5000}.fc[{i % 5000}]", "a title", "net:model", verdict, "It says " + text, ("one reason",), (),
        part, examples, None, Provenance(0, "d" * 16, "m" * 16, "2026-01-01T00:00:00+00:00", (), (), 1.0),
    )  # fmt: skip


def fill(run: Run, count: int) -> None:
    """Insert in large transactions: here the reading is measured, not the writing.

    Every neuron is one of TEMPLATES with an address and figures of its own.
    """
    rng = random.Random(0)
    templates = [made(i, rng) for i in range(min(TEMPLATES, count))]
    encoded = [encode(e) for e in templates]
    for start in range(0, count, 5000):
        with run.writing():
            for i in range(start, min(start + 5000, count)):
                place = rng.randrange(len(templates))
                e, code = varied(templates[place], i, rng), encoded[place]
                document = code.document.replace(templates[place].address.encode(), e.address.encode())
                run.insert(entry(e, replace(code, address=e.address, document=document, packs={})), None)


def varied(e: NeuronExplanation, i: int, rng: random.Random) -> NeuronExplanation:
    """Another neuron with that formula and those neighbors."""
    assert e.formula is not None
    assert e.examples is not None
    part = replace(e.formula, misalignment=rng.random() ** 4)
    examples = replace(e.examples, r2=rng.random(), pearson=rng.random())
    address = f"layer{i // 5000}.fc[{i % 5000}]"
    return replace(e, address=address, formula=part, examples=examples, verdict=rng.choice(list(Verdict)))


def timed(folder: Path, repeats: int = 5) -> dict[str, float]:
    """Best seconds of opening and of each query, in one process that has everything loaded."""
    open_run(folder).close()
    found = {"open": min(_seconds(lambda: open_run(folder).close()) for _ in range(repeats))}
    with open_run(folder) as run:
        for name, (pattern, filters) in QUERIES.items():
            run.table(pattern, **filters)
            found[name] = min(
                _seconds(lambda p=pattern, f=filters: run.table(p, **f)) for _ in range(repeats)
            )  # type: ignore[misc]
        run.query(limit=1)
        found["all, as a DataFrame"] = min(_seconds(run.query) for _ in range(repeats))
        found["all, as CSV"] = min(_seconds(lambda: terminal.csv_text(run.table())) for _ in range(repeats))
    return {name: round(value, 4) for name, value in found.items()}


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def start_up(folder: Path) -> dict[str, float]:
    """Wall seconds of whole commands, start-up included."""
    found = {}
    for name, arguments in {
        "--help": ["--help"],
        "query one": ["query", str(folder), "layer0.fc[77]", "--json"],
        "query filtered": ["query", str(folder), "--uses", "x3", "--sort", "r2", "--limit", "10", "--json"],
        "query like": ["query", str(folder), "--like", "2*x3*x5 + 1", "--json"],
    }.items():
        command = [sys.executable, "-c", "from interpret.cli import run; run()", *arguments]
        times = []
        for _ in range(3):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        found[name] = round(min(times), 3)
    return found


def single(count: int = 100) -> dict[str, float]:
    """Milliseconds that the store takes for one neuron with its arrays, synced; and for the rows alone."""
    rng = random.Random(1)
    arrays = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, create_run(folder) as run:
        neurons = [made(i, rng) for i in range(count)]
        for i, e in enumerate(neurons):
            assert e.formula is not None
            many = {name: arrays.normal(size=(400, 12)) for name in ("directions", "formula_directions")}
            neurons[i] = replace(e, formula=replace(e.formula, **many))
        wall, cpu = time.perf_counter(), time.process_time()
        for e in neurons:
            run.add(e)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall_ms": round(1000 * wall / count, 2), "cpu_ms": round(1000 * cpu / count, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="kept and used again")
    parser.add_argument("--strict", action="store_true", help="an error where a bound does not hold")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of tables")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary) / "run"
        started = time.process_time()
        with create_run(folder) as run:
            if len(run) < asked.neurons:
                fill(run, asked.neurons)
        built = time.process_time() - started
        size = sum(p.stat().st_size for p in folder.glob("run.sqlite*")) / 1e6
        figures = {
            "neurons": asked.neurons,
            "build_cpu_s": round(built, 1),
            "megabytes": round(size, 1),
            "cpu_s": timed(folder),
            "command_wall_s": start_up(folder),
            "store_one_neuron": single(),
        }
        print(json.dumps(figures) if asked.json else tables(figures))
    over = beyond(figures) if asked.neurons >= FULL else []
    if over:
        said = "beyond the bounds: " + "; ".join(over)
        if asked.strict:
            sys.exit(said)
        print(f"\n**Loss:** {said}.")


def beyond(figures: dict[str, Any]) -> list[str]:
    """What takes longer, or is larger, than a run of FULL neurons may."""
    over = []
    for name, seconds in figures["cpu_s"].items():
        # Writing CSV is more than a query.
        bound = OPENING if name == "open" else QUERY
        if seconds > bound and name != "all, as CSV":
            over.append(f"{name} takes {seconds:.3f} s, more than {bound:g} s")
    if figures["megabytes"] >= MEGABYTES:
        over.append(f"the file has {figures['megabytes']:,.0f} MB, the bound is {MEGABYTES:,}")
    return over


def tables(figures: dict[str, Any]) -> str:
    """The same in Markdown."""
    queries = [(name, f"{seconds:.3f}") for name, seconds in figures["cpu_s"].items()]
    commands = [(f"`{name}`", f"{seconds:.2f}") for name, seconds in figures["command_wall_s"].items()]
    one = figures["store_one_neuron"]
    return (
        f"{figures['neurons']:,} neurons, {figures['megabytes']:,.0f} MB; storing one with its arrays, synced: "
        f"{one['cpu_ms']:.1f} ms of CPU time, {one['wall_ms']:.1f} ms of wall time.\n\n"
        f"{table(('query', 'CPU s'), queries)}\n{table(('whole command', 'wall s'), commands)}"
    )


if __name__ == "__main__":
    main()
