"""The command line. Verbs only gather what is asked for; torch and the engines load when a verb needs them.

Exit codes: 0 done, 1 something needed is not installed (``doctor``), 2 wrong use or unusable input,
3 some neurons failed, 130 interrupted.
"""

from __future__ import annotations

from interpret.commands import streams

streams.interrupts_end()  # before anything that takes time to import

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from interpret.commands import config
from interpret.errors import InterpretError, said

#: The base of click's errors, from wherever typer has its click.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]
DONE, WRONG, SOME_FAILED, INTERRUPTED, BUG = 0, 2, 3, 130, 70


class _Interrupted(Exception):
    """Ctrl-C, which typer would turn into an exit code without a word."""


class _Verbs(TyperGroup):
    """All verbs."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """What was typed, read."""
        with _interruptible():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """One of them."""
        with _interruptible():
            return super().invoke(ctx)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise _Interrupted from error


app = typer.Typer(
    name="twinscope",
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What does this neuron compute, and what does it go by? "
    "Formulas and training examples for any PyTorch unit.",
)

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="FILE.py:NAME, a module or a function that makes one.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Weights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Weights to load: .safetensors, or .pt with tensors only.")
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The data's column of labels, which is no input; 'target' or 'label' unless given.",
    ),
]
Categorical = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="A column whose values are labels, not quantities; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


#: The largest seed: what every generator takes.
MOST_SEED = 2**63 - 1
#: The longest time that can be asked for, in seconds: a year.
LONGEST = 366 * 24 * 3600.0


def _seed(value: int) -> int:
    if not 0 <= value <= MOST_SEED:
        raise typer.BadParameter("a seed is a whole number from 0 to 2^63 - 1.")
    return value


def _time(value: float | None) -> float | None:
    if value is not None and not 0 < value <= LONGEST:
        raise typer.BadParameter(f"{value:g} is no number of seconds, more than 0 and at most {LONGEST:.0f}.")
    return value


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number.")
    return value


def _examples(*lines: str) -> str:
    """An epilog that keeps its lines; click reflows a paragraph unless it begins with this mark."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"twinscope {version('twinscope')}")
        raise typer.Exit


def _complete_address(context: typer.Context, incomplete: str) -> list[str]:
    """Addresses of the run that is being typed, for the shell; none where it cannot be read."""
    from interpret.store import open_run

    try:
        with open_run(context.params["run"]) as run:
            return [address for address in run.addresses() if address.startswith(incomplete)]
    except (InterpretError, KeyError, TypeError):
        return []


@app.callback()
def _global(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    configuration: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Options from this file instead of ./twinscope.toml."),
    ] = None,
) -> None:
    del version
    commands = getattr(context.command, "commands", {})
    options = {
        name: {p.name: _kind(p) for p in command.params if p.name} for name, command in commands.items()
    }
    values = config.read(configuration)
    context.default_map, problems = config.checked(values, options, context.invoked_subcommand)
    for problem in problems:  # another verb's business, which must not stop this one
        _say(f"warning: {problem}", DONE)


def _kind(option: Any) -> config.Kind:
    if getattr(option, "multiple", False):
        return "list"
    return "flag" if getattr(option, "is_flag", False) else "value"


def _form(context: typer.Context, forms: dict[str, bool]) -> dict[str, bool]:
    """The forms that were asked for; where the command line names one, not those of the options' file."""
    given = {
        name: on and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        for name, on in forms.items()
    }
    return given if any(given.values()) else forms


@app.command(epilog=_examples("twinscope layers net.py:model --data d.csv"))
def layers(
    model: ModelArgument,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Data, to see shapes: .csv, .npz, .npy, .parquet, .safetensors."),
    ] = None,
    weights: Weights = None,
    label: Label = None,
    categorical: Categorical = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """List a network's layers: their shapes, units and parameters."""
    from interpret.commands import verbs

    return verbs.layers(
        model, data, weights, label, categorical or (), "" if quiet else "json" if json else "table"
    )


