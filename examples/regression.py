# %% [markdown]
# # A regression network, and the law behind noisy measurements
#
# How far does a stone fly? A network learns it from 4,000 noisy throws: speed, angle, and the wind that does not matter
# here. We ask for a formula with units, and for intervals that hold what they promise.

# %%
import os

import numpy as np
import torch
from torch import nn

import gp
import symbolic
from interpret import Probe
from symbolic.equivalence import same_concept
from symbolic.parser import parse

SEED = int(os.environ.get("SEED", "0"))
NAMES = ("speed", "angle", "wind")
rng = np.random.default_rng(SEED)
X = rng.uniform([1.0, 0.2, -1.0], [3.0, 1.35, 1.0], (5000, 3)).astype(np.float32)
distance = X[:, 0] ** 2 * np.sin(2 * X[:, 1]) / 9.81
y = (distance + 0.005 * rng.normal(size=5000)).astype(np.float32)
train, test = slice(0, 4000), slice(4000, 5000)

torch.set_num_threads(1)  # a network this small trains faster on one thread
torch.manual_seed(SEED)
model = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
STEPS = 3000
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
center, scale = float(y[train].mean()), float(y[train].std())
inputs, targets = torch.from_numpy(X[train]), torch.from_numpy((y[train] - center) / scale)
generator = torch.Generator().manual_seed(SEED)
for _ in range(STEPS):
    rows = torch.randint(4000, (256,), generator=generator)
    loss = ((model(inputs[rows])[:, 0] - targets[rows]) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
with torch.no_grad():  # trained on standardised distances; the last layer takes them back to metres
    model[4].weight *= scale
    model[4].bias.copy_(model[4].bias * scale + center)
model.eval()
probe = Probe(model, "4[0]")
values = probe.values(X[test]).numpy()
print(
    f"network against the noiseless law: R² {1 - ((values - distance[test]) ** 2).mean() / distance.var():.4f}"
)

# %% [markdown]
# The formula is found up to a monotone map; the link brings it back to the network's own units. A search ends at the
# first short formula that is as good as training usually leaves a concept; several forms are, on so narrow a range of
# angles. `accuracy` lets it go on, so that shorter ones that are as good have their turn.

# %%
early = symbolic.fit(probe, X[train], names=NAMES, seed=SEED)
print(f"ended early: {early.verdict} {early.expression}, misalignment {early.misalignment:.1e}")
formula = symbolic.fit(probe, X[train], names=NAMES, seed=SEED, accuracy=1e-5)
print(formula.frontier[["complexity", "misalignment", "expression"]].to_string())
print(formula.verdict, formula.expression, "| link:", formula.link.text)
guess = formula.predict(X[test])
known = np.isfinite(guess)
r2 = 1 - ((guess - values)[known] ** 2).mean() / values.var()
print(f"the formula with its link against the network, on throws it has not seen: R² {r2:.4f}")

# %% [markdown]
# The Gaussian process on the same network: intervals of the network's output, calibrated on left-out rows.

# %%
d = gp.distill(probe, X[train], seed=SEED)
low, high = d.predict(X[test]).interval(0.95)
inside = ((values >= low.ravel()) & (values <= high.ravel())).mean()
print(d.fidelity(X[test]).round(5).to_string())
print(f"held-out outputs inside the 95 % interval: {inside:.3f}")

# %%
law = parse("speed^2 * sin(2 * angle)", NAMES)
assert same_concept(law, formula.tree, X[test], tolerance=0.05), formula.expression
assert known.mean() > 0.98
assert r2 > 0.98
assert 0.9 <= inside <= 0.99
