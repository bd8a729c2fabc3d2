# %% [markdown]
# # What changes between two stages of a training?
#
# The same network after 20 and after 4,000 steps, on a rule we know: is x0² + 2·x1² > 1? Early on it answers little
# better than by always saying the same. Does it compute something else, or the same thing not yet well?

# %%
import os
from pathlib import Path

import numpy as np
import torch

import interpret
from interpret.demo import accuracy, table_network, train
from interpret.outcome import CLAIM_MISALIGNMENT
from symbolic.equivalence import same_concept
from symbolic.expression import from_json
from symbolic.parser import parse

SEED = int(os.environ.get("SEED", "0"))
rng = np.random.default_rng(SEED)
X = rng.uniform(-1, 1, (12_000, 2)).astype(np.float32)
y = (X[:, 0] ** 2 + 2 * X[:, 1] ** 2 > 1).astype(np.int64)


def stage(steps: int) -> interpret.Explanations:
    """The network after so many steps, its output explained and kept in a run of its own."""
    torch.manual_seed(SEED)
    model = table_network(2, 64)
    train(model, X[:10_000], y[:10_000], steps=steps, seed=SEED)
    print(f"{steps} steps: accuracy {accuracy(model, X[10_000:], y[10_000:]):.3f}")
    return interpret.explain(
        model, "out[0]", X[:1500], y[:1500], out=f"runs/after-{steps}", seed=SEED, title=f"{steps} steps",
        time_limit=10,
    )  # fmt: skip


early, late = stage(20), stage(4000)


def misfit(explained: interpret.Explanations) -> float:
    """1 − |mean cos| between the network's own gradients and the rule's, at the points that the run keeps."""
    part = explained["out[0]"].formula
    rule = part.points * [2.0, 4.0]
    return 1 - abs((part.directions * rule).sum(1) / np.linalg.norm(rule, axis=1)).mean()


for explained in (early, late):
    neuron = explained["out[0]"]
    print(f"{neuron.model}: {neuron.verdict}, best row {neuron.formula.expression}")

# %% [markdown]
# `compare` reads the two runs; no network is needed any more. `distance` is between the two formulas, `behaviour`
# between the two networks' own gradients at the points that both runs hold, 1 − |mean cos| each. `same` is a word about
# the formulas: "cannot tell" where one side claims none, as a network that has hardly learned yet may not. What the two
# stages *do* can be compared all the same, and is the answer here.

# %%
comparison = interpret.compare("runs/after-20", "runs/after-4000")
print(comparison.frame.T.to_string())
page = comparison.report("runs/stages.html")
print("written to", page)

# %%
neuron = comparison["out[0]"]
print(
    f"by their formulas: {neuron.same}",
    "(a side that claims no formula)"
    if neuron.same == "cannot tell"
    else f"(distance {neuron.distance:.1e})",
)
answer = "the same thing, not yet well" if misfit(early) < CLAIM_MISALIGNMENT else "still something else"
print(
    f"by their gradients: the stages differ by {neuron.behaviour:.1e}; the early one is {misfit(early):.1e} from the "
    f"rule, the late one {misfit(late):.1e}. So early on it computes {answer}."
)
rule = parse("x0^2 + 2*x1^2", ("x0", "x1"))
assert late["out[0]"].verdict != "NONE"
assert same_concept(rule, from_json(late["out[0]"].formula.tree), X[10_000:10_500], tolerance=0.05)
assert misfit(late) < misfit(early) / 2, "training did not bring the network nearer to the rule"
assert neuron.behaviour > misfit(late), "the two stages differ by less than the late one is off"
assert Path(page).stat().st_size > 10_000
