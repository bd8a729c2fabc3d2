"""What the verbs of the command line do, once their options are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret.commands import streams, terminal
from interpret.sweeping.session import Order

if TYPE_CHECKING:
    from interpret.sweep import Executor


def layers(
    model: str,
    data: Path | None,
    weights: Path | None,
    label: str | None,
    categorical: Sequence[str],
    shape: str,
) -> int:
    """Print the layers of a network as a "table" or "json"; nothing for "", where only the exit code is wanted."""
    from interpret.loading import load_model
    from interpret.probing.inventory import layers as inventory

    with terminal.kept():
        net = load_model(model, None if weights is None else str(weights))
        X = None
        if data is not None:
            from interpret.data import load

            X = load(data, target=label, categorical=categorical).X
        found = inventory(net, X)
    if not shape:
        return 0
    columns = ("path", "kind", "shape", "units", "parameters", "calls")
    rows = [[getattr(layer, name) for name in columns] for layer in found]
    if shape == "json":
        terminal.out(terminal.json_text([dict(zip(columns, row, strict=True)) for row in rows]))
        return 0
    shown = [[_shape(value) for value in row] for row in rows]
    terminal.console().print(terminal.grid(columns, shown, right=["units", "parameters", "calls"]))
    return 0


def _shape(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return " × ".join(map(str, value)) or "scalar"
    return value


@dataclass(frozen=True)
class How:
    """Options of a sweep that leave its results alone."""

    jobs: int = 1
    scheduler: str | None = None
    retry_failed: bool = False
    quiet: bool = False
    json: bool = False


def executor(order: Order, how: How) -> Executor:
    """Where the neurons are explained: a Dask cluster, worker processes, or this process."""
    if how.scheduler is not None:
        from interpret.sweeping.cluster import Cluster

        return Cluster(order, how.scheduler)
    if how.jobs > 1:
        from interpret.sweeping.pool import Pool

        return Pool(order, how.jobs)
    from interpret.sweep import Serial

    return Serial(order)


def explain(order: Order, out: Path, how: How) -> int:
    """Sweep, with progress; 0, 3 when neurons failed or were left, 130 when interrupted."""
    from interpret.sweep import sweep
    from interpret.sweeping.progress import Watcher

    try:
        with (
            streams.second_interrupt_ends(),
            terminal.kept(),
            Watcher(how.quiet, how.json) as watcher,
        ):
            outcome = sweep(
                order, out, executor=executor(order, how), retry_failed=how.retry_failed, watch=watcher.tell
            )
    except KeyboardInterrupt:
        terminal.message("twinscope: interrupted; the same command goes on where it stopped")
        return 130
    counts = outcome.counts
    left = counts.waiting + counts.claimed
    if outcome.interrupted:
        terminal.message(
            f"twinscope: interrupted with {left} of {counts.total} neurons left; "
            f"the same command goes on where it stopped"
        )
        return 130
    if not how.quiet and not how.json:
        terminal.told(
            f"{counts.done} of {counts.total} neurons explained in {out}; ask with: twinscope query {out}"
        )
    if left:
        terminal.message(
            f"twinscope: {left} of {counts.total} neurons are not explained yet, and nothing stopped this sweep; "
            f"the same command goes on with them"
        )
    if counts.failed:
        first = outcome.failures[0]
        terminal.message(
            f"twinscope: {counts.failed} of {counts.total} neurons failed, the first {first.address}: "
            f"{first.error}: "
            f"{first.message}\nSee them: twinscope query {out} --failed; "
            f"try them again: the same command with --retry-failed"
        )
    return 3 if counts.failed or left else 0


def report(
    path: Path, output: Path, title: str | None, quiet: bool, json: bool = False, jobs: int = 1
) -> int:
    """Write a run's report, by so many processes."""
    from interpret.report import write
    from interpret.report.pages import Folder
    from interpret.report.write import MOST_IN_ONE_FILE
    from interpret.store import open_run

    with closing(open_run(path)) as run:
        written = write(
            run,
            output,
            title=title or f"{path.name}: what these neurons compute, and what they go by",
            jobs=jobs,
        )
        neurons, failed = len(run), len(run.failures())
    pages = str(Folder.beside(written).path) if neurons > MOST_IN_ONE_FILE else None
    if json:
        record = {
            "event": "report", "path": str(written), "pages": pages, "neurons": neurons, "failed": failed,
        }  # fmt: skip
        terminal.out(terminal.json_line(record))
    elif not quiet:
        terminal.out(f"report: {written}" + (f", its pages in {pages}/" if pages else ""))
    return 0


def demo(out: Path, seed: int, quiet: bool, json: bool = False) -> int:
    """Run the demonstration."""
    from interpret.demo import run

    with _bar(quiet or json) as progress:
        written = run(out, seed=seed, progress=progress)
    if json:
        terminal.told(terminal.json_line({"event": "report", "path": str(written)}))
    elif not quiet:
        terminal.told(f"report: {written}")
    return 0


@contextmanager
def _bar(quiet: bool) -> Iterator[Any]:
    """A callback (message, share) that draws bars on a terminal and prints each new message elsewhere."""
    from interpret.sweeping.progress import Steps

    with Steps(quiet) as steps:
        yield steps.tell


def doctor(path: Path | None, json: bool, quiet: bool = False) -> int:
    """Check the installation, and a run; 1 where something needed is missing, 2 where the run is damaged."""
    from dataclasses import asdict

    from interpret.commands import doctor as checking
    from interpret.store import open_run

    checks = checking.looked()
    code = 0 if checking.healthy(checks) else 1
    if path is None:
        if not quiet:
            terminal.out(checking.as_json(checks) if json else checking.as_text(checks))
        return code
    if not (json or quiet):
        terminal.out(checking.as_text(checks))
    with closing(open_run(path)) as run:
        problems = run.check()
    if json and not quiet:
        found = {"checks": [asdict(check) for check in checks], "run": str(path), "problems": problems}
        terminal.out(terminal.json_text(found))
    elif not (problems or quiet):
        terminal.out(f"{path}: sound")
    for problem in problems:
        terminal.message(f"twinscope: {problem}")
    return 2 if problems else code
