"""A distillation shows itself in a line, a notebook and a terminal, and shows no markup as markup."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from torch import nn

import gp
from gp import display
from interpret.probe import Probe


@pytest.fixture
def shown(features):
    d = gp.fit_features(*features)
    return replace(d, notes=("A note with <script>alert(1)</script> and [bold]markup[/bold].",))


def test_one_line_says_what_it_is(features, shown):
    chosen = next(p for p in shown.frontier if p.chosen)
    text = repr(shown)
    assert text.startswith(
        "Distillation(kernel: features, heads: 2, training examples: 40, features: 5, metric half"
    )
    assert f"noise: {chosen.noise:.3g}" in text and f"cancellation: {chosen.cancellation:.3g}" in text
    assert len(text) < 300
    given = repr(gp.fit_features(*features, noise=0.5))
    assert "noise: 0.5" in given and "cancellation" not in given and "fidelity" not in given


def test_notebooks_get_a_table_with_everything_escaped(shown):
    page = shown._repr_html_()
    assert "<table" in page and "training examples" in page
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page


def test_terminals_get_the_same_and_markup_is_text(shown):
    console = Console(file=io.StringIO(), width=100)
    console.print(shown)
    text = console.file.getvalue()
    assert "[bold]markup[/bold]" in text and "training examples" in text and "metric half" in text


def test_places_tails_and_per_head_noise_are_named(digits):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(1)).eval()
    text = repr(gp.distill(net, digits.X[:40]))
    assert "training examples: 40 at 6 × 6 places" in text
    assert "heads: 72 (2 × 6 × 6), in front of a nonlinear tail" in text
    learned = gp.distill(Probe(digits.net, "fc2"), digits.X[:200], kernel="learned", steps=20, shares=(0.01,))
    assert "place: fc2" in repr(learned) and "on held-out mixtures" in repr(learned)
    assert display._number(np.array([0.1, 0.4])) == "0.1 to 0.4, by head"


def test_rich_is_loaded_by_terminals_only():
    code = (
        "import sys, numpy as np, gp; g = np.random.default_rng(0); "
        "d = gp.fit_features(g.normal(size=(9, 2)), g.normal(size=9)); repr(d); d._repr_html_(); "
        "print('rich.table' in sys.modules); d.__rich__(); print('rich.table' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
