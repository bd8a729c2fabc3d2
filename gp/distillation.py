"""The distilled GP of a submodule: prediction, uncertainty, and the training examples behind every output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gp import display, queries
from gp import fidelity as fidelities
from gp import neighbors as nearest
from gp import prototypes as standing
from gp.conditioning import Pass, as_numpy
from gp.frontier import FrontierPoint
from gp.kernels import Array, Block, FeatureMap, Heads, Indices
from gp.posterior import Posterior
from gp.results import Neighbors, Prediction, Prototypes
from gp.rows import Rows
from interpret.errors import BadInput, ModelNeeded, UsageError

if TYPE_CHECKING:
    import pandas as pd

Head = int | tuple[int, ...] | None


@dataclass(frozen=True)
class Distillation:
    """A GP that predicts what a submodule predicts, from ``gp.distill``, ``gp.fit_features`` or ``gp.load``.

    kernel     which feature map: activation, learned, tangent or features
    heads      layout of the L heads; a head is a flat index into the latent, or a tuple
    posterior  mean and variance in the eigenbasis
    passed     sums and sample of the training rows
    rows       the training rows, if they can be read
    row_ids    (M,) numbers of the training rows in the data they came from
    notes      whole sentences that the reader must know
    linear     whether the tail is the identity, so that contributions reach the output itself
    ndim       axes of the training array, so that one example is told from a batch; None for other forms of data
    pooled     whether a row of the GP is a mean over places of the layer
    names      columns of the training table, if it was one: queries by name come in any order
    frontier   fidelity and cancellation over noise and metric, where the noise was chosen
    """

    kernel: str
    heads: Heads
    posterior: Posterior
    passed: Pass
    rows: Rows
    row_ids: Indices
    places: tuple[int, ...]
    metric: str
    center: bool
    map: FeatureMap | None = None
    X: Any = field(default=None, repr=False)
    seed: int = 0
    notes: tuple[str, ...] = ()
    frontier: tuple[FrontierPoint, ...] = ()
    model_hash: str = ""
    tail: Any = field(default=None, repr=False)
    linear: bool = True
    ndim: int | None = None
    names: tuple[str, ...] = ()
    pooled: bool = False

    # -- what the GP is -----------------------------------------------------------------------------------------

    @property
    def noise(self) -> float | Array:
        """σ² as a ratio to the amplitude; (G,) where each head has its own."""
        noise = as_numpy(self.posterior.noise)
        return float(noise[0]) if len(set(noise.tolist())) == 1 else noise

    @property
    def baseline(self) -> Array:
        """(L,) constant prior mean of each head: the mean of its targets."""
        return self._by_head(self.posterior.baseline)

    @property
    def amplitude(self) -> Array:
        """(L,) τ²."""
        return self._by_head(self.posterior.amplitude)

    @property
    def quantiles(self) -> Array | None:
        """(L, Q) quantiles of the standardised leave-one-out residuals, at even levels from 0 to 1."""
        quantiles = self.posterior.quantiles
        return None if quantiles is None else as_numpy(quantiles.flatten(0, 1))[self.heads.channel]

    @property
    def weights(self) -> Array:
        """(D, L) posterior weights; (D, C) of the channels where places share them."""
        turned = torch.einsum("gef,gek->gfk", self.posterior.basis.turn, self.posterior.weights)
        by_channel = as_numpy(turned.permute(1, 0, 2).reshape(turned.shape[1], -1))
        return by_channel if self.places else by_channel[:, self.heads.channel]

    @property
    def features(self) -> Array:
        """(M, D) u(x) at the training rows; (M, P, D) with places; a leading G where heads have their own maps."""
        parts = [
            self.posterior.basis(b.features) @ self.posterior.basis.turn[:, None] for b in self.rows.blocks()
        ]
        whole = as_numpy(torch.cat(parts, 1))
        whole = whole if self.places else whole[:, :, 0]
        return whole[0] if len(whole) == 1 else whole

    @property
    def targets(self) -> Array:
        """(M, L) what the GP was fitted to; (M, P, C) where a head is one of several that share rows."""
        whole = as_numpy(torch.cat([b.targets for b in self.rows.blocks()]))
        return whole if self.places else whole[:, 0, self.heads.channel]

    @property
    def alpha(self) -> Array:
        """(M, L) so that mean(x) = baseline + Σ_m alpha_m k(x, x_m); (M, P, C) with places."""
        parts = []
        for block, z in self.blocks():
            parts.append(self.alphas(block.targets, z).permute(1, 2, 0, 3).flatten(2))
        whole = as_numpy(torch.cat(parts))
        return whole if self.places else whole[:, 0, self.heads.channel]

    @property
    def examples(self) -> int:
        """M."""
        return self.passed.examples

    # -- prediction ---------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Prediction:
        """The GP at N queries given as the model takes them.

        Raises:
            ModelNeeded: it was loaded without its model; use ``predict_features``.

        """
        means, variances = [], []
        for block in self.run(X):
            mean, variance = self.at(block.features)
            means.append(as_numpy(mean))
            variances.append(as_numpy(variance))
        return self._prediction(np.concatenate(means), np.concatenate(variances), X)

    def predict_features(self, H: Any) -> Prediction:
        """The GP at raw features H: (N, D), (N, P, D) with places, (G, N, P, D) where heads have their own maps.

        Raises:
            BadInput: another width.
            ModelNeeded: the tail must be run by the model.

        """
        h = self.shaped(H)
        mean, variance = self.at(h)
        return self._prediction(as_numpy(mean), as_numpy(variance), None)

    def at(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latent mean and variance (n, L) at raw features (G, n, P, D)."""
        z = self.posterior.basis(features)
        return self.to_heads(self.posterior.mean(z)), self.to_heads(self.posterior.variance(z))

    def to_heads(self, values: torch.Tensor) -> torch.Tensor:
        """(n, L) from (G, n, P, K)."""
        by_channel = values.permute(1, 2, 0, 3).flatten(2)
        return by_channel[:, self.heads.place, self.heads.channel]

    def _prediction(self, mean: Array, variance: Array, X: Any) -> Prediction:
        shape = (len(mean), *self.heads.shape)
        latent, variance = mean.reshape(shape), variance.reshape(shape)
        if self.linear:
            return Prediction(latent, variance, latent, None, self.quantiles)

        def tail(values: Array) -> Array:
            return as_numpy(self._tailed(torch.from_numpy(np.ascontiguousarray(values)), X))

        return Prediction(tail(latent), variance, latent, tail, self.quantiles, self.seed)

    def _tailed(self, latent: torch.Tensor, X: Any) -> torch.Tensor:
        if self.tail is not None:
            return torch.as_tensor(self.tail(latent))
        if self.map is None or X is None:
            raise ModelNeeded(
                "the output lies behind a tail that only the model can run; load with model= and predict from X, "
                "or read predict_features(H).latent at a linear tail"
            )
        return self.map.tail(queries.ordered(self, X), latent)

    # -- explanation by example ---------------------------------------------------------------------------------

    def contributions(self, x: Any, head: Head = None, by: str = "example") -> Array:
        """(M,) what each training example adds to the latent at one query; they sum to latent − baseline.

        Args:
            x: one query (*input) or several (N, *input), which give (N, M).
            head: of the output, by number or by its index in the output's shape; None stands for the
                primary one: the unit that was distilled, or the first output.
            by: "example", or "place", which gives (M, P), one for each place of the example.

        Raises:
            UsageError: ``by`` is neither.
            RowsNotStored: places of a head that is a mean over them are asked of a loaded distillation.

        """
        if by not in ("example", "place"):
            raise UsageError(f"by is 'example' or 'place'; got {by!r:.40}")
        head = self.head(head)
        batch, single = self.as_queries(x)
        z = self.query(batch, head)
        parts = nearest.contributions(self, z, head, by)
        return parts[0] if single else parts

    def neighbors(self, X: Any, k: int = 10, head: Head = None, by: str = "similarity") -> Neighbors:
        """The k training examples nearest to each query, examples that repeat another left out; fewer where there are.

        The last places of a query that has fewer distinct examples than another hold index −1 and NaN.

        Args:
            X: (N, *input) queries, or one of them.
            k: how many examples for each.
            head: as for ``contributions``.
            by: "similarity" (normalised kernel), "contribution" (largest absolute share of the latent), "positive"
                or "negative" (largest share of that sign, and none of the other), "alike" (largest absolute share
                among the examples of positive similarity: an example unlike the query argues by contrast, and far
                from the data many do).

        Returns:
            `Neighbors` of arrays (N, k).
        """
        head = self.head(head)
        return nearest.neighbors(self, self.query(self.as_queries(X)[0], head), k, head, by)

    def prototypes(self, k: int = 20, head: Head = None) -> Prototypes:
        """Few training examples that stand for the head: kernel sections chosen by orthogonal matching pursuit.

        Args:
            k: how many at most.
            head: as for ``contributions``.
        """
        return standing.prototypes(self, k, self.head(head))

    def fidelity(self, X: Any) -> pd.DataFrame:
        """How well the GP predicts the submodule on X: a row per output.

        Columns pearson, r2, mae, coverage95, loglik and cancellation (median over rows of Σ|c|/max(|Σc|, s)).
        ``attrs``: agreement (share of rows with the same largest head, or on the same side of the mean for one head),
        cancellation_at_largest_head (median over rows of Σ|c|/|Σc| at each row's largest head).
        Of given features (``gp.fit_features``) the outputs are not known: all but the cancellations are NaN.
        """
        return fidelities.fidelity(self, X)

    def novelty(self, X: Any) -> Array:
        """(N,) how unlike the training data each query is, from the variance: about 1 for an ordinary example."""
        return fidelities.novelty(self, X)

    def leave_one_out(self) -> Array:
        """(M, L) predictions of each training example by the GP without it, in closed form; (M, P, C) with places."""
        return fidelities.leave_one_out(self)

    # -- other data ---------------------------------------------------------------------------------------------

    def without(self, indices: Any) -> Distillation:
        """The GP distilled from the remaining rows at the same noise: sums downdated, everything else in closed form.

        Args:
            indices: row ids, as ``neighbors`` gives them.

        Raises:
            IndexOutOfRange: an id that is not among the training rows.
            UsageError: the ids are no integers.
            TooFewPoints: fewer than two rows would remain.
            RowsNotStored: the rows were not kept.

        """
        from gp.removal import without

        return without(self, indices)

    def save(self, path: str | Path, rows: bool = True) -> None:
        """Write one safetensors file with a JSON header: metric, posterior, U, alpha, sums; never raw inputs.

        Args:
            path: of the file; one that is there is replaced.
            rows: False leaves out U and alpha; neighbors and contributions then say so.

        Raises:
            StoreError: the file cannot be written; nothing was changed.

        """
        from gp.storage import save

        save(self, Path(path), rows)

    def suspects(self, y: Any) -> pd.DataFrame:
        """Training rows whose labels y their neighbors contradict, worst first: index, label, suggested, score."""
        from gp.suspects import suspects

        return suspects(self, y)

    def mean_gradients(self, X: Any, head: Head = None) -> Array:
        """(N, *input) gradient of the latent mean at one head in the model's input (or the probe's ``wrt``).

        Args:
            X: (N, *input) queries.
            head: as for ``contributions``.

        Raises:
            ModelNeeded: it was loaded without its model, which has to be run.

        """
        from gp.gradients import mean_gradients

        return mean_gradients(self, queries.ordered(self, X), self.head(head))

    def __repr__(self) -> str:
        return display.line(self)

    def _repr_html_(self) -> str:
        return display.html(self)

    def __rich__(self) -> object:
        return display.table(self)

    # -- for the modules of this room ---------------------------------------------------------------------------

    def head(self, head: Head) -> int:
        """The flat index of a head.

        Raises:
            IndexOutOfRange: there is no such head.
            UsageError: it is no integer nor a tuple of them.

        """
        return self.heads.number(head)

    def run(self, X: Any) -> Iterator[Block]:
        """Features of queries, block by block.

        Raises:
            ModelNeeded: it was loaded without its model.
            BadInput: one example was given without a batch axis.

        """
        if self.map is None:
            raise ModelNeeded(
                "this distillation was loaded without its model; gp.load(path, model=...) predicts from X, and "
                "predict_features(H) works without"
            )
        if self.ndim is not None and getattr(X, "ndim", None) == self.ndim - 1:
            raise BadInput(
                f"this takes a batch of queries; one example of shape {list(X.shape)} was given: pass x[None]"
            )
        return self.map.blocks(queries.ordered(self, X))

    def query(self, X: Any, head: int) -> torch.Tensor:
        """(N, E) z of the queries at one head's group and place.

        Args:
            X: (N, *input) queries, or raw features (G, N, P, D) where there is no model.
            head: its number.
        """
        group, place = self.group(head), int(self.heads.place[head])
        if isinstance(X, torch.Tensor) and self.map is None:
            return self.posterior.basis(X)[group, :, place]
        return torch.cat([self.posterior.basis(b.features)[group, :, place] for b in self.run(X)])

    def group(self, head: int) -> int:
        """Which feature map the head has."""
        return int(self.heads.channel[head]) // self.posterior.baseline.shape[1]

    def column(self, head: int) -> int:
        """Which column of its group the head is."""
        return int(self.heads.channel[head]) % self.posterior.baseline.shape[1]

    def blocks(self) -> Iterator[tuple[Any, torch.Tensor]]:
        """Training rows with their z (G, n, P, E)."""
        for block in self.rows.blocks():
            yield block, self.posterior.basis(block.features)

    def alphas(self, targets: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """(G, n, P, K) α = (v − b − z·w)/σ², with what rounding loses at small noise put back.

        Args:
            targets: (n, P, C) v.
            z: (G, n, P, E) features of the same rows.
        """
        groups, n, places, _ = z.shape
        v = targets.reshape(n, places, groups, -1).permute(2, 0, 1, 3).to(z)
        rough = (v - self.posterior.mean(z)) / self.posterior.noise[:, None, None, None]
        correction = self.correction
        return rough if correction is None else rough + z @ correction[:, None]

    def alpha_of(self, targets: torch.Tensor, z: torch.Tensor, head: int) -> torch.Tensor:
        """(n, P) α of one head, uncorrected.

        Args:
            targets: (n, P, C) v.
            z: (n, P, E) features of the same rows, of the head's group.
            head: its number.
        """
        posterior, group, column = self.posterior, self.group(head), self.column(head)
        mean = posterior.baseline[group, column] + z @ posterior.weights[group, :, column]
        return (targets[..., int(self.heads.channel[head])].to(z) - mean) / posterior.noise[group]

    @cached_property
    def correction(self) -> torch.Tensor | None:
        """(G, E, K) q so that α + z·q reproduces the weights, Zᵀα = w, to rounding; None where α does so already.

        α is a difference divided by the noise: at small noise its rounding error is what one sees. The least change
        that restores the identity lies in the span of the features.
        """
        return nearest.correction(self)

    def as_queries(self, x: Any) -> tuple[Any, bool]:
        """A batch, and whether it was one example."""
        return queries.as_queries(self, x)

    def shaped(self, H: Any) -> torch.Tensor:
        """(G, N, P, D) float64 from features in the forms that ``predict_features`` takes."""
        return queries.shaped(self, H)

    def _by_head(self, values: torch.Tensor) -> Array:
        return as_numpy(values.reshape(-1))[self.heads.channel]
