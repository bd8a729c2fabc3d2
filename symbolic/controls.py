"""What a score is worth: the same search's tools on fields where there is nothing to find.

Three controls stand beside every formula: the best linear formula on the same gradients (is the structure needed?);
the formula's own features, coefficients refitted, on the same network with re-drawn weights (would this form fit any
network?); and the same on gradients dealt out to the wrong points (would it fit noise?).

A linear formula's gradient is the same everywhere, so that dealing it out changes nothing, and networks near their
first weights are linear too. What it claims is that the directions agree among themselves, and its control keeps only
their signs: the best linear formula on random directions, each in the orthant of the gradient at its point. Where the
claim is no nearer than that, it says which inputs push up and which down, and nothing about their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from interpret.outcome import CONTROL_MARGIN
from symbolic import gram
from symbolic.expression import Variable, expand_terms, linear
from symbolic.formula import Control
from symbolic.polish import Candidate, Field, candidate, polish
from symbolic.printing import text
from symbolic.scoring import Scored, abs_misalignment, losses_of
from symbolic.screening import WIDEST, strongest
from symbolic.targets import Targets

Array = NDArray[np.float64]
#: Gradients of a re-initialised network at points (n, d), for a seed.
Redrawn = Callable[[int, Array], Array]

#: Fields whose mean |cos| to the unit's exceeds this are the same field and no control.
SAME_FIELD = 0.9
#: Re-initialised networks tried; the best fit among them counts.
REDRAWS = 2
#: A random field fitted better than this is no other field: one dimension leaves no room for another.
SAME_LOSS = 1e-9
#: The name of a linear row's control.
SIGNS = "random directions of the same signs"


def run(row: Scored, targets: Targets, redrawn: Redrawn | None = None, seed: int = 0) -> tuple[Control, ...]:
    """The controls of a row, those that apply: another one for a linear row than for the others; and a field that
    re-drawing or shuffling leaves alone is no control. Empty only where no other field is possible.
    """
    if is_linear(row):
        return _of_linear(row, targets, seed)
    found = []
    line = best_linear(targets)
    if line is not None:
        loss = held_out(line, targets)
        found.append(_control("best linear formula", loss, row, text(line.tree, targets.names)))
    if redrawn is not None:
        fields = [redrawn(s, targets.points) for s in range(seed, seed + REDRAWS)]
        losses = [refitted(row.candidate, targets, other) for other in fields if _differs(other, targets)]
        finite = [loss for loss in losses if np.isfinite(loss)]
        if finite:
            found.append(_control("re-initialised network", min(finite), row))
    order = np.random.default_rng([seed, 3]).permutation(len(targets.directions))
    shuffled = targets.directions[order]
    if _differs(shuffled, targets):
        loss = refitted(row.candidate, targets, shuffled)
        if np.isfinite(loss):
            found.append(_control("permuted gradients", loss, row))
    return tuple(found)


def _of_linear(row: Scored, targets: Targets, seed: int) -> tuple[Control, ...]:
    """The control of a linear row: the best linear formula on directions that share only their signs with it."""
    other = same_signs(targets, seed)
    line = best_linear(other)
    loss = float("nan") if line is None else held_out(line, other)
    if line is None or not loss > SAME_LOSS:
        return ()
    return (_control(SIGNS, loss, row),)


def same_signs(targets: Targets, seed: int = 0) -> Targets:
    """The same points with random directions, uniform over the orthant of the gradient there; where a component is
    zero either sign is drawn.
    """
    rng = np.random.default_rng([seed, 7])
    drawn = rng.standard_normal(targets.directions.shape)
    # Rounding errors of a zero component have no sign worth keeping.
    signed = np.abs(targets.directions) > SAME_LOSS
    drawn = np.where(signed, np.abs(drawn) * np.sign(targets.directions), drawn)
    projected = targets.project(drawn)
    length = np.linalg.norm(projected, axis=1, keepdims=True)
    return targets.with_directions(projected / np.where(length > 0, length, 1.0))


def _differs(gradients: Array, targets: Targets) -> bool:
    """Whether a control's field is another field at all: weights that do not matter leave it as it was."""
    projected = targets.project(gradients)
    length = np.linalg.norm(projected, axis=1)
    usable = np.isfinite(length) & (length > 0)
    if usable.sum() < 16:
        return False
    cosine = (projected[usable] * targets.directions[usable]).sum(1) / length[usable]
    return bool(np.abs(cosine).mean() < SAME_FIELD)


def is_linear(row: Scored) -> bool:
    """Whether the formula is a weighted sum of inputs."""
    return all(isinstance(tree, Variable) for _, tree in expand_terms(row.tree))


def best_linear(targets: Targets) -> Candidate | None:
    """The linear formula of least misalignment, over at most `WIDEST` inputs."""
    inputs = strongest(targets, WIDEST)
    if not inputs:
        return None
    trees = [Variable(i) for i in inputs]
    field_ = Field(targets, targets.fit)
    turned = np.array([field_.feature(tree) for tree in trees])
    solved = gram.solve(turned[None], rounds=3, several=True)
    start = candidate(linear(solved.coefficients[0], trees))
    return None if start is None else polish(start, field_, rounds=10)[0]


def held_out(found: Candidate, targets: Targets) -> float:
    """Held-out misalignment of a candidate."""
    return abs_misalignment(losses_of(found.tree, targets, targets.held_out, found.user)[0])


def refitted(found: Candidate, targets: Targets, gradients: Array) -> float:
    """Held-out misalignment of the same features, coefficients refitted, on other gradients (n, d) at the points."""
    projected = targets.project(gradients)
    length = np.linalg.norm(projected, axis=1)
    usable = np.isfinite(length) & (length > 0)
    fit, held = targets.fit[usable[targets.fit]], targets.held_out[usable[targets.held_out]]
    if len(fit) < 8 or len(held) < 8:
        return float("nan")
    other = replace(
        targets.with_directions(projected / np.where(usable, length, 1.0)[:, None]), fit=fit, held_out=held
    )
    field_ = Field(other, other.fit, found.user)
    turned = np.array([field_.feature(tree) for tree in found.features])
    with np.errstate(all="ignore"):
        solved = gram.solve(turned[None], rounds=4, several=True)
        again = replace(found, coefficients=tuple(float(c) for c in solved.coefficients[0]))
        polished = held_out(polish(again, field_, rounds=6)[0], other)
        # Inner constants may have left the domain on the way: then the features as they are.
        return polished if np.isfinite(polished) else held_out(again, other)


def _control(name: str, loss: float, row: Scored, expression: str = "") -> Control:
    margin = row.held_out / loss if loss > 0 else float("inf")
    return Control(name, loss, expression, margin, bool(margin <= CONTROL_MARGIN))


def beaten(controls: Sequence[Control]) -> bool:
    """Whether every control is beaten by the stated margin."""
    return all(control.beaten for control in controls)