@app.command(
    epilog=_examples(
        'twinscope explain net.py:model --data d.csv --neurons "fc1[0:3]" --out runs/x',
        "twinscope explain net.py:model --data d.csv --weights w.safetensors \\",
        '    --neurons "fc1[:]" --neurons "out[0]" --jobs 2 --out runs/x',
    )
)
def explain(
    model: ModelArgument,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Training rows: .csv, .npz, .npy, .parquet, .safetensors.")
    ],
    neurons: Annotated[
        list[str],
        typer.Option(
            metavar="ADDRESS", help='Addresses such as "fc1[3]" or "fc1[0:3]"; may be given several times.'
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder of the run; an existing run is continued.")
    ],
    weights: Weights = None,
    label: Label = None,
    categorical: Categorical = None,
    boolean: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column of 0 and 1 that are truth values; repeatable."),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="both, symbolic (formulas) or gp (examples).")
    ] = "both",
    search: Annotated[
        str, typer.Option(metavar="NAME", help="The symbolic backend: auto, eigen or pysr.")
    ] = "auto",
    kernel: Annotated[
        str, typer.Option(metavar="NAME", help="The GP's kernel: activation, learned or tangent.")
    ] = "activation",
    wrt: Annotated[
        str,
        typer.Option(metavar="PATH", help="Take gradients here, a module's path; the input unless given."),
    ] = "",
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="The network's name in reports; its file's name unless given.")
    ] = "",
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", help="Fixes every random choice.", callback=_seed)
    ] = 0,
    jobs: Annotated[int, typer.Option(metavar="NUMBER", help="Worker processes on this machine.", min=1)] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Address of a Dask scheduler, tcp://HOST:PORT, instead of --jobs."
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Seconds for one neuron; one that takes longer counts as failed.",
            min=0.1,
            callback=_time,
        ),
    ] = None,
    search_time: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Seconds for one formula search, which then gives the best so far; depends on the machine.",
            callback=_time,
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before.")
    ] = False,
    quiet: Quiet = False,
    json: Annotated[bool, typer.Option("--json", help="Log each neuron as a line of JSON.")] = False,
) -> int:
    """Explain neurons by formula and by example; keep that in a run.

    Interrupted or killed, the same command goes on where it stopped.
    """
    from interpret.commands import verbs
    from interpret.sweeping.session import Order

    order = Order(
        model=model,
        data=str(data),
        neurons=tuple(neurons),
        weights=None if weights is None else str(weights),
        label=label,
        categorical=tuple(categorical or ()),
        boolean=tuple(boolean or ()),
        engine=engine,
        search=search,
        kernel=kernel,
        seed=seed,
        limit=time_limit,
        search_time=search_time,
        wrt=wrt,
        title=title,
    )
    how = verbs.How(jobs, scheduler, retry_failed, quiet, json)
    return verbs.explain(order, out, how)


@app.command(
    epilog=_examples(
        'twinscope query runs/x "fc1[1]"',
        'twinscope query runs/x "fc1[0:8]" --verdict EXACT --json',
        'twinscope query runs/x --uses x3 --where "r2 > 0.9 and terms <= 4" --sort r2',
        'twinscope query runs/x --like "x0*x1" --limit 5',
    )
)
def query(
    context: typer.Context,
    run: RunArgument,
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS",
            autocompletion=_complete_address,
            help='One neuron, or several: "fc1[*]", "fc1[0:8]".',
        ),
    ] = None,
    uses: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The formula has this variable; repeatable.")
    ] = None,
    has: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The formula has this operator; repeatable.")
    ] = None,
    verdict: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="EXACT, APPROXIMATE or NONE; repeatable.")
    ] = None,
    min_alignment: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="The least 1 − misalignment.", callback=_finite)
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help='A condition: "r2 > 0.9 and terms <= 4".')
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="FORMULA", help='The same concept, up to a monotone map: "x0*x1".')
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The network, by its title or the beginning of its hash."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="HASH", help="The data, by the beginning of its hash.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="A column; figures from high to low.")
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="Sort from low to high.")] = False,
    descending: Annotated[
        bool, typer.Option("--descending", help="Sort from high to low, texts from z to a.")
    ] = False,
    limit: Annotated[int | None, typer.Option(metavar="ROWS", help="The most rows.", min=0)] = None,
    revisions: Annotated[
        bool, typer.Option("--revisions", help="Earlier fits of the same neuron too.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Instead, the neurons that could not be explained.")
    ] = False,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no count below the table, only rows and errors.")
    ] = False,
) -> int:
    """Ask a run which neurons compute what, and how far to trust it."""
    from interpret.commands import asking

    filters: dict[str, Any] = {
        "uses": uses,
        "has": has,
        "verdict": verdict,
        "min_alignment": min_alignment,
        "where": where,
        "like": like,
        "model": model,
        "data": data,
        "sort": sort,
        "descending": asking.direction(ascending, descending),
        "limit": limit,
        "revisions": revisions,
    }
    return asking.query(
        run,
        pattern,
        filters,
        asking.form(**_form(context, {"json": json, "csv": csv, "markdown": markdown})),
        failed,
        quiet,
    )


