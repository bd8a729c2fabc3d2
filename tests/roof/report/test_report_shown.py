"""What objects show of themselves: in a notebook, in a terminal, beside another run."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from interpret.comparing import compare
from interpret.errors import ReportError
from interpret.explaining import Explanations
from interpret.explanation import Control, Thumbnail
from interpret.outcome import Verdict
from interpret.report import notebook, write, write_comparison
from interpret.report.comparison_view import MOST_DETAILS, comparison_page
from interpret.report.example_view import Gallery
from interpret.report.neuron_view import page
from interpret.report.tables import closest_columns, ranges, shades, widest_columns
from interpret.report.terminal import card, table
from interpret.store import create_run
from symbolic.expression import to_json
from symbolic.parser import parse


def printed(shown: object, width: int = 100) -> str:
    from rich.console import Console

    console = Console(record=True, width=width, file=io.StringIO())
    console.print(shown)
    return console.export_text()


def test_a_notebook_shows_the_neuron(samples: ModuleType) -> None:
    shown = samples.small()._repr_html_()
    assert shown == notebook(samples.small())
    assert "<math" in shown
    assert "<svg" in shown
    assert "It computes x0 + 2·x1." in shown
    assert "<script" not in shown
    styles = re.findall(
        r"^([^{}@\n]+)\{", re.search(r"<style>(.*?)</style>", shown, re.DOTALL)[1], re.MULTILINE
    )
    assert styles
    assert all(rule.strip().startswith(".twinscope-card") for names in styles for rule in names.split(",")), (
        "the card's style must not reach the notebook around it"
    )


def test_a_notebook_shows_many_as_a_table(samples: ModuleType) -> None:
    shown = notebook([replace(samples.small(), address=f"fc[{at}]") for at in range(300)])
    assert shown.count('<th scope="row"><code') == 200
    assert "100 more are not shown" in shown
    assert shown.count('class="card"') == 3


def test_a_terminal_shows_the_neuron(samples: ModuleType) -> None:
    neuron = samples.small()
    text = printed(neuron)
    assert text == printed(card(neuron))
    for part in ("fc[0]", "EXACT", "T = x0 + 2*x1", "link R² 0.9995", "#1 (class 1) +0.50", "→ Nothing."):
        assert part in text, part
    failed = replace(neuron, formula=None, failures=(("symbolic", "no [bold]points[/]"),))
    assert "! symbolic: no [bold]points[/]" in printed(failed)


def test_a_terminal_shows_many_as_a_table(samples: ModuleType) -> None:
    lines = printed(table([samples.small(), replace(samples.small(), formula=None)])).splitlines()
    assert sum("fc[0]" in line for line in lines) == 2


def test_a_comparison_page_puts_the_most_different_first(samples: ModuleType) -> None:
    view = comparison_page(samples.comparison(), "Two")
    assert [pair.address for pair in view.pairs] == ["fc[0]", "fc[1]", "fc[2]"]
    assert [pair.address for pair in view.details] == ["fc[1]", "fc[0]", "fc[2]"]
    assert {said: amount for said, _, amount in view.counts} == {
        "same concept": 1, "close": 0, "different": 1, "cannot tell": 1,
    }  # fmt: skip
    assert "100 % are the same" in view.pairs[0].neighbors
    assert view.pairs[2].sort == (None, None)
    assert view.only_a == ("fc[7]",)
    assert all(pair.a.case and pair.b.case and pair.a.case.query == pair.b.case.query for pair in view.pairs)


def test_neighbors_of_other_data_are_not_compared(samples: ModuleType) -> None:
    comparison = samples.comparison()
    pair = comparison.neurons[0]
    other = replace(pair.b, provenance=replace(pair.b.provenance, data_hash="other"))
    moved = replace(comparison, neurons=(replace(pair, b=other),))
    shown = comparison_page(moved, "Two").pairs[0]
    assert shown.neighbors == ""
    assert shown.a.case is None
    assert shown.b.case is None


def test_without_any_distance_there_is_no_overview(samples: ModuleType, tmp_path: Path) -> None:
    comparison = samples.comparison()
    unknown = replace(comparison, neurons=comparison.neurons[2:])
    assert comparison_page(unknown, "Two").overview is None
    assert "Distance between" not in write_comparison(unknown, tmp_path / "c.html").read_text("utf-8")


def test_a_long_comparison_stays_small(samples: ModuleType, tmp_path: Path) -> None:
    comparison = samples.comparison()
    many = replace(comparison, neurons=comparison.neurons * 70)
    text = write_comparison(many, tmp_path / "c.html").read_text("utf-8")
    assert text.count('<article class="neuron"') == MOST_DETAILS
    assert f"{210 - MOST_DETAILS} more neurons" in text
    assert len(text) < 1_500_000


def test_a_comparison_that_cannot_be_written_says_so(samples: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReportError, match="cannot be written"):
        write_comparison(samples.comparison(), tmp_path / "file" / "c.html")


def test_the_first_screen_picks_the_best_formula_and_a_picture(samples: ModuleType, tmp_path: Path) -> None:
    neurons = [samples.table(), samples.digits(), samples.physics()]
    text = write(neurons, tmp_path / "r.html").read_text("utf-8")
    leads = text[text.index('class="leads"') : text.index("All neurons")]
    assert "Ellipse classifier" in leads
    assert "Digits CNN" in leads
    assert "Breast-cancer" not in leads
    assert leads.count("<img ") == 11, "the query and its ten nearest"


def rows(values: list[list[float]]) -> list[Thumbnail]:
    names = tuple(f"x{at}" for at in range(len(values[0])))
    return [Thumbnail(at, "row", names=names, values=tuple(row)) for at, row in enumerate(values)]


def test_the_columns_shown_are_those_the_neighbors_share() -> None:
    rng = np.random.default_rng(0)
    every = rng.standard_normal((50, 9))
    query = every[0].copy()
    near = every[1:11].copy()
    near[:, [2, 4, 5, 6, 7, 8]] = query[[2, 4, 5, 6, 7, 8]] + 0.01 * rng.standard_normal((10, 6))
    assert closest_columns(rows([query.tolist()])[0], rows(near.tolist()), rows(every.tolist())) == [
        2,
        4,
        5,
        6,
        7,
        8,
    ]


def test_the_columns_of_a_list_are_those_that_set_it_apart() -> None:
    every = np.random.default_rng(0).standard_normal((50, 9))
    listed = every[:5].copy()
    listed[:, [0, 1, 2, 3, 4, 8]] += 30
    assert widest_columns(rows(listed.tolist()), rows(every.tolist())) == [0, 1, 2, 3, 4, 8]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_number_are_not_shaded(bad: float) -> None:
    listed = rows([[0.0, 1.0], [bad, 3.0], [2.0, 3.0]])
    scale = ranges(listed, [0, 1])
    assert scale == [(0.0, 2.0), (1.0, 3.0)]
    assert shades((1.0, bad), scale) == (50.0, 0.0)
    assert shades((1.0,), scale) == (0.0,)


def test_an_example_without_a_thumbnail_is_its_number(samples: ModuleType) -> None:
    shown = Gallery(()).listed([17])
    assert (shown.examples[0].kind, shown.examples[0].number) == ("missing", "17")
    part = replace(samples.small().examples, thumbnails=())
    view = page(replace(samples.small(), examples=part))
    assert view.examples is not None
    assert view.examples.cases[0].neighbors[0].number == "1"


@pytest.mark.parametrize("kind", ["series", "texts", "digits", "table"])
def test_each_kind_of_example_has_its_rendering(samples: ModuleType, kind: str, tmp_path: Path) -> None:
    text = write([getattr(samples, kind)()], tmp_path / "r.html").read_text("utf-8")
    wanted: dict[str, Any] = {
        "series": '<svg class="spark"', "texts": "<blockquote", "digits": '<img src="data:image/png', "table": "shade",
    }  # fmt: skip
    assert wanted[kind] in text


def test_the_place_of_a_neighbor_is_marked_in_its_picture(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.digits()
    case = neuron.examples.cases[0]
    near = tuple(replace(at, place=(1, 3)) for at in case.neighbors)
    part = replace(neuron.examples, places=(2, 4), cases=(replace(case, neighbors=near),))
    view = page(replace(neuron, examples=part))
    assert view.examples is not None
    assert {at.spot for at in view.examples.cases[0].neighbors} == {(75.0, 50.0, 25.0, 50.0)}
    assert all(at.spot is None for at in view.examples.cases[0].contributors)
    text = write([replace(neuron, examples=part)], tmp_path / "r.html").read_text("utf-8")
    assert text.count('class="spot"') == 2 * len(near), "on the first screen and on its page"
    unknown = page(replace(neuron, examples=replace(part, places=())))
    assert unknown.examples is not None
    assert all(at.spot is None for at in unknown.examples.cases[0].neighbors)


def test_what_a_verdict_covers_stands_beside_it(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.small()
    part = replace(neuron.formula, misalignment_high=0.00121, alternatives=("x1^3", "x0*x1", "x1^3"))
    text = write([replace(neuron, formula=part)], tmp_path / "r.html").read_text("utf-8")
    said = "on these points, up to a monotone map, misalignment ≤ 0.0013"  # a bound is rounded up
    assert text.count(f'<p class="reach">{said} · <strong>2 alternatives no worse</strong>') == 2, (
        "front and page"
    )
    assert said in printed(replace(neuron, formula=part), 200)
    assert "2 alternatives no worse; the one shown is the one whose length pays" in printed(
        replace(neuron, formula=part), 200
    )
    alone = replace(part, alternatives=(part.expression,))
    text = write([replace(neuron, formula=alone)], tmp_path / "s.html").read_text("utf-8")
    assert said in text and "alternative no worse" not in text and "alternatives no worse" not in text


def test_a_verdict_that_fresh_rows_lowered_claims_nothing(samples: ModuleType, tmp_path: Path) -> None:
    """The search said EXACT; the neuron's verdict, from rows it has not seen, is what counts everywhere."""
    lowered = replace(samples.small(), verdict=Verdict.NONE)
    assert lowered.formula.verdict is Verdict.EXACT
    text = write([lowered], tmp_path / "r.html").read_text("utf-8")
    body = text[text.index("<main") : text.index('<footer class="colophon">')]
    assert 'class="badge exact"' not in body and "It is not claimed" in body and 'class="reach"' not in body
    assert "best row, not claimed" in printed(lowered)


