"""What the learned kernel looks at: the input of the last affine layer where there is one, the model's input where not.

Only the place is taken from the network's end, never its weights: the maps learn what the outputs are made of.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gp.kernels import double
from gp.site import Layout, Runner, Site, find, length, sample
from gp.tracing import Watch, tensors
from interpret.errors import NotTraceable
from interpret.probe import Probe

#: Wider bodies are folded onto this many columns by a seeded signed hash, which keeps inner products in expectation.
WIDEST = 4096
_SAMPLE = 16


@dataclass(frozen=True)
class Body:
    """Reads (body, output) of prepared batches.

    site         the affine layer whose input is read; None reads the model's own input
    with_input   the model's input is appended: a path goes round the layer
    """

    runner: Runner
    site: Site | None
    with_input: bool

    def __call__(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Body (n, d) and outputs (n, *out) of one batch, float64."""
        rows = length(batch)
        watch = Watch(-1 if self.site is None else self.site.ordinal)
        outputs = double(self.runner(batch, watch))
        parts = []
        if self.site is not None:
            if watch.call is None:
                raise NotTraceable(
                    "the forward pass ran other operations on this batch than on the first one"
                )
            parts.append(double(self.site.features(watch.call, rows)).reshape(rows, -1))
        if self.with_input:
            parts.extend(double(part).reshape(rows, -1) for part in tensors(batch) if len(part) == rows)
        body = _folded(torch.cat(parts, dim=1))
        return body, outputs.to(body.device)

    def config(self) -> dict[str, Any]:
        """JSON values for ``restored``."""
        return {"site": None if self.site is None else asdict(self.site), "with_input": self.with_input}


def find_body(probe: Probe, X: Any) -> tuple[Body, tuple[str, ...]]:
    """The body of a probe, and a sentence for the reader where it is not the last affine layer's input alone."""
    runner = Runner(probe)
    batch, rows = sample(probe, X, _SAMPLE)
    try:
        site, around = find(runner, batch, rows)
    except NotTraceable:
        return Body(runner, None, True), (
            "No affine layer ends this submodule: the learned kernel looks at the model's input itself.",
        )
    if around:
        return Body(runner, site, True), (
            "A path goes round the last affine layer: the learned kernel looks at its input and at the model's.",
        )
    return Body(runner, site, False), ()


def restored(probe: Probe, config: dict[str, Any]) -> Body:
    """The inverse of ``Body.config``."""
    site = None
    if config["site"] is not None:
        values = dict(config["site"])
        values["layout"] = Layout(**values["layout"])
        values["places"] = tuple(values["places"])
        values["channels"] = None if values["channels"] is None else tuple(values["channels"])
        site = Site(**values)
    return Body(Runner(probe), site, config["with_input"])


def _folded(body: Tensor) -> Tensor:
    if body.shape[1] <= WIDEST:
        return body
    generator = torch.Generator().manual_seed(body.shape[1])
    column = torch.randint(WIDEST, (body.shape[1],), generator=generator).to(body.device)
    sign = (2 * torch.randint(2, (body.shape[1],), generator=generator) - 1).to(body)
    return body.new_zeros(len(body), WIDEST).index_add_(1, column, body * sign)
