"""One explanation per neuron, from a model trained in the test: both engines, failures apart, runs kept, rows named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import interpret
from interpret import errors
from interpret.demo import train
from interpret.evidence.explainer import Explainer, Settings
from interpret.explanation import Neighbor, NeuronExplanation

RULE = "x0² + 2·x1² > 1"


def network(inputs: int = 2, hidden: int = 32, outputs: int = 1) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, outputs),
        )


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).uniform(-1, 1, (3000, 2)).astype(np.float32)
    return X, (X[:, 0] ** 2 + 2 * X[:, 1] ** 2 > 1).astype(np.int64)


@pytest.fixture(scope="module")
def model(data: tuple[np.ndarray, np.ndarray]) -> nn.Module:
    made = network()
    train(made, *data, steps=1500, seed=0)
    return made


@pytest.fixture(scope="module")
def explained(
    model: nn.Module, data: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("runs") / "x"
    return interpret.explain(model, ["4[0]", "2[0:2]"], *data, names=["width", "height"], out=folder)


def test_both_engines_speak_of_the_same_neuron(explained: interpret.Explanations) -> None:
    neuron = explained["4[0]"]
    assert neuron.verdict == "EXACT"
    assert neuron.formula is not None
    assert set(neuron.formula.variables) == {"width", "height"}
    assert neuron.examples is not None
    assert neuron.examples.pearson > 0.9999
    assert neuron.examples.held_out
    assert neuron.crosscheck is not None
    assert neuron.crosscheck.formula_network > 0.99
    assert neuron.crosscheck.gp_network > 0.999
    assert neuron.failures == ()
    assert neuron.provenance.seed == 0
    assert len(neuron.provenance.model_hash) == 16


def test_slices_expand_and_everything_is_reachable_by_address(explained: interpret.Explanations) -> None:
    assert explained.addresses == ("4[0]", "2[0]", "2[1]")
    assert isinstance(explained[0], NeuronExplanation)
    assert len(explained[1:]) == 2
    with pytest.raises(errors.UnknownNeuron, match="there are 4"):
        explained["nothing"]


def test_cases_name_the_callers_rows(
    explained: interpret.Explanations, data: tuple[np.ndarray, np.ndarray]
) -> None:
    examples = explained["4[0]"].examples
    assert examples is not None
    assert examples.examples == 2400
    kinds = [case.kind for case in examples.cases]
    assert kinds[0] == "typical"
    assert {"most uncertain", "worst predicted"} <= set(kinds)
    shown = {thumbnail.index for thumbnail in examples.thumbnails}
    for case in examples.cases:
        assert len(case.neighbors) == 10
        assert {n.index for n in case.neighbors} <= shown
        assert case.index not in {n.index for n in case.neighbors}
        assert case.thumbnail is not None
        np.testing.assert_allclose(case.thumbnail.values, data[0][case.index], rtol=1e-6)
        assert case.low <= case.mean <= case.high
    similarities = [n.similarity for n in examples.cases[0].neighbors]
    assert similarities == sorted(similarities, reverse=True)
    assert ((examples.coverage >= 0) & (examples.coverage <= 1)).all()


def test_the_run_keeps_what_was_explained(
    explained: interpret.Explanations, model: nn.Module, data: tuple[np.ndarray, np.ndarray]
) -> None:
    assert explained.folder is not None
    again = interpret.explain(model, ["2[1]"], *data, names=["width", "height"], out=explained.folder)
    assert again[0].provenance.created == explained["2[1]"].provenance.created
    with interpret.open_run(explained.folder) as run:
        assert set(run.addresses()) == set(explained.addresses)
        found = run.query(uses="width")
        assert "4[0]" in set(found["address"])


def test_the_report_is_written(explained: interpret.Explanations, tmp_path: Path) -> None:
    path = explained.report(tmp_path / "report.html")
    text = path.read_text(encoding="utf8")
    assert "4[0]" in text
    assert "<math" in text
    assert path.stat().st_size < 5_000_000


def test_one_engine_alone(model: nn.Module, data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    by_formula = interpret.explain(model, "4[0]", X, y, engine="symbolic")[0]
    assert by_formula.formula is not None
    assert by_formula.examples is None
    by_example = interpret.explain(model, "4[0]", X, y, engine="gp")[0]
    assert by_example.formula is None
    assert by_example.examples is not None
    assert by_example.verdict == "NONE"


def test_a_dead_unit_fails_in_words_and_leaves_the_rest(data: tuple[np.ndarray, np.ndarray]) -> None:
    dead = network(outputs=2)
    with torch.no_grad():
        dead[-1].weight[1] = 0.0
    both = interpret.explain(dead, ["4[1]", "4[0]"], data[0])
    assert [who for who, _ in both["4[1]"].failures].count("symbolic") == 1
    assert both["4[1]"].verdict == "NONE"
    assert both["4[0]"].formula is not None


def test_continuous_targets_cost_the_suspects_only(data: tuple[np.ndarray, np.ndarray]) -> None:
    """A regression's targets are no classes: nothing is suspect or misclassified, all else is said."""
    X = data[0][:300]
    for y in (X.sum(axis=1) + 0.5, np.array(["cat", "dog", "cow"])[np.arange(300) % 3]):
        neuron = interpret.explain(network(), "4[0]", X, y, engine="gp")[0]
        assert neuron.failures == ()
        assert neuron.examples is not None
        assert neuron.examples.pearson > 0.99
        assert len(neuron.examples.cases[0].neighbors) == 10
        assert "misclassified" not in {case.kind for case in neuron.examples.cases}
        left_out = [note for note in neuron.examples.notes if "continuous values" in note]
        assert bool(left_out) == (y.dtype.kind == "f")
        assert neuron.examples.suspects == () or not left_out


