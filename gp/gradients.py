"""The gradient of the GP's mean in the model's input: where the GP looks, beside where the network looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gp.activation import ActivationMap
from gp.kernels import Array
from gp.tracing import Watch
from interpret.address import parse
from interpret.errors import ModelNeeded, UnknownLayer, UsageError
from interpret.probe import Probe
from interpret.probing import places
from interpret.probing.batches import count
from interpret.probing.reading import Reader

if TYPE_CHECKING:
    from gp.distillation import Distillation

#: Step of central differences, in standard deviations of an input over the queries.
STEP = 1e-3


class LatentMean(nn.Module):
    """The GP's latent mean at one head as a module over the network: (n,) and differentiable."""

    def __init__(self, d: Distillation, made: ActivationMap, head: int) -> None:
        super().__init__()
        self.model = made.runner.probe.model
        self._d, self._made, self._head = d, made, head
        self._reader = Reader(made.runner.probe)
        self._tap = self._reader.tap(parse(made.runner.probe.address))

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The mean for one batch as the network takes it."""
        batch = kwargs or (args[0] if len(args) == 1 else args)
        watch = Watch(self._made.site.ordinal, graph=True)
        with watch:
            self._reader.run(batch, [self._tap])
        if watch.call is None:
            raise ModelNeeded("the forward pass did not reach the layer that was distilled")
        features = self._made.raw(watch.call, count(batch))
        d, head = self._d, self._head
        z = d.posterior.basis(features)[d.group(head), :, int(d.heads.place[head])]
        group, column = d.group(head), d.column(head)
        return d.posterior.baseline[group, column] + z @ d.posterior.weights[group, :, column]


def mean_gradients(d: Distillation, X: Any, head: int) -> Array:
    """(N, *input): exact for the activation kernel, central differences for others.

    Raises:
        ModelNeeded: the distillation has no model.
        UsageError: differences are needed and X is not one array of numbers.

    """
    if d.map is None:
        raise ModelNeeded("gradients run the model; load with model=")
    if isinstance(d.map, ActivationMap):
        probe = d.map.runner.probe
        module = LatentMean(d, d.map, head)
        return np.asarray(Probe(module, "", _inside(probe), batch_size=probe.batch_size).gradients(X).numpy())
    return _differences(d, X, head)


def _inside(probe: Probe) -> str:
    """The probe's ``wrt`` as seen from around the model."""
    if not probe.wrt:
        return ""
    try:
        path = places.locate(probe.model, parse(probe.wrt)).path
    except UnknownLayer:
        return probe.wrt
    return f"model.{probe.wrt}" if path else probe.wrt


def _differences(d: Distillation, X: Any, head: int) -> Array:
    x = np.asarray(X.detach().cpu() if isinstance(X, torch.Tensor) else X, dtype=np.float64)
    if x.ndim < 2:
        raise UsageError(
            f"gradients by differences need one array (N, *input) of numbers; got {type(X).__name__}"
        )
    flat = x.reshape(len(x), -1)
    spread = flat.std(0)
    step = STEP * np.where(spread > 0, spread, spread.mean() + 1e-12)

    def mean(moved: Array) -> Array:
        return d.predict(moved.reshape(x.shape)).latent.reshape(len(x), -1)[:, head]

    gradient = np.empty_like(flat)
    for i, h in enumerate(step):
        push = np.zeros(flat.shape[1])
        push[i] = h
        gradient[:, i] = (mean(flat + push) - mean(flat - push)) / (2 * h)
    return gradient.reshape(x.shape)
