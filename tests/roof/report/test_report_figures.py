"""Figures: what is drawn is where the data say, and a figure is small, safe, and the same each time."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

from interpret.explanation import FidelityPoint
from interpret.report.figures import examples, style, symbolic
from interpret.report.figures.canvas import Canvas
from interpret.report.figures.panel import Panel, Scale

SVG = "{http://www.w3.org/2000/svg}"


def strokes(svg: str, variable: str) -> np.ndarray:
    """All ends of strokes drawn in a colour, (N, 2, 2)."""
    found = []
    for path in ElementTree.fromstring(svg).iter("path"):
        if f"stroke: var({variable})" in path.get("style", "") and "fill: none" in path.get("style", ""):
            numbers = [float(at) for at in re.findall(r"-?[\d.]+", path.get("d", ""))]
            if "h0" in path.get("d", ""):
                places = np.reshape(numbers, (-1, 3))[:, :2]
                found.append(np.stack([places, places], axis=1))
            elif path.get("d", "").count("M") == path.get("d", "").count("L"):
                found.append(np.reshape(numbers, (-1, 2, 2)))
    return np.concatenate(found) if found else np.zeros((0, 2, 2))


def test_dots_lie_where_the_data_say() -> None:
    x, y = np.array([0.0, 1.0, 2.0]), np.array([10.0, 1000.0, 100.0])
    canvas = Canvas(4, 3)
    panel = Panel(canvas, (1, 1, 1, 1), Scale(0, 2), Scale(10, 1000, log=True))
    panel.dots(x, y, style.WARN)
    places = strokes(canvas.svg("dots"), "--warn")[:, 0]
    # 72 points an inch, y downwards; the panel spans (1, 1) to (3, 2) inches.
    np.testing.assert_allclose(places, [[72, 144], [144, 72], [216, 108]], atol=0.01)


def test_texts_keep_their_digits() -> None:
    canvas = Canvas(4, 3)
    Panel(canvas, (1, 1, 1, 1), Scale(3, 3.02, "metres per 1.2345 s"), Scale(0, 1))
    svg = canvas.svg("digits")
    assert "3.005" in svg
    assert "metres per 1.2345 s" in svg


def test_every_row_of_the_frontier_is_a_dot_with_a_tooltip(samples: ModuleType) -> None:
    rows = samples.physics().formula.frontier
    svg = ElementTree.fromstring(symbolic.frontier(rows))
    marks = [group for group in svg.iter("g") if group.get("data-row") is not None]
    assert [int(mark.get("data-row", "")) for mark in marks] == list(range(len(rows)))
    assert all(
        row.expression in (mark.findtext("title") or "") for row, mark in zip(rows, marks, strict=True)
    )
    across = [float(mark.findall("circle")[1].get("cx", "")) for mark in marks]
    assert across == sorted(across), "complexity grows to the right"


def test_the_field_marks_exactly_the_points_that_differ(samples: ModuleType) -> None:
    part = samples.small().formula
    turned = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    crossed = replace(part, directions=turned, formula_directions=np.tile([1.0, 0.0], (4, 1)))
    svg = symbolic.field(crossed, (0, 1))
    assert len(strokes(svg, "--warn")) == 2
    assert len(strokes(svg, "--formula")) == 2
    assert not len(strokes(symbolic.field(part, (0, 1)), "--warn"))


def test_a_formula_and_its_negative_draw_the_same_field(samples: ModuleType) -> None:
    part = samples.physics().formula
    assert symbolic.field(part, (0, 1)) == symbolic.field(
        replace(part, formula_directions=-part.formula_directions), (0, 1)
    )


def test_a_slice_takes_the_inputs_the_gradient_leans_on(samples: ModuleType) -> None:
    part = samples.table().formula
    pair = symbolic.main_pair(part)
    assert pair is not None
    weight = np.abs(part.directions).mean(axis=0)
    assert set(pair) == set(np.argsort(weight)[-2:].tolist())
    assert symbolic.main_pair(replace(part, points=part.points[:, :1])) is None


def test_the_share_within_an_angle_is_the_share_of_points() -> None:
    svg = symbolic.angles(np.cos(np.deg2rad([10.0, 20.0, 30.0, 40.0])))
    line = next(at for at in ElementTree.fromstring(svg).iter("path") if "--formula" in at.get("style", ""))
    heights = [float(at) for at in re.findall(r"[ML][\d.]+ ([\d.]+)", line.get("d", ""))]
    steps = sorted(set(heights), reverse=True)
    assert np.allclose(np.diff(steps), np.diff(steps)[0], atol=0.02)
    assert len(steps) == 4


def test_same_data_same_bytes_and_no_ids(samples: ModuleType) -> None:
    part = samples.digits().examples
    first = examples.fidelity(part)
    assert first == examples.fidelity(part)
    assert " id=" not in first
    assert "url(#" not in first
    assert len(first) < 40_000


def test_a_report_draws_without_matplotlib() -> None:
    """Its figures would be most of a report's time."""
    code = (
        "import sys, numpy as np\n"
        "from interpret.report.figures import examples\n"
        "assert '<svg' in examples.calibration(np.array([0.5]), np.array([0.4]))\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_letters_stand_where_they_are_put() -> None:
    """By the page's own measures: the browser sets the letters, so what is tested is the arithmetic."""
    canvas = Canvas(2, 1)
    for stand in ("top", "middle", "bottom"):
        canvas.text((1, 0.5), stand, style.MUTED, 10, "middle", stand)
    canvas.text((1, 0.5), "up", style.MUTED, 10, turned=True)
    texts = list(ElementTree.fromstring(canvas.svg("letters")).iter(f"{SVG}text"))
    texts = texts or list(ElementTree.fromstring(canvas.svg("letters")).iter("text"))
    assert [float(at.get("y", "")) for at in texts] == [43.6, 38.6, 33.6, 36.0]
    assert float(texts[3].get("x", "")) == 74.6
    assert texts[3].get("transform") == "rotate(-90 74.6 36.0)"


def test_ticks_agree_with_matplotlib() -> None:
    """The same round numbers as a second library's, for limits of any size."""
    from matplotlib.ticker import MaxNLocator

    rng = np.random.default_rng(0)
    for _ in range(300):
        low = float(rng.normal() * 10.0 ** rng.integers(-3, 4))
        high = low + float(rng.uniform(0.1, 1)) * 10.0 ** int(rng.integers(-2, 4))
        for ticks in (3, 5, 6):
            there = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
            inside = [at for at in there if low <= at <= high]
            ours = Scale(low, high, ticks=ticks)._round_values()
            np.testing.assert_allclose(ours, inside, atol=1e-9 * abs(high - low))


@pytest.mark.parametrize(
    "name", [r"$\frac{1", "a_{b", "</text><script>alert(1)</script>", "\x00\u202e", "x" * 10_000]
)
def test_a_name_is_drawn_and_never_parsed(samples: ModuleType, name: str) -> None:
    part = replace(samples.small().formula, names=(name, "x1"))
    svg = symbolic.field(part, (0, 1), {"x1": name})
    tree = ElementTree.fromstring(svg)
    assert not list(tree.iter("script"))
    assert len(svg) < 20_000


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-10.0, 10.0, ["−10", "−5", "0", "5", "10"]),
        (0.0, 1e-5, ["0", "2e−06", "4e−06", "6e−06", "8e−06", "1e−05"]),
        (3.0, 3.02, ["3.000", "3.005", "3.010", "3.015", "3.020"]),
    ],
)
def test_ticks_are_round_and_told_apart(low: float, high: float, expected: list[str]) -> None:
    assert [text for _, text in Scale(low, high).marks()] == expected


