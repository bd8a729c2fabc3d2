# %% [markdown]
# # A rule we know: does the engine find it?
#
# A small network learns whether x0² + 2·x1² > 1 from 10,000 labelled points. It never sees the rule. We ask what its
# output computes, with nothing but its gradients, and compare with what we know.

# %%
import os

import numpy as np

import interpret
import symbolic
from interpret.demo import ellipse
from symbolic.equivalence import same_concept
from symbolic.parser import parse

SEED = int(os.environ.get("SEED", "0"))
case = ellipse(seed=SEED)
print(f"accuracy on fresh points: {case.accuracy:.4f}")

# %% [markdown]
# `Probe` reads the output's values and gradients; `symbolic.fit` searches for a formula whose gradient points the same
# way. The frontier lists the best formula of each size.

# %%
probe = interpret.Probe(case.model, "out[0]")
formula = symbolic.fit(probe, case.X, seed=SEED)
print(formula.frontier[["complexity", "misalignment", "expression"]].to_string())
print(formula.verdict, formula.expression)

# %% [markdown]
# The verdict is about directions: the network's output is a monotone function of the formula, the *link*.

# %%
assert formula.link is not None
print("link:", formula.link.text, f"R² {formula.link.r2:.4f}")
predicted = formula.predict(case.X_test)
truth = probe.values(case.X_test).numpy()
print("correlation of the predicted with the real output:", np.corrcoef(predicted, truth)[0, 1])

# %% [markdown]
# The concept is the one we hid: gradients of the rule and of the formula are parallel within a few degrees.

# %%
rule = parse("x0^2 + 2*x1^2", formula.names)
assert formula.verdict == "EXACT"
assert same_concept(rule, formula.tree, case.X_test[:500], tolerance=0.05)
assert formula.link.r2 > 0.99
