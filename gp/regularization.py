"""Distil the other way: fine-tune a network toward its GP, GPEX's second use (NeurIPS 2023, section 3.4).

The GP stays as it is and the network moves: ½ E[(g(x) − mean(x))²/var(x)] over mixtures of training inputs, with an
optional loss of the task so that what the network was trained for is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn

from gp.kernels import double
from gp.mixtures import Inputs, combine, inputs, mixtures
from gp.tangent import Outputs
from interpret.errors import ModelNeeded, NotConverged, UsageError
from interpret.probe import Probe

if TYPE_CHECKING:
    from gp.distillation import Distillation

POOL, HELD, BATCH = 4096, 1024, 256
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Regularized:
    """A fine-tuned copy of the network.

    model          the copy, in eval mode; the network given is as it was
    before, after  a row per head: pearson, r2 and mae between the GP's mean and the network on held-out mixtures
    trace          (steps,) the loss
    """

    model: nn.Module
    before: pd.DataFrame
    after: pd.DataFrame
    trace: tuple[float, ...]


def regularize(
    model: nn.Module,
    distillation: Distillation,
    steps: int = 200,
    rate: float = 1e-4,
    task: Callable[[nn.Module], Tensor] | None = None,
    seed: int = 0,
) -> Regularized:
    """Fine-tune a copy of ``model`` toward its GP.

    Args:
        model: the network that was distilled, or another that takes the same inputs and has the same place.
        distillation: made by ``gp.distill`` in this process: it holds the training inputs.
        steps: of Adam, each on 256 mixtures λx + (1 − λ)x'.
        rate: learning rate.
        task: ``task(model) -> loss``, added to the objective at every step; draw a minibatch inside.
        seed: of the mixtures.

    A network in half precision is trained as float32, which is what ``task`` gets, and comes back in its own types;
    ``before`` and ``after`` are of its rounded weights.

    Raises:
        ModelNeeded: the distillation has no model or no inputs, as when it was loaded from a file.
        UsageError: steps or rate not above zero, or a task that cannot be called.
        NotConverged: the loss is not finite any more.

    """
    _check(steps, rate, task)
    student = _single(copy.deepcopy(model).eval())
    # The map may run a copy of the network in double precision; inputs are prepared for the network itself.
    probe = _of(_probe(distillation), student)
    generator = torch.Generator().manual_seed(seed)
    data = inputs(probe, distillation.X)
    batches = list(mixtures(data, POOL + HELD, generator))
    mean, weight = _teacher(distillation, batches)
    for parameter in student.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    outputs = Outputs(probe)
    queries: Any = Inputs(combine(lambda *parts: torch.cat(parts), *batches), POOL + HELD, 1)
    held = _rows(queries, torch.arange(HELD))
    before = _agreement(mean[:HELD], _values(outputs, held))

    def loss() -> Tensor:
        picked = HELD + torch.randint(POOL, (BATCH,), generator=generator)
        made = _loss(outputs(_rows(queries, picked)), mean[picked], weight[picked])
        return made if task is None else made + task(student)

    trace = _descend(student, loss, steps, rate)
    for parameter, original in zip(student.parameters(), model.parameters(), strict=True):
        parameter.grad = None
        parameter.data = parameter.data.to(original.dtype).to(parameter.data.dtype)
        parameter.requires_grad_(original.requires_grad)
    after = _agreement(mean[:HELD], _values(outputs, held))
    return Regularized(_like(student, model), before, after, trace)


def _single(student: nn.Module) -> nn.Module:
    """Half-precision numbers as float32: a step of training is smaller than the rounding of the others."""
    for tensor in (*student.parameters(), *student.buffers()):
        if tensor.dtype in HALF:
            tensor.data = tensor.data.float()
    return student


def _like(student: nn.Module, model: nn.Module) -> nn.Module:
    """The student in the types of the model given."""
    mine, theirs = (*student.parameters(), *student.buffers()), (*model.parameters(), *model.buffers())
    for tensor, original in zip(mine, theirs, strict=True):
        tensor.data = tensor.data.to(original.dtype)
    return student


def _descend(student: nn.Module, loss: Callable[[], Tensor], steps: int, rate: float) -> tuple[float, ...]:
    """Adam on the loss; its trace."""
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=rate)
    trace: list[float] = []
    for _ in range(steps):
        made = loss()
        if not bool(torch.isfinite(made)):
            raise NotConverged(
                f"the loss is not finite after {len(trace)} steps; use a smaller rate than {rate}"
            )
        optimizer.zero_grad()
        made.backward()
        optimizer.step()
        trace.append(float(made.detach()))
    return tuple(trace)


def _check(steps: Any, rate: Any, task: Any) -> None:
    numbers = isinstance(steps, int) and isinstance(rate, float | int)
    if not numbers or steps < 1 or not 0 < rate < float("inf"):
        raise UsageError(f"steps and rate must be above zero; got {steps!r:.40} and {rate!r:.40}")
    if task is not None and not callable(task):
        raise UsageError(f"task is called with the model and gives a loss; got {type(task).__name__}")


def _loss(values: Tensor, mean: Tensor, weight: Tensor) -> Tensor:
    exact = double(values).reshape(len(values), -1)
    return 0.5 * ((exact - mean.to(exact)).square() * weight.to(exact)).mean()


def _probe(distillation: Distillation) -> Probe:
    made = distillation.map
    probe = getattr(made, "probe", None) or getattr(getattr(made, "runner", None), "probe", None)
    if not isinstance(probe, Probe) or distillation.X is None:
        raise ModelNeeded(
            "regularize needs a distillation of a network made in this process, with its training inputs"
        )
    return probe


def _of(probe: Probe, model: nn.Module) -> Probe:
    return Probe(
        model, probe.address, reduce=probe.reduce, forward=probe.forward, batch_size=probe.batch_size
    )


def _teacher(distillation: Distillation, batches: list[Any]) -> tuple[Tensor, Tensor]:
    """The GP's mean and the weight of its squared error, (N, L): 1/var where the tail is linear, else 1/spread²."""
    means, variances = [], []
    for batch in batches:
        prediction = distillation.predict(batch)
        means.append(torch.as_tensor(prediction.mean).reshape(len(prediction.mean), -1))
        variances.append(torch.as_tensor(prediction.variance).reshape(len(prediction.variance), -1))
    mean, variance = torch.cat(means), torch.cat(variances)
    if not distillation.linear or variance.shape != mean.shape:
        variance = mean.var(dim=0, keepdim=True).expand_as(mean)
    return mean, 1 / variance.clamp_min(1e-12 * mean.var(dim=0, keepdim=True) + 1e-300)


def _rows(data: Inputs, index: Tensor) -> Any:
    return combine(lambda t: t[index.to(t.device)] if t.ndim and len(t) == data.rows else t, data.batch)


@torch.no_grad()
def _values(outputs: Outputs, batch: Any) -> Tensor:
    values: Tensor = outputs(batch).cpu().double()
    return values.reshape(len(values), -1)


def _agreement(mean: Tensor, values: Tensor) -> pd.DataFrame:
    from gp.matching import correlation

    error = values - mean
    spread = (values - values.mean(dim=0)).square().sum(dim=0)
    return pd.DataFrame(
        {
            "pearson": correlation(mean.T, values.T).numpy(),
            "r2": (1 - error.square().sum(dim=0) / spread.clamp_min(1e-300)).numpy(),
            "mae": error.abs().mean(dim=0).numpy(),
        }
    )
