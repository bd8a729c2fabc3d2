"""Make a distillation: trace or train the kernel, read the rows once, choose the noise, condition."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from gp.arrays import ArrayMap, source
from gp.conditioning import Pass, cautions, fitted, gather, settle, with_unseen
from gp.coupling import COUPLED, coupled
from gp.distillation import Distillation
from gp.kernels import FeatureMap, Heads, Options, kernel_module
from gp.posterior import METRICS
from gp.queries import columns
from gp.rows import Gone, RowBlock, Rows, Streamed
from gp.sums import Sums
from interpret.errors import DeadUnit, NotTraceable, TooFewPoints, UsageError
from interpret.probe import Probe
from interpret.probing.batches import rows_of
from interpret.probing.hashing import model_hash


def distill(
    model_or_probe: nn.Module | Probe,
    X: Any,
    kernel: str = "activation",
    noise: float | str = "auto",
    seed: int = 0,
    metric: str | None = None,
    **options: Any,
) -> Distillation:
    """Distil a submodule into a Gaussian process that predicts what it predicts.

    Args:
        model_or_probe: a model (its output is meant) or a probe of any place in one. It is left as it was found.
        X: training examples as the model takes them; all of them become inducing points. Re-iterable, not one-shot.
        kernel: "activation" (exact, from the last affine layer), "learned" or "tangent".
        noise: a ratio σ² to the amplitude, or how to choose it: "auto" on the fidelity–cancellation frontier,
            "likelihood" by marginal likelihood, "loo" by generalised cross-validation.
        seed: of whatever is random (learned maps, projections, samples behind intervals).
        metric: "half" (half-whitened, as always without one), "raw" (scaled only), "full" (whitened), "none", or "auto"
            (of the first three the one that cancels least). The learned kernel's maps carry their own.
        options: of one kernel: ``form``, ``steps``, ``dim``, ``shares``, ... of the learned one
            (``gp.matching.Recipe``), ``dimension`` of the tangent one.

    Returns:
        The distillation; predictions are (N, *out) float64 NumPy arrays in the output's own units.

    Raises:
        UsageError: X can be read only once or comes in another order each time, or the kernel, noise, metric, seed or
            an option is unknown.
        TooFewPoints: fewer than two rows.
        DeadUnit: every output is constant over X, or the features are.
        BadInput: X holds values that are not finite, or is in no form that a probe takes.
        ModelError: the model fails on X.

    Where no affine layer ends the submodule the learned kernel takes over, and ``notes`` says so. Where rows of a batch
    influence each other, a warning and a note say so.

    """
    probe = model_or_probe if isinstance(model_or_probe, Probe) else Probe(model_or_probe, "")
    if isinstance(X, Iterator):
        raise UsageError(
            "X is a one-shot iterator, and the rows are read more than once; pass an array or a DataLoader"
        )
    check(X, seed, metric)
    chosen, notes = kernel_of(kernel, probe, X, Options(seed, options))
    if coupled(probe, X):
        warnings.warn(COUPLED, stacklevel=2)
        notes = (COUPLED, *notes)
    if metric is not None and chosen.kind == "learned":
        raise UsageError(
            "the learned kernel's maps are made with their metric; metric= is for the other kernels"
        )
    given: float | str | torch.Tensor = noise
    if chosen.noise is not None and noise == "auto":  # the map was made together with its noise
        given = torch.from_numpy(np.asarray(chosen.noise))

    def blocks() -> Iterator[RowBlock]:
        for block in chosen.blocks(X):
            yield RowBlock(block.rows, block.features, block.targets)

    made = gather(blocks(), chosen.center, keep=True, seen=getattr(chosen, "seen", None))
    refuse_constant(made.sums, probe.address)
    rows: Rows = made.kept if made.kept is not None else Streamed(blocks, made.examples)
    made = with_unseen(made, rows)
    d = _conditioned(chosen, made, rows, given, seed, metric)
    return replace(
        d,
        X=X,
        notes=(*notes, *chosen.notes, *d.notes),
        model_hash=model_hash(probe.model),
        tail=getattr(chosen, "function", None),
        ndim=getattr(X, "ndim", None),
        pooled=getattr(chosen, "pooled", False),
        names=columns(X) if getattr(X, "ndim", 0) == 2 else (),
    )


def fit_features(
    U: Any,
    V: Any = None,
    noise: float | str = "auto",
    center: bool = True,
    metric: str = "half",
    seed: int = 0,
) -> Distillation:
    """The same GP from features U (M, D) and targets V (M,) or (M, L) instead of a network.

    Args:
        U: an array or tensor; or a callable that gives chunks anew at each call; or a re-iterable of chunks. With V
            None the chunks are pairs. A one-shot iterator is read once and gives predictions only.
        V: targets in the same form.
        noise: as in ``distill``.
        center: whether the mean of the features is subtracted.
        metric: "half" (half-whitened), "raw" (scaled only), "full" (whitened), "none" (features as they are), or
            "auto" (the one with the least cancellation).
        seed: of the samples behind intervals.

    Returns:
        A distillation whose queries are features (N, D), and whose ``mean`` is (N,) or (N, L) in the targets' units.

    Raises:
        BadInput: no such form, shapes that do not fit, values that are not finite or whose squares overflow.
        TooFewPoints: fewer than two rows.
        DeadUnit: the features are constant.
        UsageError: an unknown metric, noise or seed.

    """
    check(None, seed, metric)
    rows_from = source(U, V)
    made = gather(rows_from.blocks(), center, keep=False)
    rows: Rows = Streamed(rows_from.blocks, made.examples)
    if not rows_from.again:
        rows = Gone(
            "the features came from a one-shot iterator and are gone; pass an array, a callable or a list",
            made.examples,
        )
    single = hasattr(V, "shape") and len(V.shape) == 1
    heads = Heads.plain(() if single else (made.sums.cross.shape[2],))
    d = _conditioned(ArrayMap(heads, metric, center), made, rows, noise, seed)
    width = made.sums.gram.shape[-1]
    return replace(d, map=ArrayMap(heads, d.metric, center, width), ndim=2, names=columns(U))


def _conditioned(
    chosen: FeatureMap, made: Pass, rows: Rows, noise: Any, seed: int, metric: str | None = None
) -> Distillation:
    """The distillation of a feature map and the pass over its rows, which are read again if they can be."""
    metric, level, frontier = settle(made, metric or chosen.metric, noise, chosen.center)
    readable = None if isinstance(rows, Gone) else rows
    posterior = fitted(made, metric, level, chosen.center, readable)
    return Distillation(
        kernel=chosen.kind,
        heads=chosen.heads,
        posterior=posterior,
        passed=made,
        rows=rows,
        row_ids=np.arange(made.examples),
        places=chosen.places,
        metric=metric,
        center=chosen.center,
        map=chosen,
        seed=seed,
        frontier=frontier,
        linear=chosen.linear,
        notes=cautions(posterior, made.sums.count),
    )


def check(X: Any, seed: Any, metric: str | None = None) -> None:
    """What can be told before anything runs."""
    if metric not in (None, "auto", *METRICS):
        raise UsageError(f"no metric {metric!r:.40}; there are auto, {', '.join(METRICS)}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed is an integer from 0; got {seed!r:.40}")
    if shuffled(X):
        raise UsageError(
            "the loader gives the rows in another order, or other rows, each time, and they are read more than once: "
            "pass one with shuffle=False and no random sampler"
        )
    if X is not None and rows_of(X) == 1:
        raise TooFewPoints("a Gaussian process needs two rows or more to learn from; there is 1")


def shuffled(X: Any) -> bool:
    """Whether a loader draws its rows at random, anew on each reading."""
    samplers = getattr(X, "sampler", None), getattr(getattr(X, "batch_sampler", None), "sampler", None)
    return any(isinstance(s, RandomSampler | SubsetRandomSampler | WeightedRandomSampler) for s in samplers)


def refuse_constant(sums: Sums, address: str) -> None:
    """Outputs that are all constant up to rounding have nothing that examples could explain."""
    spread = (sums.centred().square.clamp_min(0) / sums.count).sqrt()
    size = (sums.shift_v + sums.sum_v / sums.count).abs()
    if bool((spread <= 1e-12 * size).all()):
        raise DeadUnit(
            f"{address!r} is constant over the {sums.count} training rows; there is nothing to explain"
        )


def kernel_of(name: str, probe: Probe, X: Any, options: Options) -> tuple[FeatureMap, tuple[str, ...]]:
    """The feature map; where nothing affine ends the submodule, the learned one and a note."""
    try:
        return kernel_module(name).build(probe, X, options), ()
    except NotTraceable as error:
        if name != "activation":
            raise
        note = f"The activation kernel does not apply here ({error}); the learned kernel was used."
        return kernel_module("learned").build(probe, X, options), (note,)
