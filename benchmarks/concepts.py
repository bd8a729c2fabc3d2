"""Does the symbolic engine name the concept? Tables for the published tasks, exact forms, noise and false claims.

    python benchmarks/concepts.py [tasks|forms|more|noise|claims|tied|intervals|layer|wide|single|workers|naive|all]
        [--engine eigen] [--seeds 5] [--only A,B]

Networks are trained once and cached in .cache/concepts. Times are process time on one core.
"""

from __future__ import annotations

import argparse
import os
import time

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import concept_forms as forms
import concept_naive as naive
import concept_tasks as tasks
import numpy as np
import torch
from concept_tasks import cosine

import symbolic
from interpret.probe import Probe
from symbolic.expression import expand_terms, value_and_gradient, variables

ENGINE = "eigen"
#: What counts as a rule recovered: the cosine with its gradient, and terms of the formula.
RECOVERED, TERMS = 0.999, 8
#: What counts as faithful to a network without one rule: the cosine with its gradient.
FAITHFUL = 0.99


def terms(formula: symbolic.Formula) -> int:
    return sum(bool(variables(tree)) for _, tree in expand_terms(formula.tree))


def gradient(formula: symbolic.Formula, points: np.ndarray) -> np.ndarray:
    return value_and_gradient(formula.tree, points)[1]


def run_tasks(seeds: int, only: set[str]) -> None:
    """The published tasks: gradients near the boundary against the label rule, for F and G against the network."""
    print("task seed  verdict      label cos  network cos  terms  cpu s  wall s  formula")
    recovered, faithful, exact, seconds = 0, 0, 0, []
    total = [0, 0]
    for name, task in tasks.TASKS.items():
        if only and name not in only:
            continue
        for seed in range(seeds):
            model = tasks.trained(task, seed)
            x = task.sample(tasks.POINTS, np.random.default_rng([seed, *name.encode()])).astype(np.float32)
            wall, cpu = time.perf_counter(), time.process_time()
            formula = symbolic.fit(Probe(model, ""), x, engine=ENGINE)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            mixed = task.agree is not None
            points = least_logit(task, model, seed) if mixed else tasks.near_boundary(task, seed)
            label = cosine(gradient(formula, points), task.gradient(points))
            network = cosine(gradient(formula, points), tasks.network_gradient(model, points)[1])
            good = network >= FAITHFUL if mixed else label >= RECOVERED and terms(formula) <= TERMS
            total[mixed] += 1
            recovered += good and not mixed
            faithful += good and mixed
            exact += good and not mixed and formula.verdict == "EXACT"
            seconds.append(cpu)
            print(
                f"{name:4} {seed:4}  {formula.verdict:11}  {label:9.5f}  {network:11.5f}  {terms(formula):5}  "
                f"{cpu:5.2f}  {wall:6.2f}  {formula.text()[:90]}{'' if good else '   <- missed'}",
                flush=True,
            )
    print(
        f"label cos at least {RECOVERED} in at most {TERMS} terms: {recovered} of {total[0]} (EXACT on {exact}); "
        f"F and G, network cos at least {FAITHFUL}: {faithful} of {total[1]}; "
        f"cpu seconds median {np.median(seconds):.2f}, worst {max(seconds):.2f}"
    )


def least_logit(task: tasks.Task, model: torch.nn.Module, seed: int) -> np.ndarray:
    points = task.sample(100_000, np.random.default_rng([seed, 78, *task.name.encode()]))
    logit, _ = tasks.network_gradient(model, points)
    return points[np.argsort(np.abs(logit))[:2_000]]


def run_forms(seeds: int, only: set[str], listed: tuple[forms.Form, ...] = forms.FORMS) -> None:
    """Exact gradients of nested forms with inner constants: recovered with a misalignment of at most 1e-6."""
    print(
        "form                             recovered  EXACT  worst misalignment  worst cpu s  formula of the last seed"
    )
    whole = 0
    committed = 0
    for form in listed:
        if only and form.text not in only:
            continue
        figures, verdicts, times, formula = [], [], [], None
        for seed in range(seeds):
            x, g, v = form.data(seed)
            start = time.process_time()
            formula = symbolic.fit_gradients(x, g, v, engine=ENGINE, seed=seed)
            times.append(time.process_time() - start)
            fresh = form.data(seed + 100)[0]
            with np.errstate(all="ignore"):
                figures.append(1 - cosine(gradient(formula, fresh), form.gradient(fresh)))
            verdicts.append(formula.verdict == "EXACT")
        good = sum(figure <= 1e-6 for figure in figures)
        whole += good == len(figures)
        committed += all(verdicts) and good == len(figures)
        print(
            f"{form.text:34} {good} of {len(figures)}   {sum(verdicts):3}   {max(figures):12.1e}  {max(times):16.2f}  "
            f"{formula.text()[:80] if formula else ''}",
            flush=True,
        )
    print(f"recovered on every seed: {whole} of {len(listed)}, EXACT on every seed: {committed}")


