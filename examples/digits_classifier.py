# %% [markdown]
# # Which training images does a digit resemble?
#
# A small convolutional network is trained on scikit-learn's handwritten digits. Its output layer is distilled into a
# Gaussian process whose 1,437 inducing points are all the training images. Every output is then a sum of contributions,
# one for each training image.

# %%
import os

import numpy as np

import gp
from interpret.demo import digits

SEED = int(os.environ.get("SEED", "0"))
case = digits(seed=SEED)
d = gp.distill(case.model, case.X, seed=SEED)
fidelity = d.fidelity(case.X_test)
print(fidelity.round(5).to_string())

# %% [markdown]
# The process predicts what the network predicts. For a test image we ask for the nearest training images, and for what
# each adds to the output of the predicted class.

# %%
image = case.X_test[:1]
latent = d.predict(image).latent[0]
head = int(latent.argmax())
near = d.neighbors(image, k=10, head=head)
print("predicted", head, "true", case.y_test[0], "neighbors' labels", case.y[near.index[0]])
print("contributions", np.round(near.contribution[0], 3))

# %% [markdown]
# Contributions are exact: with the baseline they sum to the output.

# %%
total = d.baseline[head] + d.contributions(image, head=head).sum()
assert abs(total - latent[head]) <= 1e-8 * max(1.0, abs(latent[head]))
assert fidelity["pearson"].min() >= 0.9999
labels = case.y[d.neighbors(case.X_test, k=10, head=0).index]
predicted = d.predict(case.X_test).latent.argmax(1)
assert (labels == predicted[:, None]).mean() >= 0.95
