# %% [markdown]
# # Where does a classifier look, and why there?
#
# A digits classifier pools its features with an attention map: one weight for each of the 64 positions. The map is a
# submodule like any other. We distil the layer that scores the positions into a Gaussian process; all positions share
# one kernel, so a neighbor is a training image *and* a place in it.

# %%
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import gp
from interpret import Probe
from interpret.demo import accuracy, train

SEED = int(os.environ.get("SEED", "0"))


class Attentive(nn.Module):
    """Features (N, 24, 8, 8), a score for each position, and classes from the features that the map picks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 24, 3, padding=1), nn.SiLU()
        )
        self.score = nn.Conv2d(24, 1, 1)
        self.head = nn.Sequential(nn.Linear(24, 64), nn.SiLU(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits (N, 10)."""
        features = self.body(x)
        weights = self.score(features).flatten(2).softmax(-1)
        return self.head((features.flatten(2) * weights).sum(-1))


images, labels = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    (images / 16).reshape(-1, 1, 8, 8).astype(np.float32),
    labels,
    test_size=360,
    random_state=SEED,
    stratify=labels,
)
torch.manual_seed(SEED)
model = Attentive()
train(model, X, y, steps=800, seed=SEED)
print(f"accuracy on held-out images: {accuracy(model, X_test, y_test):.3f}")

# %% [markdown]
# The scores before the softmax are an (1, 8, 8) output. Distilling trains nothing: the last affine layer of `score` is
# `score` itself, so the process is exact in closed form.

# %%
d = gp.distill(Probe(model, "score"), X, seed=SEED)
scores = Probe(model, "score").values(X_test).numpy()
predicted = d.predict(X_test).mean
fidelity = np.corrcoef(predicted.ravel(), scores.ravel())[0, 1]
print(f"correlation of the process's map with the network's, on held-out images: {fidelity:.6f}")

# %% [markdown]
# For one image: the position it looks at most, and the training images and places that position resembles.

# %%
image = X_test[:1]
row, column = divmod(int(predicted[0, 0].argmax()), 8)
head = (0, row, column)
near = d.neighbors(image, k=5, head=head)
print(f"a {y_test[0]}, looked at most at {(row, column)}")
for index, place, similarity in zip(near.index[0], near.place[0], near.similarity[0], strict=True):
    print(
        f"  like training image {index} (a {y[index]}) at {tuple(map(int, place))}, similarity {similarity:.3f}"
    )

# %% [markdown]
# Contributions are shares of that position's score, and the training scores at the places named are high as well:
# what is alike to the kernel is treated alike by the network.

# %%
total = d.baseline[int(np.ravel_multi_index(head, (1, 8, 8)))] + d.contributions(image, head=head).sum()
train_scores = Probe(model, "score").values(X).numpy()[:, 0]
at_neighbors = [train_scores[i, p[0], p[1]] for i, p in zip(near.index[0], near.place[0], strict=True)]
print("its score", predicted[0, 0, row, column], "theirs", np.round(at_neighbors, 2))
assert accuracy(model, X_test, y_test) > 0.85
assert fidelity > 0.9999
assert abs(total - predicted[0, 0, row, column]) < 1e-6 * max(1.0, abs(total))
assert np.mean(at_neighbors) > np.quantile(train_scores, 0.9)
