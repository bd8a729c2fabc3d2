"""Examples look as a person expects: images as PNG, tables as named values, anything by ``render``."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from interpret.errors import UsageError
from interpret.evidence.thumbnails import ROW_VALUES, Thumbnailer, png


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (3, 6, 9), (6, 9, 3)])
def test_images_become_png_on_one_grey_scale(shape: tuple[int, ...]) -> None:
    X = np.random.default_rng(0).uniform(0, 1, (5, *shape))
    X[0] *= 0.1
    make = Thumbnailer(torch.as_tensor(X))
    dark, bright = make(0), make(1)
    assert dark.kind == bright.kind == "image"
    pixels = [np.asarray(Image.open(io.BytesIO(t.png))).mean() / 255 for t in (dark, bright)]
    assert pixels[0] < 0.2 < pixels[1]


def test_a_table_row_shows_the_columns_of_interest_by_name() -> None:
    frame = pd.DataFrame(np.arange(60.0).reshape(3, 20), columns=[f"c{i}" for i in range(20)])
    shown = Thumbnailer(frame, list(frame.columns), order=list(range(19, -1, -1)), labels=["a", "b", "c"])(1)
    assert shown.kind == "row"
    assert len(shown.names) == ROW_VALUES
    assert (shown.names[0], shown.values[0], shown.label) == ("c19", 39.0, "b")


def test_render_decides_and_is_checked() -> None:
    X = np.zeros((2, 3))
    assert Thumbnailer(X, render=lambda x: f"{len(x)} values")(0).text == "3 values"
    assert Thumbnailer(X, render=lambda x: np.eye(8))(0).kind == "image"
    assert Thumbnailer(X, render=lambda x: png(np.eye(8)))(1).index == 1
    with pytest.raises(UsageError, match=r"render\(x\) must return a str"):
        Thumbnailer(X, render=lambda x: 3)(0)


def test_texts_and_series() -> None:
    assert Thumbnailer(["a dog", "a cat"])(1).text == "a cat"
    assert Thumbnailer(np.zeros((2, 100)))(0).kind == "series"


def test_a_measured_label_has_digits_that_a_person_compares() -> None:
    shown = Thumbnailer(np.zeros((3, 2)), labels=np.array([2.2397186534917473, 3.0, -0.1]))
    assert [shown(at).label for at in range(3)] == ["2.24", "3.0", "-0.1"]