def test_runs_and_comparisons_show_themselves(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.small()
    tree = to_json(parse("x0 + 2*x1", neuron.formula.names))
    neuron = replace(neuron, formula=replace(neuron.formula, tree=tree))
    with create_run(tmp_path / "run") as run:
        run.add(neuron)
        assert repr(run) == f"Run at {tmp_path / 'run'}: 1 neurons of net"
        assert "<table" in run._repr_html_() and "fc[0]" in run._repr_html_()
    evil = replace(neuron, address='fc["<script>alert(1)</script>"]')
    both = compare([neuron, evil], [neuron, evil])
    shown = both._repr_html_()
    assert shown.count("<tr>") == 3 and "same concept" in shown and "<script>" not in shown
    assert "Comparison of 2 neurons" in repr(both)
    assert "same concept" in printed(both) and "alignment" in printed(Explanations([neuron]))


def test_networks_with_other_inputs_are_compared_under_a_warning(samples: ModuleType) -> None:
    plain = samples.small()
    tree = to_json(parse("x0 + 2*x1", names=["x0", "x1"]))
    mine = replace(plain, formula=replace(plain.formula, tree=tree))
    theirs = replace(mine, formula=replace(mine.formula, names=("mass", "speed")))
    with pytest.warns(UserWarning, match=r"different inputs \(x0, x1 and mass, speed\)"):
        compared = compare([mine], [theirs])
    assert len(compared.notes) == 1
    assert compared.notes[0] in repr(compared)
    assert "different inputs" in compared._repr_html_()
    assert comparison_page(compared, "Two").notes == compared.notes
    assert compare([mine], [mine]).notes == ()


def test_a_notebook_shows_the_layers() -> None:
    from torch import nn

    import interpret

    found = interpret.layers(nn.Sequential(nn.Linear(2, 3), nn.ModuleDict({"<b>": nn.Tanh()})["<b>"]))
    assert isinstance(found, list)
    assert [layer.path for layer in found] == ["0", "1", ""]
    shown = found._repr_html_()
    assert "<td" in shown and "Linear" in shown and "(output)" in shown
    hostile = type(found)([replace(found[0], path="<script>\x1b")])._repr_html_()
    assert "<script>" not in hostile and "\x1b" not in hostile


def test_points_that_were_left_out_are_told_with_their_reasons(samples: ModuleType) -> None:
    neuron = samples.small()
    far = ("further than 6 from the decision boundary", 1599)
    part = replace(neuron.formula, points_dropped=1602, left_out=(("zero gradient", 3), far))
    shown = page(replace(neuron, formula=part))
    assert "1\u2009602 points left out: 3 (zero gradient); 1\u2009599 (further than 6" in shown.formula.points
    assert shown.scope.startswith("near the decision boundary, up to")
    everywhere = page(replace(neuron, formula=replace(part, left_out=(("zero gradient", 1602),))))
    assert everywhere.scope.startswith("on these points, up to")


def test_a_logit_is_said_to_be_looked_at_near_its_boundary() -> None:
    """From the engine to the page: a steep classifier of which most points are far from where it decides."""
    import torch
    from torch import nn

    from interpret import explain

    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Identity()

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return self.out(40 * (X[:, :1] ** 2 + X[:, 1:] ** 2 - 1))

    X = torch.rand((1500, 2), generator=torch.Generator().manual_seed(0)) * 4 - 2
    (neuron,) = explain(Steep(), "out[0]", X, engine="symbolic")
    assert neuron.formula.near_boundary
    reasons = [why for why, _ in neuron.formula.left_out]
    assert sum(many for _, many in neuron.formula.left_out) == neuron.formula.points_dropped
    assert any("decision boundary" in why for why in reasons)
    assert "near the decision boundary" in page(neuron).scope
    measured = ((X**2).sum(1) - 1).numpy()
    (neuron,) = explain(Steep(), "out[0]", X, measured, engine="symbolic")
    assert not neuron.formula.near_boundary, "a network fitted to measured values decides nothing"


def test_a_row_that_is_better_is_not_called_as_good(samples: ModuleType) -> None:
    neuron = samples.small()
    first, second = neuron.formula.frontier[:2]
    rows = (replace(first, chosen=False, upper=1e-6, held_out=8e-7), replace(second, chosen=True))
    part = replace(neuron.formula, frontier=rows, alternatives=(first.expression,), misalignment_low=5e-4)
    shown = page(replace(neuron, formula=part)).formula.rows
    assert shown[0].closer and "does not pay" in shown[0].alike
    near = replace(part, frontier=(replace(rows[0], upper=2e-3), rows[1]))
    shown = page(replace(neuron, formula=near)).formula.rows
    assert not shown[0].closer and "cannot tell" in shown[0].alike
    assert shown[1].alike == ""


def test_what_a_formula_leaves_over_is_said_with_its_size(samples: ModuleType) -> None:
    neuron = samples.small()
    slight = replace(neuron.formula, link=replace(neuron.formula.link, r2=0.9996))
    check = replace(neuron.crosscheck, residual_r2=0.99)
    said = page(replace(neuron, formula=slight, crosscheck=check)).residual
    assert "0.040 % of the variance" in said and said.endswith("regular, and slight.")
    much = replace(slight, link=replace(slight.link, r2=0.8))
    assert page(replace(neuron, formula=much, crosscheck=check)).residual.endswith("structure that is there.")


def test_a_formula_with_curves_leads_before_a_linear_one(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.small()
    straight = replace(neuron, address="fc1[0]", formula=replace(neuron.formula, controls=()))
    beaten = replace(neuron.formula, controls=(Control("best linear formula", 0.4, "x0", 40.0, True),))
    curved = replace(neuron, address="out[0]", verdict=Verdict.APPROXIMATE, formula=beaten)
    text = write([straight, curved], tmp_path / "r.html").read_text("utf-8")
    lead = text[text.index('class="lead by-formula"') :]
    assert lead.index("out[0]") < lead.index("fc1[0]")


def test_the_link_is_drawn_on_the_points_it_is_judged_on() -> None:
    """A logit whose formula holds near the boundary only: the R² beside the drawing is that of its dots."""
    import torch

    import symbolic
    from interpret.evidence.formulas import formula_part

    X = torch.rand((3000, 2), generator=torch.Generator().manual_seed(1)) * 4 - 2
    score = (X**2).sum(1) - 1
    values = 12 * torch.tanh(score) + 3 * score
    gradients = (12 * (1 - torch.tanh(score) ** 2) + 3)[:, None] * 2 * X
    found = symbolic.fit_gradients(X.numpy(), gradients.numpy(), values=values.numpy())
    points = X.numpy().astype(float)
    drawn = formula_part(found, points, gradients.numpy(), gradients.numpy(), np.ones(len(points))).link
    assert drawn is not None
    expected = np.interp(drawn.points_t, drawn.t, drawn.phi)
    own = 1 - ((drawn.points_g - expected) ** 2).sum() / ((drawn.points_g - drawn.points_g.mean()) ** 2).sum()
    assert own == pytest.approx(drawn.r2, abs=0.02)
    assert np.abs(drawn.points_g).max() > 12, "far points are judged as well"
