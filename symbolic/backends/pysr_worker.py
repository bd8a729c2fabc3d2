"""The process that runs PySR. A script, not a module of this package: it imports neither symbolic nor torch.

Torch and Julia in one process crash, hence a process of its own. It reads jobs as JSON lines on stdin and answers on
what was its stdout; everything that PySR and Julia print goes to stderr. While Julia searches, Python threads stand
still, so a forked relay, which never imports anything heavy, watches the file that PySR rewrites, sends every
improved frontier, guards the memory limit, and, when the parent is gone, ends the process group and removes the job's
folder. When this process is killed, the relay still sends the last frontier.

    python -P pysr_worker.py PARENT_PID MEMORY_LIMIT        (0: no limit)
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def sibling(name: str) -> Any:
    """A script beside this one: the folder itself is not on the path, for it holds another ``pysr``."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


relays = sibling("pysr_relay")


def main(parent: int, memory_limit: int) -> None:
    """Serve jobs until stdin ends."""
    # A launcher in between, which may not be the one to watch, shows in the parent's number.
    watched = relays.Parent(parent, os.getpid() if os.getppid() == parent else None)
    answers, jobs = os.dup(1), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    listen, speak = os.pipe()
    worker = os.getpid()
    if os.fork() == 0:
        os.close(speak)
        jobs.close()
        try:
            folder = os.environ.get(relays.FOLDER, "")
            relays.Relay(listen, answers, watched, worker, memory_limit, folder).run()
        except BaseException:
            traceback.print_exc()
        finally:
            # Never back into the caller's code: this is the forked copy.
            os._exit(0)
    os.close(listen)
    os.close(answers)

    def emit(event: str, **fields: Any) -> None:
        os.write(speak, json.dumps({"event": event, **fields}).encode() + b"\n")

    limit_memory(memory_limit)
    serve(jobs, emit)


def limit_memory(limit: int) -> None:
    """A hard stop well above the limit that the relay guards: Julia reserves more than it uses."""
    if limit > 0:
        ceiling = 2 * limit + (2 << 30)
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))


def serve(jobs: Any, emit: Callable[..., None]) -> None:
    """Start PySR, say so, and run one job after the other."""
    try:
        pysr, jl, versions = start(emit)
    except BaseException as error:
        traceback.print_exc()
        emit("failed", kind="start", message=f"{type(error).__name__}: {error}"[:1_000])
        raise SystemExit(3) from error
    emit("ready", versions=versions)
    for line in jobs:
        job = json.loads(line)
        if job.get("stop"):
            return
        try:
            run(job, pysr, jl, emit)
        except Exception as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"[:1_000]
            memory = isinstance(error, MemoryError) or "OutOfMemoryError" in text
            emit("failed", job=job["job"], kind="memory" if memory else "search", message=text)


def start(emit: Callable[..., None]) -> tuple[Any, Any, dict[str, str]]:
    """Import PySR, which starts Julia, and load what the gradient loss needs."""
    emit("progress", message="starting Julia and loading PySR")
    import pysr
    from pysr import jl

    emit("progress", message=f"Julia {jl.VERSION} runs; loading Zygote")
    try:
        jl.seval("using Zygote: Zygote")
    except Exception:
        # Not in the project yet: PySR's own helper adds it, which needs the network once.
        from pysr.julia_extensions import load_package

        load_package("Zygote", "e88e6eb3-aa80-5325-afca-941959d7151f")
        jl.seval("using Zygote: Zygote")
    versions = {
        "pysr": str(pysr.__version__),
        "julia": str(jl.VERSION),
        "SymbolicRegression": str(jl.seval("string(pkgversion(SymbolicRegression))")),
    }
    return pysr, jl, versions


def run(job: dict[str, Any], pysr: Any, jl: Any, emit: Callable[..., None]) -> None:
    """One neuron: a new regressor on the job's arrays."""
    import numpy as np

    folder = Path(job["folder"])
    points = aim(job, folder, jl)
    arguments, notes = accepted(job["arguments"], job["essential"], pysr)
    arguments |= {"output_directory": str(folder), "run_id": "run"}
    if job["custom_operators"]:
        arguments["extra_sympy_mappings"] = {name: sympy_function(name) for name in job["custom_operators"]}
    if job["seconds"] is not None:
        arguments["timeout_in_seconds"] = job["seconds"]
    hall = relays.hall_of(folder)
    model = pysr.PySRRegressor(**arguments)
    emit("watch", job=job["job"], path=str(hall))
    emit("progress", job=job["job"], message=f"compiling the gradient loss for {len(points)} points")
    try:
        model.fit(points, np.arange(1.0, len(points) + 1))
    finally:
        # What was found before an error counts too.
        emit("unwatch", job=job["job"])
        emit("frontier", job=job["job"], rows=relays.read_hall(hall))
    emit("done", job=job["job"], rows=relays.read_hall(hall), notes=notes)


def aim(job: dict[str, Any], folder: Path, jl: Any) -> Any:
    """Give Julia the job's directions, weights and projections; returns the points (N, d)."""
    import numpy as np

    arrays = {
        name: np.load(folder / f"{name}.npy") for name in ("points", "directions", "weights", "projectors")
    }
    if "twinscope" not in _SET_UP:
        jl.seval(job["setup"])
        _SET_UP.add("twinscope")
    projectors = arrays["projectors"]
    projected = projectors.size > 0
    # An empty array does not cross into Julia everywhere.
    sent = projectors if projected else np.zeros((1, 1, 1))
    set_target = jl.seval("twinscope_target!")
    stop = str(folder / "stop")
    set_target(arrays["directions"], arrays["weights"], sent, projected, stop, float(job["enough"]))
    return arrays["points"]


_SET_UP: set[str] = set()


def sympy_function(name: str) -> Any:
    """An undefined function of that name, so that PySR can write an operator it does not know."""
    import sympy

    return sympy.Function(name)


def accepted(arguments: dict[str, Any], essential: list[str], pysr: Any) -> tuple[dict[str, Any], list[str]]:
    """The arguments that the installed PySR has, rebuilt from JSON, and a note for each it lacks.

    Raises:
        TypeError: it lacks one without which the search would not be ours.
    """
    known = inspect.signature(pysr.PySRRegressor.__init__).parameters
    absent = [name for name in essential if name not in known]
    if absent:
        raise TypeError(f"PySR {pysr.__version__} has no option {absent[0]!r}, which this backend needs")
    notes = [
        f"the installed PySR has no option {name!r}; the search ran without it"
        for name in arguments
        if name not in known
    ]
    return {name: rebuilt(value, pysr) for name, value in arguments.items() if name in known}, notes


def rebuilt(value: Any, pysr: Any) -> Any:
    """What JSON cannot say, from its tags: tuples, dictionaries of any keys, objects of PySR's own."""
    if isinstance(value, list):
        return [rebuilt(inner, pysr) for inner in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(rebuilt(inner, pysr) for inner in value["tuple"])
    if "dict" in value:
        return {rebuilt(key, pysr): rebuilt(inner, pysr) for key, inner in value["dict"]}
    made = getattr(pysr, value["made"], None)
    if not isinstance(made, type):
        raise TypeError(f"PySR {pysr.__version__} has no class {value['made']!r}")
    arguments = {name: rebuilt(inner, pysr) for name, inner in value["arguments"]}
    return made(**arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
