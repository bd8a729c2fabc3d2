# %% [markdown]
# # Which labels are wrong?
#
# A tenth of the digits' labels are changed at random, and a network learns them by heart. Its own outputs now repeat
# the wrong labels. But its *features* still say which images are alike: the kernel is fitted to the labels, and every
# label is judged by all the others.

# %%
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import nn

import gp
from interpret.demo import accuracy, train

SEED = int(os.environ.get("SEED", "0"))
images, labels = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    (images / 16).reshape(-1, 1, 8, 8).astype(np.float32),
    labels,
    test_size=360,
    random_state=SEED,
    stratify=labels,
)
rng = np.random.default_rng(SEED)
wrong = np.zeros(len(y), bool)
wrong[rng.choice(len(y), len(y) // 10, replace=False)] = True
given = np.where(wrong, (y + rng.integers(1, 10, len(y))) % 10, y)

torch.manual_seed(SEED)
model = nn.Sequential(
    nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
)
train(model, X, given, steps=1500, seed=SEED)
print(f"the network repeats {accuracy(model, X[wrong], given[wrong]):.0%} of the wrong labels")

# %%
d = gp.distill(model, X, seed=SEED)
suspects = d.suspects(given)
print(suspects.head(8).to_string())

# %% [markdown]
# Checking the worst tenth by hand would be a day's work saved: how many of them are really wrong?

# %%
score = np.empty(len(y))
score[suspects["index"]] = suspects["score"]
auc = roc_auc_score(wrong, score)
worst = suspects.head(int(wrong.sum()))
right_guess = (worst["suggested"].to_numpy() == y[worst["index"]])[wrong[worst["index"]]].mean()
print(f"AUC {auc:.4f}; of the first {len(worst)} suspects {wrong[worst['index']].mean():.0%} are wrong, and the label "
      f"suggested for those is right in {right_guess:.0%}")  # fmt: skip
loss = nn.functional.cross_entropy(model(torch.from_numpy(X)), torch.from_numpy(given), reduction="none")
by_loss = roc_auc_score(wrong, loss.detach().numpy())
print(f"the training loss, the usual signal, reaches AUC {by_loss:.4f}")

# %%
assert auc > 0.97
assert auc > by_loss
assert wrong[worst["index"]].mean() > 0.8
