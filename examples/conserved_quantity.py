# %% [markdown]
# # The latent code of a Siamese network is a law of physics
#
# A weight on a spring moves in the plane. Each orbit has a spring of its own, so energy is not a function of what we
# see (position and velocity); angular momentum is. A Siamese network sees pairs of states and learns a code that is
# equal within an orbit and different between orbits. Nobody tells it about angular momentum. What has it found?

# %%
import os

import numpy as np
import torch
from torch import nn

import symbolic
from interpret import Probe
from symbolic.equivalence import same_concept
from symbolic.parser import parse

SEED = int(os.environ.get("SEED", "0"))
NAMES = ("x", "y", "vx", "vy")


def orbits(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two states (count, 4) of each of many orbits, at random times, each orbit with its own spring."""
    start, speed = rng.normal(size=(2, count, 2))
    rate = rng.uniform(0.5, 2.0, (count, 1))

    def at(time: np.ndarray) -> np.ndarray:
        position = start * np.cos(rate * time) + speed / rate * np.sin(rate * time)
        velocity = speed * np.cos(rate * time) - start * rate * np.sin(rate * time)
        return np.hstack([position, velocity]).astype(np.float32)

    return at(rng.uniform(0, 20, (count, 1))), at(rng.uniform(0, 20, (count, 1)))


# %% [markdown]
# The loss wants equal codes within an orbit, and codes of a thousand orbits spread with variance one.

# %%
rng = np.random.default_rng(SEED)
torch.set_num_threads(1)  # a network this small trains faster on one thread
torch.manual_seed(SEED)
model = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
STEPS = 3000
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for _ in range(STEPS):
    first, second = (model(torch.from_numpy(states))[:, 0] for states in orbits(512, rng))
    spread = torch.cat([first, second])
    loss = ((first - second) ** 2).mean() / spread.var()
    loss = loss + 0.1 * (spread.mean() ** 2 + (spread.var() - 1) ** 2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
model.eval()
first, second = orbits(2000, rng)
codes = [Probe(model, "4[0]").values(states).numpy() for states in (first, second)]
print(f"correlation of the codes of two states of one orbit: {np.corrcoef(*codes)[0, 1]:.4f}")

# %% [markdown]
# The code is some monotone function of an invariant; matching gradient *directions* does not care which.

# %%
formula = symbolic.fit(Probe(model, "4[0]"), first, names=NAMES, seed=SEED)
print(formula.frontier[["complexity", "misalignment", "expression"]].to_string())
print(formula.verdict, formula.expression)
print("link:", formula.link.text if formula.link else None)

# %%
law = parse("x*vy - y*vx", NAMES)
assert np.corrcoef(*codes)[0, 1] > 0.98
assert formula.verdict != "NONE"
assert same_concept(law, formula.tree, second, tolerance=0.1), formula.expression
