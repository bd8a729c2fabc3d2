"""The process that runs PySR. A script, not a module of this package: it imports neither symbolic nor torch.

Torch and Julia in one process crash, hence a process of its own. It reads jobs as JSON lines on stdin and answers on
what was its stdout; everything that PySR and Julia print goes to stderr. While Julia searches, Python threads stand
still, so a forked relay, which never imports anything heavy, watches the file that PySR rewrites, sends every
improved frontier, guards the memory limit, and ends the process group when the parent is gone. When this process is
killed, the relay still sends the last frontier.

    python -P pysr_worker.py PARENT_PID MEMORY_LIMIT        (0: no limit)
"""

from __future__ import annotations

import contextlib
import csv
import inspect
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TICK = 0.25


def main(parent: int, memory_limit: int) -> None:
    """Serve jobs until stdin ends."""
    answers, jobs = os.dup(1), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    listen, speak = os.pipe()
    worker = os.getpid()
    if os.fork() == 0:
        os.close(speak)
        jobs.close()
        try:
            relay(listen, answers, parent, worker, memory_limit)
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
        pysr, jl, versions = start()
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


def start() -> tuple[Any, Any, dict[str, str]]:
    """Import PySR, which starts Julia, and load what the gradient loss needs."""
    import pysr
    from pysr import jl

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
    arrays = {
        name: np.load(folder / f"{name}.npy") for name in ("points", "directions", "weights", "projectors")
    }
    if "twinscope" not in _SET_UP:
        jl.seval(job["setup"])
        _SET_UP.add("twinscope")
    aim = jl.seval("twinscope_target!")
    projectors = arrays["projectors"]
    projected = projectors.size > 0
    # An empty array does not cross into Julia everywhere.
    sent = projectors if projected else np.zeros((1, 1, 1))
    aim(arrays["directions"], arrays["weights"], sent, projected, str(folder / "stop"), float(job["enough"]))
    arguments, notes = accepted(job["arguments"], pysr)
    arguments |= {"output_directory": str(folder), "run_id": "run"}
    if job["custom_operators"]:
        arguments["extra_sympy_mappings"] = {name: sympy_function(name) for name in job["custom_operators"]}
    if job["seconds"] is not None:
        arguments["timeout_in_seconds"] = job["seconds"]
    hall = folder / "run" / "hall_of_fame.csv"
    emit("watch", job=job["job"], path=str(hall))
    model = pysr.PySRRegressor(**arguments)
    rows_as_targets = np.arange(1.0, len(arrays["points"]) + 1)
    try:
        model.fit(arrays["points"], rows_as_targets)
    finally:
        # What was found before an error counts too.
        emit("unwatch", job=job["job"])
        emit("frontier", job=job["job"], rows=read_hall(hall))
    emit("done", job=job["job"], rows=read_hall(hall), notes=notes)


_SET_UP: set[str] = set()


def sympy_function(name: str) -> Any:
    """An undefined function of that name, so that PySR can write an operator it does not know."""
    import sympy

    return sympy.Function(name)


def accepted(arguments: dict[str, Any], pysr: Any) -> tuple[dict[str, Any], list[str]]:
    """The arguments that the installed PySR has, and a note for each it lacks."""
    known = set(inspect.signature(pysr.PySRRegressor.__init__).parameters)
    notes = [f"the installed PySR has no option {name!r}; the search ran without it" for name in arguments]
    kept = {name: value for name, value in arguments.items() if name in known}
    return kept, [note for name, note in zip(arguments, notes, strict=True) if name not in known]


def read_hall(path: Path) -> list[dict[str, Any]]:
    """The rows of PySR's file, or of its backup while the file is being written."""
    for candidate in (path, Path(f"{path}.bak"), Path(f"{path}.bkup")):
        try:
            with candidate.open(newline="") as file:
                rows = [row for row in map(hall_row, csv.DictReader(file)) if row is not None]
        except (OSError, csv.Error, UnicodeDecodeError):
            continue
        if rows:
            return rows
    return []


def hall_row(row: dict[str, str]) -> dict[str, Any] | None:
    """A row as plain data, or None where it is not whole."""
    try:
        return {
            "complexity": int(row["Complexity"]),
            "loss": float(row["Loss"]),
            "equation": row["Equation"].strip(),
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def relay(listen: int, answers: int, parent: int, worker: int, memory_limit: int) -> None:
    """Forward the worker's lines; between them, watch the file, the memory, and the parent."""
    job, path, sent = -1, None, ""
    buffer = b""
    while True:
        readable, _, _ = select.select([listen], [], [], _TICK)
        data = os.read(listen, 1 << 16) if readable else None
        if data is not None:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if message["event"] == "watch":
                    job, path, sent = message["job"], Path(message["path"]), ""
                elif message["event"] == "unwatch":
                    path = None
                else:
                    write_all(answers, line + b"\n")
        if path is not None:
            rows = read_hall(path)
            text = json.dumps({"event": "frontier", "job": job, "rows": rows})
            if rows and text != sent:
                write_all(answers, text.encode() + b"\n")
                sent = text
        if data == b"":
            return
        if not exists(parent):
            os.killpg(0, signal.SIGKILL)
        used = resident(worker)
        if 0 < memory_limit < used:
            text = f"the worker used {used / 2**20:.0f} MiB of {memory_limit / 2**20:.0f} MiB allowed"
            write_all(
                answers,
                json.dumps({"event": "failed", "job": job, "kind": "memory", "message": text}).encode(),
            )
            write_all(answers, b"\n")
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            return


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, or end the group: nobody listens any more."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        os.killpg(0, signal.SIGKILL)


def exists(process: int) -> bool:
    """Whether a process of that number exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def resident(process: int) -> int:
    """The process's resident memory in bytes; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    started = time.monotonic()
    main(int(sys.argv[1]), int(sys.argv[2]))