def test_without_any_answer_the_reasons_are_the_real_ones(data: tuple[np.ndarray, np.ndarray]) -> None:
    dead = network(outputs=2)
    with torch.no_grad():
        dead[-1].weight[1] = 0.0
    neuron = interpret.explain(dead, "4[1]", data[0][:300], engine="symbolic")[0]
    assert not neuron.answered
    assert neuron.verdict == "NONE"
    error = dict(neuron.failures)["symbolic"]
    assert any(error in reason for reason in neuron.reasons)
    assert any(error.rstrip(".") in line for line in neuron.advice)
    assert not any("Run the symbolic engine" in line for line in neuron.advice)


def test_a_frame_brings_its_names_and_images_their_pictures() -> None:
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(300, 3)), columns=["mass", "speed", "height"])
    neuron = interpret.explain(network(3), "4[0]", frame)[0]
    assert neuron.formula is not None
    assert neuron.formula.names == ("mass", "speed", "height")
    pictures = np.random.default_rng(2).uniform(size=(120, 1, 6, 6)).astype(np.float32)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    shown = interpret.explain(net, "3[1]", pictures, engine="gp")[0].examples
    assert shown is not None
    assert all(t.kind == "image" and t.png.startswith(b"\x89PNG") for t in shown.thumbnails)


def test_the_same_seed_gives_the_same_explanation(
    model: nn.Module, data: tuple[np.ndarray, np.ndarray]
) -> None:
    made = [Explainer(model, *data, settings=Settings(seed=3)).explain("2[0]") for _ in range(2)]
    first, second = (neuron.formula for neuron in made)
    assert first is not None
    assert second is not None
    assert first.frontier == second.frontier
    assert made[0].examples is not None
    assert made[1].examples is not None
    np.testing.assert_array_equal(made[0].examples.mean, made[1].examples.mean)


def test_wrong_calls_are_named(model: nn.Module, data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    X, y = data
    with pytest.raises(errors.UnknownLayer):
        interpret.explain(model, "fc9[0]", X)
    with pytest.raises(errors.IndexOutOfRange):
        interpret.explain(model, "4[7]", X, out=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with pytest.raises(errors.BadInput, match="same rows"):
        interpret.explain(model, "4[0]", X, y[:-1])
    with pytest.raises(errors.TooFewPoints, match="at least 20"):
        interpret.explain(model, "4[0]", X[:5])
    with pytest.raises(errors.UsageError, match="engine must be one of"):
        interpret.explain(model, "4[0]", X, engine="magic")
    with pytest.raises(errors.UsageError, match="no address"):
        interpret.explain(model, [], X)


def test_the_model_is_left_as_found(model: nn.Module, data: tuple[np.ndarray, np.ndarray]) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    state = torch.random.get_rng_state()
    interpret.explain(model, "4[0]", data[0][:400])
    assert model.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    model.eval()


def test_a_neighbor_prints_in_a_line() -> None:
    assert repr(Neighbor(7, 0.987654321, -0.123456)) == (
        "Neighbor(index=7, similarity=0.9877, contribution=-0.1235)"
    )
    assert repr(Neighbor(7, 1.0, 2.0, (0, 3))).endswith("contribution=+2, place=(0, 3))")