def run_noise(seeds: int, only: set[str]) -> None:
    """The same forms with 1 % and 5 % angular noise: recovered, or at least not EXACT."""
    print("form                             noise  recovered  EXACT  EXACT and wrong  worst cpu s")
    wrong = 0
    for form in forms.FORMS:
        if only and form.text not in only:
            continue
        for angle in (0.01, 0.05):
            good, exact, bad, times = 0, 0, 0, []
            for seed in range(seeds):
                x, g, v = form.data(seed)
                noisy = forms.disturbed(g, angle, np.random.default_rng([seed, 5]))
                start = time.process_time()
                formula = symbolic.fit_gradients(x, noisy, v, engine=ENGINE, seed=seed)
                times.append(time.process_time() - start)
                fresh = form.data(seed + 100)[0]
                with np.errstate(all="ignore"):
                    right = (
                        1 - cosine(gradient(formula, fresh), form.gradient(fresh)) < 0.02 * angle**2 + 1e-6
                    )
                good += right
                exact += formula.verdict == "EXACT"
                bad += formula.verdict == "EXACT" and not right
            wrong += bad
            print(
                f"{form.text:34} {angle:4.2f}  {good} of {seeds}  {exact:5}  {bad:10}  {max(times):14.2f}",
                flush=True,
            )
    print(f"EXACT and wrong: {wrong}; right means within 2 % of the noise's own misalignment of the truth")


def run_claims(seeds: int, only: set[str], count: int = 40) -> None:
    """Random networks and random directions: nothing there to be claimed."""
    verdicts: dict[str, list[str]] = {"networks": [], "directions": []}
    times = []
    for seed in range(count):
        x, g, v, _ = forms.random_network(seed)
        start = time.process_time()
        formula = symbolic.fit_gradients(x, g, v, engine=ENGINE, accuracy=1.5e-3)
        times.append(time.process_time() - start)
        verdicts["networks"].append(str(formula.verdict))
        worst = max((control.margin for control in formula.controls), default=float("nan"))
        print(
            f"network {seed:3} {formula.verdict:11} {formula.misalignment:.1e} margin {worst:.2f} {times[-1]:5.1f} s",
            flush=True,
        )
    for seed in range(count):
        rng = np.random.default_rng([seed, 9])
        x, g = rng.uniform(-1, 1, (2_000, 3)), rng.standard_normal((2_000, 3))
        start = time.process_time()
        formula = symbolic.fit_gradients(x, g, x @ rng.standard_normal(3), engine=ENGINE, accuracy=1.5e-3)
        times.append(time.process_time() - start)
        verdicts["directions"].append(str(formula.verdict))
    for name, found in verdicts.items():
        tally = ", ".join(f"{word} {found.count(word)}" for word in ("EXACT", "APPROXIMATE", "NONE"))
        print(f"random {name}: {tally}")
    made = [word for found in verdicts.values() for word in found]
    print(
        f"claims in {len(made)}: EXACT (it computes the formula) {made.count('EXACT')}, "
        f"APPROXIMATE (something close to it) {made.count('APPROXIMATE')}"
    )
    print(f"cpu seconds median {np.median(times):.2f}, worst {max(times):.2f}")


def run_tied(seeds: int, only: set[str]) -> None:
    """Inputs tied to one another, whose gradients across the tie mean nothing."""
    for name, make in forms.TIED.items():
        for seed in range(seeds):
            x, g, v = make(seed)
            start = time.process_time()
            formula = symbolic.fit_gradients(x, g, v, engine=ENGINE, seed=seed)
            print(
                f"{name:10} {seed} {formula.verdict:11} {formula.misalignment:.1e} "
                f"{time.process_time() - start:5.2f} s  {formula.text()[:110]}",
                flush=True,
            )


def run_intervals(seeds: int, only: set[str], repeats: int = 100) -> None:
    """How often the 95 % intervals cover the true constants, given the right terms and fresh noise each time."""
    from symbolic import intervals, targets
    from symbolic.parser import parse
    from symbolic.polish import Field, candidate, polish
    from symbolic.scoring import row_of, tidy

    truth = "sin(2.3*x0) + 1.7*exp(-0.7*x1^2) + 0.8*(x0*x1)"
    known = {"sin": (1.0, 2.3), "exp": (1.7, -0.7), "x0 * x1": (0.8, 0.0)}
    tree = parse(truth, ("x0", "x1"))
    print(f"coverage of {truth}, {repeats} repeats, 500 fitted points each")
    for label, inside, outside in (("0.05 everywhere", 0.05, 0.05), ("0.02 left, 0.3 right", 0.02, 0.3)):
        held: dict[str, int] = {}
        for repeat in range(repeats):
            rng = np.random.default_rng([repeat, 21])
            x = rng.uniform(-2, 2, (1_500, 2))
            angle = np.where(x[:, 0] > 0, outside, inside)
            field = forms.disturbed(value_and_gradient(tree, x)[1], angle, rng)
            found = targets.build(x, field, seed=repeat)
            aim = Field(found, found.fit)
            row = row_of(tidy(polish(candidate(tree), aim)[0], aim), found)
            figures = intervals.coefficients(row, found, repeat)
            kinds = [next(kind for kind in known if kind in figure.term) for figure in figures]
            for kind, figure in zip(kinds, figures, strict=True):
                true = known[kind][1] if figure.inner else known[kind][0] / known[kinds[0]][0]
                name = f"{kind} {'inner' if figure.inner else 'ratio'}"
                held[name] = held.get(name, 0) + (figure.low <= true <= figure.high)
        print(f"  noise {label}: " + ", ".join(f"{name} {count}" for name, count in held.items()), flush=True)


