"""Write docs/benchmarks.md: every figure printed by a script of this folder, with machine, versions, seeds and spread.

    python benchmarks/page.py [--smoke] [--gpex PATH] [--only formulas,gp] [--output docs/benchmarks.md]

`--smoke` runs every script at its smallest, to see that the page can be made. Each script has a time limit; one that
does not end in time, or fails, is printed as that.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from peers import installed

HERE = Path(__file__).resolve().parent
#: The page takes no longer: what has not begun by then is printed as not ended.
MOST_SECONDS = 1800.0
PACKAGES = (
    "torch",
    "gpytorch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pysr",
    "gplearn",
    "pyoperon",
    "captum",
    "shap",
    "traker",
)


@dataclass(frozen=True)
class Part:
    """One script: its arguments in full and in the rehearsal, whether it prints Markdown, its limit in seconds."""

    script: str
    arguments: str
    smoke: str
    markdown: bool = True
    limit: float = 420.0


@dataclass(frozen=True)
class Section:
    """A question, how to read the answer, and the scripts that print it."""

    key: str
    title: str
    text: str
    parts: tuple[Part, ...]


SECTIONS = (
    Section("formulas", "Formulas: who finds the rule?",
            "Classifiers trained on the published rules; the networks saw labels only. One seed is one network. "
            "*found*: the mean cosine between the gradients of the formula and of the rule, near the decision "
            "boundary, is at least 0.99; the form may be another. *same concept*: the gradients are parallel over the "
            "whole domain, to a sine of 0.05 at each of 500 points, so that the formula is the rule up to a monotone "
            "map and small differences of its constants; a formula that is found and not this is only close. Labels "
            "tell no more than the boundary, which other concepts may share. Ours gets gradients, which gplearn and "
            "pyoperon cannot use; that is the point of the method, and the reason why this is a comparison of methods "
            "and not of search engines. These two get the network's output. They search as long as they are told, so "
            "they are charged for the first of a series that finds the rule, as if its length had been known: gplearn "
            "is looked at after each generation up to its default of 20, pyoperon after searches of 2,500 evaluations, "
            "twice that, and so on up to 320,000. Ours stops by itself. The formula shown, its cosine and its size are "
            "those of the search that is charged, or of the longest where none finds the rule. "
            "*level*: the ranges overlap.",
            (Part("peer_formulas.py", "--seeds 2", "--tasks A1 --seeds 1 --generations 2 --evaluations 2500",
                  limit=600),)),
    Section("concepts", "Formulas: the published tasks",
            "*label cos*: with the gradient of the rule behind the labels, near the decision boundary; *network cos*: "
            "with the network's own. A rule counts as recovered where the label cos is at least 0.999 and the formula "
            "has at most 8 terms; the form may be another. F and G have no single formula and are judged by the "
            "network cos, which must be at least 0.99.",
            (Part("concepts.py", "tasks --seeds 2", "tasks --seeds 1 --only A1", markdown=False, limit=300),)),
    Section("claims", "Formulas: is anything claimed where there is nothing?",
            "Random networks and random directions. An EXACT here would be a false claim. APPROXIMATE is a claim too, "
            "of something close to the formula. The last lines count both.",
            (Part("concepts.py", "claims", "", markdown=False, limit=300),)),
    Section("gp", "Gaussian processes: match and meaning",
            "A match alone is easy; contributions that cancel explain nothing. *held-out* and *noise* are the worst "
            "head's correlation with the network on unseen rows and on noise. *cancellation* is the median of "
            "Σ|c|/|Σc| over the contributions c to the predicted head, on unseen rows; the theory divides by "
            "max(|Σc|, s) with the head's deviation s, which never gives more. *contributors* is the share of the ten "
            "largest contributors that are of the predicted class. GPyTorch's exact GPs take 30 steps of Adam on the "
            "marginal likelihood with a noise of at least 1e-4, its SVGP 512 inducing points and 60 minibatches: "
            "longer training would bring them nearer. On digits the tangent kernel is left out, to "
            "keep this page's time. *level*: the ranges overlap.",
            (Part("peer_gp.py", "--seeds 3 --kinds diabetes", "--seeds 1 --kinds diabetes --methods activation"),
             Part("peer_gp.py", "--seeds 1 --kinds digits --without tangent", "", limit=700))),
    Section("captum", "Gradients, neighbors and wrong labels: captum and shap",
            "The same questions to the same networks. *ours against it* is from our side, of the seconds where nothing "
            "else is said; a loss is called one; 1 − AUC is what is missed. The nets of *changed labels* have learned "
            "them by heart.",
            (Part("peer_captum.py", "--seeds 3 --rounds 3", "--seeds 1 --rounds 1 --units 8 --epochs 2"),)),
    Section("probe", "The probe against plain autograd",
            "Whole layers at once; the contenders take turns.",
            (Part("probe.py", "speed", "", markdown=False),)),
    Section("scaling", "Curves: rows, inputs, features, units, workers",
            "Two workers on two cores leave nothing for the coordinator and the rest of the machine.",
            (Part("scaling.py", "--repeats 3 --neurons 8", "--repeats 1 --most 0.01 --neurons 2 --engine gp"),)),
    Section("sweep", "Sweeps: one worker against two",
            "Both engines on the hidden units of a random network, most of which have no short formula: the search "
            "takes its full time. Start-up is included in every figure.",
            (Part("sweep.py", "--neurons 24", "--neurons 2 --engine gp", limit=600),)),
    Section("runs", "Runs: a hundred thousand neurons",
            "Made-up neurons of usual size, without arrays, for a query reads none.",
            (Part("store.py", "", "--neurons 300", limit=300),)),
    Section("import", "Starting",
            "Seconds to import, in fresh processes; `python -c pass` is the floor.",
            (Part("start.py", "--repeats 7", "--repeats 1"),)),
)  # fmt: skip


def machine() -> str:
    """Processor, cores, memory and versions."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ", ".join(f"{name} {installed(name)}" for name in PACKAGES)
    return (
        f"{names[0].split(':', 1)[1].strip() if names else platform.machine()}, {os.cpu_count()} cores, "
        f"{pages / 2**30:.0f} GiB, no GPU used; Python {platform.python_version()}; "
        f"twinscope {installed('twinscope')}; {packages}."
    )


