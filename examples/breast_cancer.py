# %% [markdown]
# # What does a risk score go by?
#
# A network learns the Wisconsin breast-cancer table: 30 measurements of cell nuclei, malignant or benign. Its output is
# a logit. We ask for a formula in the measurements' own names, and for the patients that a patient resembles.

# %%
import os

import numpy as np

import interpret
from interpret.demo import breast_cancer

SEED = int(os.environ.get("SEED", "0"))
case = breast_cancer(seed=SEED)
print(f"accuracy on held-out patients: {case.accuracy:.3f}")
e = interpret.explain(
    case.model, ["out[0]"], case.X, case.y, names=case.names, test=(case.X_test, case.y_test), seed=SEED,
    time_limit=10,
)  # fmt: skip
neuron = e["out[0]"]
print(neuron.verdict, "·", neuron.claim)
for reason in neuron.reasons:
    print(" ", reason)

# %% [markdown]
# With 430 patients and 30 strongly related measurements, a verdict of EXACT would be a surprise; whatever comes out,
# the figure that decides is the misalignment on patients that the search has not seen, and its controls.

# %%
formula = neuron.formula
print("best row:", formula.expression)
print(
    f"misalignment {formula.misalignment:.3f} [{formula.misalignment_low:.3f}, {formula.misalignment_high:.3f}]"
)
for control in formula.controls:
    print(f"  {control.name}: {control.misalignment:.3f}{'' if control.beaten else '  <- not beaten'}")

# %% [markdown]
# The Gaussian process says which patients speak for and against, and how sure it is.

# %%
for shown in neuron.examples.cases:
    votes = case.y[[n.index for n in shown.contributors[:5]]]
    print(
        f"{shown.kind}: logit {shown.network:.2f}, process {shown.mean:.2f} in [{shown.low:.2f}, {shown.high:.2f}], "
        f"malignant among the five that contribute most: {votes.sum()}"
    )

# %%
assert case.accuracy > 0.93
assert neuron.examples.pearson > 0.99, "the process does not stand for the network"
assert 0.88 <= neuron.examples.coverage95 <= 1, "intervals that do not hold what they promise"
quoted = set(formula.expression.split("`")[1::2])
assert quoted and quoted <= set(case.names), "a formula in other names than the measurements' own"
supported = formula.misalignment < 0.1 and all(control.beaten for control in formula.controls)
assert (neuron.verdict != "NONE") == supported, "a claim without its evidence, or evidence without a claim"
alike = np.mean([case.y[n.index] == (c.mean > 0) for c in neuron.examples.cases for n in c.neighbors])
print(f"neighbors with the label that the network gives: {alike:.2f}")
assert alike > 0.8