@pytest.mark.parametrize("values", [[], [np.nan], [1.0, 1.0], [np.inf, 2.0], [0.0]])
def test_limits_exist_for_any_data(values: list[float]) -> None:
    low, high = style.span(values)
    assert np.isfinite([low, high]).all()
    assert low < high


def test_figures_of_degenerate_data_do_not_fail(samples: ModuleType) -> None:
    part, gp = samples.small().formula, samples.small().examples
    nan = np.full(4, np.nan)
    row = replace(part.frontier[0], held_out=float("nan"), upper=float("inf"))
    assert "<svg" in symbolic.frontier([row])
    assert "<svg" in symbolic.angles(nan)
    assert "<svg" in symbolic.field(replace(part, directions=np.full((4, 2), np.nan)), (0, 1))
    assert "<svg" in examples.fidelity(replace(gp, network=nan, mean=nan, low=nan, high=nan))
    assert "<svg" in examples.prototypes(replace(gp.prototypes, r2=(-50.0,)))
    assert examples.sparkline([1.0], "one") == ""


def test_settings_lie_by_cancellation_and_misfit() -> None:
    tried = [FidelityPoint("half", 10.0**-at, 1 - 10.0 ** (-at - 1), 10.0**at, at == 1) for at in range(3)]
    dots = strokes(examples.settings(tried), "--example")
    ends = dots[np.isclose(dots[:, 0], dots[:, 1]).all(axis=1)][:, 0]
    assert len(ends) == 1 + 3, "the chosen one is ringed"
    across, down = ends[1:, 0], ends[1:, 1]
    assert np.allclose(np.diff(across), np.diff(across)[0], atol=0.02), "decades are evenly spaced"
    assert np.allclose(np.diff(down), np.diff(down)[0], atol=0.02)
    assert (np.diff(down) > 0).all(), "a better fit is lower"
    np.testing.assert_allclose(ends[0], ends[2])
    assert "<svg" in examples.settings([FidelityPoint("half", 1.0, float("nan"), 1.0)])