def stamp() -> str:
    """What a page says of the machine that measured it."""
    return f"Machine and versions: {machine()}"


def run(part: Part, arguments: list[str], left: float) -> tuple[str, float]:
    """What a script prints, or what became of it, and its wall seconds; ``left`` are those of the whole page."""
    limit = max(1.0, min(part.limit, left))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / part.script), *arguments], cwd=HERE.parent, env=environment,
            capture_output=True, text=True, timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"**Did not end within {limit:.0f} seconds.**\n", limit
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"**Failed:** `{last[:200]}`\n", seconds
    text = done.stdout.strip()
    return (text if part.markdown else f"```text\n{text}\n```") + "\n", seconds


def section(asked: Section, smoke: bool, gpex: str | None, end: float) -> tuple[str, bool]:
    """One section of the page, and whether all of it went well."""
    out, good = [f"## {asked.title}\n\n{asked.text}\n"], True
    for part in asked.parts:
        arguments = (part.smoke if smoke else part.arguments).split()
        if smoke and not part.smoke:
            out.append(f"`python benchmarks/{part.script} {part.arguments}` is left out of the rehearsal.\n")
            continue
        if gpex and part.script == "peer_gp.py":
            arguments += ["--gpex", gpex]
        text, seconds = run(part, arguments, end - time.perf_counter())
        good &= not text.startswith("**")
        shown = " ".join(a if a != gpex else "PATH" for a in arguments)
        command = " ".join(filter(None, ("python", f"benchmarks/{part.script}", shown)))
        out.append(f"`{command}`, {seconds:.0f} s\n\n{text}")
        print(f"{asked.key}: {part.script} {seconds:.0f} s", file=sys.stderr, flush=True)
    if not gpex and asked.key == "gp":
        out.append("GPEX's own code was not run: `--gpex PATH` takes a checkout of it.\n")
    return "\n".join(out), good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="every script at its smallest")
    parser.add_argument("--gpex", help="a checkout of GPEX, to run its own code beside")
    parser.add_argument(
        "--only", default="", help="sections, by key, made anew in a page that keeps its others"
    )
    parser.add_argument(
        "--output", type=Path, help="the page; docs/benchmarks.md, or standard output for --smoke"
    )
    asked = parser.parse_args()
    output = asked.output or (None if asked.smoke else HERE.parent / "docs" / "benchmarks.md")
    before = output.read_text(encoding="utf8") if asked.only and output and output.exists() else ""
    if before and stamp() not in before:
        parser.error(
            f"{output} was measured on another machine or with other versions than {machine()} "
            f"Sections of both cannot stand on one page: run this without --only."
        )
    start = time.perf_counter()
    chosen = [s for s in SECTIONS if not asked.only or s.key in asked.only.split(",")]
    made = {s.title: section(s, asked.smoke, asked.gpex, start + MOST_SECONDS) for s in chosen}
    kept = sections(before) | {title: text for title, (text, _) in made.items()}
    text = head(asked.smoke, kept) + "\n".join(kept[s.title] for s in SECTIONS if s.title in kept)
    if output is None:
        print(text)
    else:
        output.write_text(text, encoding="utf8")
    sys.exit(0 if all(good for _, good in made.values()) else 1)


def sections(page: str) -> dict[str, str]:
    """The sections of a page by title."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in parts}


def head(smoke: bool, made: dict[str, str]) -> str:
    """What stands before the sections; the time is what their scripts took."""
    took = sum(
        int(found) for text in made.values() for found in re.findall(r"^`python .*`, (\d+) s$", text, re.M)
    )
    return (
        "---\nhide:\n  - toc\n---\n\n# Benchmarks\n\n"
        "Written by `make bench`; no measured figure is typed by hand. Figures with brackets are medians, and the "
        "brackets hold the whole range over seeds or repeats. Ratios are within one run, on one machine, one thread "
        "for every contender unless its name says otherwise. Losses are printed as losses. A tool that is not "
        "installed is named as not measured.\n\n"
        f"{stamp()} The whole took {took / 60:.0f} minutes"
        f"{', at the smallest settings: a rehearsal, not a measurement' if smoke else ''}. "
        "Seeds are 0, 1, 2, … throughout.\n\n"
    )


if __name__ == "__main__":
    main()
