"""Intervals of a trained kernel rest on examples that its maps were not trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp.conditioning import left_out
from gp.mixtures import Inputs, split
from interpret.probe import Probe


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(5, 6, batch_first=True)

    def forward(self, x):
        return self.cell(x)[0][:, -1]


@pytest.fixture(scope="module")
def case():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Recurrent().eval()
    X, queries = np.random.default_rng(0).normal(size=(2, 400, 7, 5)).astype(np.float32)
    return gp.distill(model, X, kernel="learned", steps=150), model, X, queries


def test_intervals_cover_where_the_body_is_the_whole_input(case):
    d, _, _, queries = case
    assert d.fidelity(queries).coverage95.mean() >= 0.92


def test_the_amplitude_is_that_of_the_examples_not_trained_on(case):
    d, _, X, _ = case
    held = d.passed.held.numpy()
    assert held.sum() == 80
    assert not np.isin(np.flatnonzero(held), d.map.seen).any()
    (block,) = d.map.blocks(X)
    residual, ratio = left_out(d.posterior, block.features, block.targets, len(X))
    scaled = (residual.abs() / (d.posterior.noise[:, None, None, None] * ratio[..., None]).sqrt())[:, :, 0, 0]
    rank = int(np.ceil(0.95 * 81)) - 1
    expected = np.sort(scaled.numpy()[:, held], axis=1)[:, rank] / 1.959963984540054
    np.testing.assert_allclose(np.sqrt(d.amplitude), expected, rtol=1e-9)
    assert (np.sort(scaled.numpy()[:, ~held], axis=1)[:, int(0.95 * 320)] < 1.96 * expected).all()


def test_they_stay_known_without_some_rows_and_in_a_file(case, tmp_path):
    d, model, _, queries = case
    d.save(tmp_path / "d")
    gone = np.flatnonzero(d.passed.held.numpy())[:5].tolist() + d.map.seen[:5].tolist()
    mine, loaded = d.without(gone), gp.load(tmp_path / "d", model=model).without(gone)
    assert int(mine.passed.held.sum()) == 75 and len(mine.passed.held) == 390
    np.testing.assert_allclose(loaded.predict(queries).variance, mine.predict(queries).variance, rtol=1e-6)


def test_places_of_an_image_are_set_aside_together():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3)).eval()
    X, queries = np.random.default_rng(0).random(size=(2, 100, 1, 7, 7), dtype=np.float32)
    d = gp.distill(Probe(model, "2"), X, kernel="learned", steps=50)
    assert d.passed.held.sum() == 20 and d.passed.unseen.targets.shape == (20, 9, 2)
    assert d.fidelity(queries).coverage95.mean() >= 0.9


@pytest.mark.parametrize(
    ("rows", "stride", "total", "aside"),
    [
        (1000, 1, 1000, 200),
        (60, 1, 60, 20),
        (30, 1, 30, 10),
        (2, 1, 2, 0),
        (500, 3, 1500, 0),
        (500, 1, None, 100),
    ],
)
def test_a_fifth_is_set_aside_unless_thinning_left_enough(rows, stride, total, aside):
    data = Inputs(torch.arange(rows, dtype=torch.float32)[:, None], rows, stride)
    parted = split(data, total, seed=0)
    assert parted.data.rows == len(parted.seen) == rows - aside
    assert np.array_equal(parted.seen, stride * parted.data.batch[:, 0].numpy())
    assert parted.weight == pytest.approx(stride * rows / (rows - aside))
    assert np.array_equal(parted.seen, split(data, total, seed=0).seen)