@app.command(
    epilog=_examples(
        "twinscope report runs/x --output report.html",
        "twinscope report runs/x --output site/x.html --jobs 2",
    )
)
def report(
    run: RunArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")
    ] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="The report's title.")] = None,
    jobs: Annotated[
        int, typer.Option(metavar="NUMBER", help="Processes that write the pages of a large run.", min=1)
    ] = 1,
    quiet: Quiet = False,
    json: Annotated[bool, typer.Option("--json", help="Log what was written as a line of JSON.")] = False,
) -> int:
    """Write a run as an HTML report that needs no network or server."""
    from interpret.commands import verbs

    return verbs.report(run, output, title, quiet, json, jobs)


@app.command(epilog=_examples("twinscope demo"))
def demo(
    out: Annotated[Path, typer.Option(help="The folder of the run and the report.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Fixes every random choice.", callback=_seed)] = 0,
    quiet: Quiet = False,
    json: Annotated[bool, typer.Option("--json", help="Log what was written as a line of JSON.")] = False,
) -> int:
    """Train three networks, explain nine neurons, write the report."""
    from interpret.commands import verbs

    return verbs.demo(out, seed, quiet, json)


@app.command(epilog=_examples("twinscope doctor runs/x"))
def doctor(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run to check for damage as well.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Check this installation, and a run: what works, what to do."""
    from interpret.commands import verbs

    return verbs.doctor(run, json, quiet)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error on purpose is one message on stderr."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="twinscope")
    except (KeyboardInterrupt, _Interrupted, typer.Abort):
        return _say("interrupted; the same command goes on where it stopped", INTERRUPTED)
    except InterpretError as error:
        return _say(str(error), WRONG)
    except BrokenPipeError:
        streams.discard_output()
        return DONE
    except OSError as error:
        return _say(f"{error.filename or 'writing the output'}: {error.strerror or error}", WRONG)
    except _ClickError as error:
        return _usage(error)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # as newer versions of typer pass it on
            streams.discard_output()
            return DONE
        if streams.ended_by_typer(error):  # completion ends the program when it has answered
            return error.code if isinstance(error.code, int) else DONE
        # Nothing of ours calls it in here: a model's file does, when it is run as a program.
        return _say(
            f"the model's file ended the program, sys.exit({error.code!r}); it is to be imported", WRONG
        )
    except BaseException as error:  # also what a model makes up
        return _bug(error)
    return code if isinstance(code, int) else DONE


def _say(text: str, code: int) -> int:
    from interpret.commands.terminal import message

    message(f"twinscope: {text}")
    return code


def _usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    text = error.format_message()
    if not text and context is not None:
        typer.echo(context.get_help())
        return WRONG
    command = context.command_path if context is not None else "twinscope"
    return _say(f"{text}\nSee: {command} --help", WRONG)


def _bug(error: BaseException) -> int:
    """Something that should not happen: say so in one message; the traceback only when asked for."""
    if os.environ.get("TWINSCOPE_DEBUG"):
        raise error
    return _say(
        f"an error inside twinscope, {type(error).__name__}: {said(error)}\n"
        f"Please report it with the traceback that TWINSCOPE_DEBUG=1 prints.",
        BUG,
    )


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point ``twinscope``."""
    try:
        streams.open_closed()
        streams.print_anything()
        streams.interrupts_raise()
        code = main(arguments)
    except KeyboardInterrupt:
        code = _say("interrupted", INTERRUPTED)
    sys.exit(code)
