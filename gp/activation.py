"""The activation kernel: u(x) is what the submodule's last affine layer sees, so the GP on its output is exact.

Design: the layer is found by watching what runs (``gp.tracing``), a linear tail is folded, any other tail is
applied to the latent mean (``gp.tails``). Convolutions and sequence layers share one kernel over their places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from gp import folding, tails
from gp.affine import Call
from gp.kernels import Array, Block, Heads, Options, by_row, double
from gp.site import Layout, Runner, Site, find, length, precise, sample, snapshot, twin
from gp.tails import Experiment, Named
from gp.tracing import Watch, first_row
from interpret.errors import DeadUnit, NotTraceable, UsageError
from interpret.probe import Probe

#: A block of features holds at most this many numbers.
BLOCK = 2**23
#: Rows of the data that the experiments on the tail look at.
SAMPLE = 48


@dataclass(frozen=True)
class ActivationMap:
    """Features from the last affine layer of a probe; see ``gp.kernels.FeatureMap``.

    pool (Q, P) makes a row of a mean over places; scale and offset (C,) fold a tail that selects places.
    """

    runner: Runner
    site: Site
    heads: Heads
    groups: int
    places: tuple[int, ...]
    output_shape: tuple[int, ...]
    pool: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    offset: torch.Tensor | None = None
    folded: bool = False
    function: Named | None = None
    notes: tuple[str, ...] = ()
    kind: str = "activation"
    metric: str = "half"
    center: bool = True
    noise: Array | None = None

    @property
    def linear(self) -> bool:
        """Whether contributions reach the output itself."""
        return self.folded

    @property
    def pooled(self) -> bool:
        """Whether a row of the GP is a mean over places of the layer."""
        return self.pool is not None

    def blocks(self, X: Any, unpooled: bool = False) -> Iterator[Block]:
        """Blocks over ``X``; ``unpooled`` gives features at the layer's own places, (G, n, P_in, D)."""
        for rows, batch in self.runner.probe.batches(X):
            count, step = length(batch), self._step(batch)
            for start in range(0, count, step):
                piece = range(start, min(start + step, count))
                part = batch if len(piece) == count else first_row(batch, count, list(piece))
                here = slice(rows.start + piece.start, rows.start + piece.stop)
                yield self.block(part, here, unpooled)

    def block(self, batch: Any, rows: slice, unpooled: bool = False) -> Block:
        """The examples ``rows`` from a prepared batch of them."""
        count = rows.stop - rows.start
        watch = Watch(self.site.ordinal)
        outputs = self.runner(batch, watch)
        if watch.call is None or watch.output is None:
            raise NotTraceable("the forward pass ran other operations on this batch than on the first one")
        features = self.raw(watch.call, count, unpooled)
        if self.folded:
            targets = self._arranged(double(outputs).reshape(count, -1))
        if not self.folded or (self.pool is None and self.places):
            targets = self._latents(watch, count)
        return Block(rows, features, targets.to(features.device), outputs)

    def raw(self, call: Call, count: int, unpooled: bool = False) -> torch.Tensor:
        """(G, n, P, D) raw features of one call of the layer."""
        features = double(self.site.features(call, count))
        if self.pool is not None and not unpooled:
            features = torch.einsum("qp,npgd->nqgd", self.pool.to(features.device), features)
        return features.permute(2, 0, 1, 3)

    def _latents(self, watch: Watch, count: int) -> torch.Tensor:
        assert watch.call is not None and watch.output is not None
        latent = double(self.site.latents(watch.call, watch.output, count))
        if self.scale is None or self.offset is None:
            return latent
        return latent * self.scale.to(latent) + self.offset.to(latent)

    def _arranged(self, outputs: torch.Tensor) -> torch.Tensor:
        """(n, P, C) from the flat outputs (n, L) of a folded tail."""
        places, channels = int(self.heads.place.max()) + 1, int(self.heads.channel.max()) + 1
        targets = outputs.new_zeros(len(outputs), places, channels)
        targets[:, self.heads.place, self.heads.channel] = outputs
        return targets

    def _step(self, batch: Any) -> int:
        probe = first_row(batch, length(batch), [0])
        watch = Watch(self.site.ordinal)
        if length(batch) <= 8:
            return length(batch)
        self.runner(probe, watch)
        if watch.call is None:
            return length(batch)
        return max(1, BLOCK // max(1, self.site.features(watch.call, 1).numel()))

    def tail(self, X: Any, latent: torch.Tensor) -> torch.Tensor:
        """Latent (N, *heads.shape) to output (N, *out), float64."""
        latent = latent.double().cpu()
        if self.folded:
            return latent
        if self.function is not None:
            return self.function(latent)
        parts = []
        for rows, batch in self.runner.probe.batches(X):
            parts.append(self.replay(batch, latent[rows]))
        return torch.cat(parts)

    def replay(self, batch: Any, latent: torch.Tensor) -> torch.Tensor:
        """Run the model on a prepared batch with ``latent`` (n, *heads.shape) in the place of its own."""
        values = self.in_channels(latent)
        return self.runner(batch, self.site.putting(values, len(values))).cpu().double()

    def in_channels(self, latent: torch.Tensor) -> torch.Tensor:
        """(n, P, C) from the latent as users see it."""
        return self._arranged(by_row(latent))

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Configuration and arrays for ``restore``."""
        config = {
            "site": asdict(self.site),
            "double": self.runner.probe.dtype == torch.float64,
            "shape": list(self.heads.shape),
            "primary": self.heads.primary,
            "groups": self.groups,
            "places": list(self.places),
            "output_shape": list(self.output_shape),
            "folded": self.folded,
            "function": None if self.function is None else asdict(self.function),
            "notes": list(self.notes),
        }
        arrays: dict[str, Any] = {"channel": self.heads.channel, "place": self.heads.place}
        for name in ("pool", "scale", "offset"):
            value = getattr(self, name)
            if value is not None:
                arrays[name] = value.numpy()
        return config, arrays


def build(probe: Probe, X: Any, options: Options) -> ActivationMap:
    """Trace the probe's model on the first rows of ``X`` and settle what the GP is fitted to.

    Raises:
        NotTraceable: no affine layer ends the submodule.
        DeadUnit: the output does not move with that layer's output.

    """
    batch, rows = sample(probe, X, SAMPLE)
    probe = precise(probe, batch)
    batch, rows = sample(probe, X, SAMPLE)
    runner = Runner(probe)
    site, around = find(runner, batch, rows)
    if options.extra:
        raise UsageError(f"the activation kernel takes no {', '.join(options.extra)}; it has no options")
    watch = Watch(site.ordinal)
    output = runner(batch, watch).cpu().double()
    assert watch.call is not None and watch.output is not None
    latent = site.latents(watch.call, watch.output, rows)
    groups = site.features(watch.call, rows).shape[2]
    run = Experiment(runner, site, batch, rows, latent)
    if not run.responds():
        raise DeadUnit(
            f"{probe.address!r} does not move with the output of its last affine layer; it is constant over the data"
        )
    plain = ActivationMap(
        runner, site, _latent_heads(site, site.count), groups, site.places, tuple(output.shape[1:])
    )
    constant = run.constant()
    if constant and run.linear():
        folded = _folded(plain, run, output)
        if folded is not None:
            return folded
    return _nonlinear(plain, run, output, constant and not around)


def _latent_heads(site: Site, channels: int, primary: int = 0) -> Heads:
    """The layer's output as its heads: (C, *places) of convolutions, (*places, C) else."""
    places = int(np.prod(site.places, dtype=np.int64))
    if channels == 1 and site.channels is not None:
        grid, shape = np.arange(places), site.places
        return Heads(shape, np.zeros(places, np.int64), grid, primary)
    place, channel = np.divmod(np.arange(places * channels), channels)
    shape = (*site.places, channels)
    if site.channel_first:
        channel, place = np.divmod(np.arange(places * channels), places)
        shape = (channels, *site.places)
    return Heads(shape, channel, place, primary)


def _folded(plain: ActivationMap, run: Experiment, output: torch.Tensor) -> ActivationMap | None:
    shape = tuple(output.shape[1:])
    if not plain.places and plain.groups == 1:
        return replace(plain, heads=Heads.plain(shape), folded=True)
    made = folding.fold(run)
    if made is None or (plain.groups > 1 and len(made.channels) < plain.site.count):
        return None
    heads = Heads(shape, made.channel.numpy(), made.place.numpy())
    site = replace(plain.site, channels=made.channels)
    if made.pool is None:
        return replace(plain, site=site, heads=heads, folded=True, scale=made.scale, offset=made.offset)
    places = (len(made.pool),) if len(made.pool) > 1 else ()
    return replace(plain, site=site, heads=heads, folded=True, pool=made.pool, places=places)


def _nonlinear(plain: ActivationMap, run: Experiment, output: torch.Tensor, constant: bool) -> ActivationMap:
    """A tail that is kept: written down if it is a known function, run again otherwise."""
    notes: tuple[str, ...] = ()
    primary = 0
    channels = list(range(plain.site.count))
    if output.ndim == 1 and len(channels) > 1:
        moved = run.influence()
        live = (moved > 1e-6 * moved.max()).nonzero().flatten().tolist()
        if len(live) == 1 and plain.groups == 1:
            channels, primary = live, 0
            plain = replace(plain, site=replace(plain.site, channels=(live[0],)))
        else:
            primary = int(moved.argmax())
    heads = _latent_heads(plain.site, len(channels), primary)
    plain = replace(plain, heads=heads)
    if not constant:
        share = run.share_around()
        notes = (
            f"A path round the explained layer carries {share:.1%} of this output's variance; the tail takes its exact "
            f"value from each query, and contributions explain the layer's own part.",
        )
        return replace(plain, notes=notes)
    latent = run.latent[..., channels][:, heads.place, heads.channel].reshape(len(run.latent), *heads.shape)
    function = tails.named(latent, output, run.tolerance)
    name = function.function if function is not None else "nonlinear"
    notes = (
        f"The GP explains the input of the {name} tail; contributions add up there, not at the output behind it.",
    )
    return replace(plain, function=function, notes=notes)


def restore(probe: Probe | None, config: dict[str, Any], arrays: dict[str, Any]) -> ActivationMap | None:
    """The map that ``state`` described; None without a model, which it needs to run."""
    if probe is None:
        return None
    probe = twin(probe) if config["double"] else snapshot(probe)
    site = dict(config["site"])
    site["layout"] = Layout(**site["layout"])
    site["places"] = tuple(site["places"])
    site["channels"] = None if site["channels"] is None else tuple(site["channels"])
    function = config["function"]
    tensor: dict[str, Any] = {
        name: torch.from_numpy(np.asarray(arrays[name]))
        for name in ("pool", "scale", "offset")
        if name in arrays
    }
    heads = Heads(tuple(config["shape"]), arrays["channel"], arrays["place"], config["primary"])
    return ActivationMap(
        Runner(probe),
        Site(**site),
        heads,
        config["groups"],
        tuple(config["places"]),
        tuple(config["output_shape"]),
        folded=config["folded"],
        function=None if function is None else restored_function(function),
        notes=tuple(config["notes"]),
        **tensor,
    )


def restored_function(config: dict[str, Any]) -> Named:
    """A known tail from JSON."""
    return Named(config["function"], config["axis"], config["index"], tuple(config["shape"]))
