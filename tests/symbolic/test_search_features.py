"""The grammar: every feature's gradient is autograd's, duplicates and invalid ones are gone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from symbolic import banks, evolve, features, gram, tuned
from symbolic.backends.base import DEFAULT_OPERATORS
from symbolic.expression import (
    Apply,
    Constant,
    Tree,
    Variable,
    constants,
    substitute,
    value_and_gradient,
    variables,
)
from symbolic.features import Grammar
from symbolic.polish import Field, free_constants
from symbolic.sensitivity import gradient_by_constants
from symbolic.targets import build

GRAMMAR = Grammar(frozenset((*DEFAULT_OPERATORS, "abs")))
TORCH = {
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div, "^": torch.pow, "neg": torch.neg,
    "sin": torch.sin, "cos": torch.cos, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "tanh": torch.tanh,
    "abs": torch.abs,
}  # fmt: skip


def in_torch(tree: Tree, x: torch.Tensor) -> torch.Tensor:
    """Written apart from the package's own evaluation."""
    if isinstance(tree, Variable):
        return x[:, tree.index]
    if isinstance(tree, Constant):
        return torch.full((len(x),), tree.value, dtype=torch.float64)
    return TORCH[tree.name](*(in_torch(arg, x) for arg in tree.args))


def autograd(tree: Tree, points: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(points).requires_grad_(True)
    return torch.autograd.grad(in_torch(tree, x).sum(), x)[0].numpy()


@given(seed=st.integers(0, 1_000), low=st.sampled_from([-2.0, 0.1]), width=st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_every_feature_of_the_grammar_has_autograds_gradient(seed: int, low: float, width: int) -> None:
    points = np.random.default_rng(seed).uniform(low, 2.0, (12, width))
    bank = features.grow(features.variables_bank(points, range(width)), GRAMMAR)
    assert len(bank) > 10
    for tree, value, gradient in zip(bank.trees, bank.values, bank.gradients, strict=True):
        np.testing.assert_allclose(gradient, autograd(tree, points), rtol=1e-8, atol=1e-9, err_msg=str(tree))
        np.testing.assert_allclose(value, value_and_gradient(tree, points)[0], rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 1_000), low=st.sampled_from([-2.0, 0.1]))
@settings(max_examples=4, deadline=None)
def test_every_tuned_function_has_autograds_gradient(seed: int, low: float) -> None:
    points = np.random.default_rng(seed).uniform(low, 2.0, (10, 2))
    bank = tuned.bank(features.variables_bank(points, [0, 1]), GRAMMAR, thorough=True)
    assert len(bank) > 100
    for k in range(0, len(bank), 5):
        np.testing.assert_allclose(bank.gradients[k], autograd(bank.trees[k], points), rtol=1e-7, atol=1e-8)


def test_no_two_features_are_proportional() -> None:
    points = np.random.default_rng(0).uniform(0.2, 2, (40, 2))
    bank = features.grow(features.variables_bank(points, [0, 1]), GRAMMAR)
    flat = bank.gradients.reshape(len(bank), -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    cosines = np.abs(flat @ flat.T) - np.eye(len(bank))
    assert cosines.max() < 1 - 1e-10
    # The simpler writing stays: log(x0·x1) = log x0 + log x1 is no duplicate, (2x0) of x0 would be.
    assert Variable(0) in bank.trees


def test_features_outside_their_domain_are_dropped() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    bank = features.grow(features.variables_bank(points, [0, 1]), GRAMMAR)
    assert Apply("log", (Variable(0),)) not in bank.trees
    assert Apply("sqrt", (Variable(0),)) not in bank.trees
    assert np.isfinite(bank.gradients).all()


def test_only_allowed_operators_occur() -> None:
    points = np.random.default_rng(0).uniform(0.5, 1, (20, 2))
    bank = features.grow(features.variables_bank(points, [0, 1]), Grammar(frozenset(("+", "-", "*", "sin"))))
    from symbolic.expression import operators_in

    used = {name for tree in bank.trees for name in operators_in(tree)}
    assert used <= {"+", "-", "*", "sin", "^"}
    assert "sin" in used


def test_a_grammar_without_functions_is_no_error() -> None:
    points = np.random.default_rng(0).uniform(0.5, 1, (20, 2))
    atoms = features.variables_bank(points, [0, 1])
    assert len(features.grow(atoms, Grammar(frozenset(("+",))))) >= 2
    assert len(tuned.bank(atoms, Grammar(frozenset(("+",))))) == 0


@pytest.mark.parametrize("feature", [
    Apply("sin", (Variable(0),)),
    Apply("exp", (Apply("neg", (Apply("^", (Variable(0), Constant(2.0))),)),)),
    Apply("/", (Constant(1.0), Apply("+", (Constant(1.0), Apply("^", (Variable(1), Constant(2.0))))))),
    Apply("*", (Apply("tanh", (Variable(0),)), Variable(1))),
])  # fmt: skip
def test_loosened_features_start_where_they_were(feature: Tree) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (30, 2))
    before = value_and_gradient(feature, points)[1]
    variants = tuned.loosened(feature)
    assert variants
    for variant in variants:
        after = value_and_gradient(variant, points)[1]
        flat, old = after.reshape(-1), before.reshape(-1)
        cosine = flat @ old / np.linalg.norm(flat) / np.linalg.norm(old)
        assert cosine == pytest.approx(1, abs=1e-8)
        assert len(free_constants(variant)) > len(free_constants(feature))


def test_grafts_reach_every_function_and_factor() -> None:
    tree = Apply("*", (Apply("sin", (Variable(0),)), Variable(1)))
    grafted = evolve.grafted(tree, Variable(2))
    assert len(grafted) == 3
    assert all(variables(g) == (0, 1, 2) for g in grafted)


def test_grafts_taken_together_move_gradients_as_each_does_alone() -> None:
    points = np.random.default_rng(0).uniform(0.2, 1, (40, 3))
    field_ = Field(build(points, np.ones((40, 3))), np.arange(20))
    feature = Apply("*", (Apply("exp", (Variable(0),)), Apply("^", (Variable(1), Constant(2.0)))))
    pieces = evolve.Pieces(evolve.parts([Variable(i) for i in range(3)], frozenset("*^")), field_)
    assert len(pieces.trees) == 9
    for part, places in zip(pieces.trees, pieces.slopes(feature, field_), strict=True):
        alone = evolve.grafted(feature, part)
        assert len(places) == len(alone) > 1
        for (changed, slope), tree in zip(places, alone, strict=True):
            assert substitute(changed, {pieces.mark: part}) == tree
            at = constants(tree).index(evolve._MARK)
            moved = gradient_by_constants(tree, field_.targets.points[:20], at=(at,))[:, :, 0]
            turned = gram.turn(moved[None], field_.targets.directions[:20])[0]
            np.testing.assert_allclose(slope, turned, rtol=1e-13, atol=1e-13)


def test_a_bank_is_made_once_for_the_same_points() -> None:
    points, other = np.random.default_rng(0).uniform(-1, 1, (2, 30, 2))
    made: list[np.ndarray] = []

    def bank(at: np.ndarray, what: str = "atoms") -> features.Bank:
        def make() -> features.Bank:
            made.append(at)
            return features.variables_bank(at, (0, 1))

        return banks.kept(at, (what, "test"), make)

    first = bank(points)
    assert bank(points.copy()) is first
    assert bank(other) is not first
    assert bank(points, "else") is not first
    assert len(made) == 3
    for k in range(banks.KEPT):
        bank(points + k)
    assert bank(points, "else") is not first
    assert len(banks._BANKS) == banks.KEPT
    with pytest.raises(ValueError, match="read-only"):
        first.values[0] = 0.0