def run_layer(seeds: int, only: set[str]) -> None:
    """Seconds for two hidden layers of 256 units with four inputs."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 256),
        torch.nn.Tanh(),
        torch.nn.Linear(256, 256),
        torch.nn.Tanh(),
        torch.nn.Linear(256, 1),
    )
    x = torch.rand(4_000, 4) * 2 - 1
    y = (x[:, :1] ** 2 + torch.sin(x[:, 1:2] * 2) * x[:, 2:3]).detach()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
    for layer in ("0", "2"):
        start, cpu = time.perf_counter(), time.process_time()
        found = symbolic.fit_many(Probe(model, f"{layer}[:]"), x)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        verdicts = [str(f.verdict) for f in found]
        tally = ", ".join(f"{word} {verdicts.count(word)}" for word in ("EXACT", "APPROXIMATE", "NONE"))
        print(f"layer {layer}: 256 units in {wall:.1f} s wall, {cpu:.1f} s cpu; {tally}", flush=True)


def one_json(seed: int) -> str:
    """A whole search in a process of its own, as JSON without its seconds."""
    import re

    x, g, v = forms.FORMS[seed % 3].data(seed, 600)
    return re.sub(
        r'"seconds": [^,}]*', "", symbolic.fit_gradients(x, g, v, engine="eigen", seed=seed).to_json()
    )


def run_workers(seeds: int, only: set[str]) -> None:
    """The same bytes from one, two and four workers."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    found = []
    for workers in (1, 2, 4):
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            found.append(list(pool.map(one_json, range(6))))
    print(f"six searches in 1, 2 and 4 workers: same bytes {found[0] == found[1] == found[2]}")


def run_wide(seeds: int, only: set[str]) -> None:
    """Seconds and memory for one unit with 64 inputs, four of which matter."""
    import resource

    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (3_000, 64))
    g = 0.01 * rng.standard_normal(x.shape)
    g[:, 3] += 2 * x[:, 3]
    g[:, 10] += np.cos(x[:, 10] + x[:, 20])
    g[:, 20] += np.cos(x[:, 10] + x[:, 20])
    g[:, 40] += 0.5
    v = x[:, 3] ** 2 + np.sin(x[:, 10] + x[:, 20]) + 0.5 * x[:, 40]
    start = time.process_time()
    formula = symbolic.fit_gradients(x, g, v, engine=ENGINE)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"d = 64: {formula.verdict} {formula.text()} {time.process_time() - start:.1f} s cpu, "
        f"peak {peak:.2f} GB (torch included)"
    )


def run_single(seeds: int, only: set[str]) -> None:
    """Units of one effective input: every formula in it has the right direction, so the values are fitted."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (2_000, 3))
    for text, value, slope in (
        ("x^3", x[:, 0] ** 3, 3 * x[:, 0] ** 2),
        ("sin x", np.sin(x[:, 0]), np.cos(x[:, 0])),
        ("sin(2.3x) + 0.4x", np.sin(2.3 * x[:, 0]) + 0.4 * x[:, 0], 2.3 * np.cos(2.3 * x[:, 0]) + 0.4),
    ):
        g = np.zeros_like(x)
        g[:, 0] = slope
        for label, points, gradients in (("d = 3", x, g), ("d = 1", x[:, :1], g[:, :1])):
            formula = symbolic.fit_gradients(points, gradients, value, engine=ENGINE)
            print(
                f"{text:18} {label} {formula.verdict:11} {formula.text()[:60]:62} {formula.reasons[0][:100]}"
            )


SECTIONS = {
    "tasks": run_tasks, "naive": naive.run, "forms": run_forms, "noise": run_noise, "claims": run_claims,
    "tied": run_tied, "intervals": run_intervals, "layer": run_layer, "wide": run_wide, "single": run_single,
    "workers": run_workers,
    "more": lambda seeds, only: run_forms(seeds, only, forms.MORE),
}  # fmt: skip


def main() -> None:
    global ENGINE
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", nargs="*", default=["tasks"], choices=[*SECTIONS, "all"])
    parser.add_argument("--engine", default="eigen")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    ENGINE = options.engine
    torch.set_num_threads(1)
    chosen = list(SECTIONS) if "all" in options.section else options.section
    for section in chosen:
        print(f"== {section}", flush=True)
        SECTIONS[section](options.seeds, set(filter(None, options.only.split(","))))


if __name__ == "__main__":
    main()
