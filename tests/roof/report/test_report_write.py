"""Files of a report: one or many, complete or not there, the same bytes each time; what is missing is said."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from interpret.errors import InterpretError, ReportError, UsageError
from interpret.explanation import NeuronExplanation, Thumbnail
from interpret.outcome import Verdict
from interpret.report import write
from interpret.report.write import MOST_IN_ONE_FILE


def many(neuron: NeuronExplanation, count: int) -> list[NeuronExplanation]:
    """``count`` neurons with as little to draw as there can be."""
    part = replace(neuron.formula, link=None, points=np.zeros((0, 2)), cosines=np.zeros(0))
    return [replace(neuron, address=f"fc[{at}]", formula=part, examples=None) for at in range(count)]


def test_up_to_twenty_neurons_are_one_file(samples: ModuleType, tmp_path: Path) -> None:
    page = write(many(samples.small(), MOST_IN_ONE_FILE), tmp_path / "deep" / "r.html")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["r.html"]
    text = page.read_text("utf-8")
    assert text.count('<article class="neuron"') == MOST_IN_ONE_FILE
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text), "nothing is loaded from anywhere"
    assert "@import" not in text
    assert "url(" not in text


def test_more_are_an_index_with_pages_beside_it(samples: ModuleType, tmp_path: Path) -> None:
    index = write(many(samples.small(), MOST_IN_ONE_FILE + 1), tmp_path / "r.html", "Many")
    text = index.read_text("utf-8")
    links = re.findall(r'<th scope="row" data-key="(fc\[\d+\])"><a href="([^"]+)"', text)
    assert len(links) == MOST_IN_ONE_FILE + 1
    for address, link in links:
        page = (tmp_path / link).read_text("utf-8")
        assert f'<code dir="auto">{address}</code>' in page
        assert 'href="../r.html"' in page
        json.loads((tmp_path / link).with_suffix(".json").read_text("utf-8"))
    assert '<article class="neuron"' not in text
    assert text.count("<style") == 0, "the style sheet is shared"


def test_a_folder_gets_an_index(samples: ModuleType, tmp_path: Path) -> None:
    assert write([samples.small()], tmp_path / "out") == tmp_path / "out" / "index.html"


def test_same_neurons_same_bytes(samples: ModuleType, tmp_path: Path) -> None:
    neurons = [samples.small(), samples.series(), samples.texts()]
    first, second = (write(neurons, tmp_path / name / "r.html").read_bytes() for name in "ab")
    assert first == second
    code = (
        "import importlib.util, sys, pathlib\n"
        "spec = importlib.util.spec_from_file_location('s', sys.argv[1]); s = importlib.util.module_from_spec(spec)\n"
        "sys.modules['s'] = s; spec.loader.exec_module(s)\n"
        "from interpret.report import write; write([s.small()], sys.argv[2])"
    )
    import subprocess

    env = {**os.environ, "PYTHONHASHSEED": "7"}
    other = tmp_path / "c.html"
    subprocess.run([sys.executable, "-c", code, samples.__file__, str(other)], check=True, env=env)
    assert other.read_bytes() == write([samples.small()], tmp_path / "d.html").read_bytes()


def test_a_run_is_read_one_neuron_at_a_time(samples: ModuleType, tmp_path: Path) -> None:
    neurons = many(samples.small(), 25)

    class Run:
        held = 0

        def __len__(self) -> int:
            return len(neurons)

        def explanations(self) -> Iterator[NeuronExplanation]:
            for at, neuron in enumerate(neurons):
                pages = len(list(tmp_path.glob("r_files/*.html")))
                assert pages >= at, "the page before is written before the next neuron is asked for"
                yield neuron

    from_run = write(Run(), tmp_path / "r.html").read_text("utf-8")
    from_list = write(neurons, tmp_path / "l" / "r.html").read_text("utf-8")
    assert from_run == from_list


def test_the_same_neuron_twice_has_two_pages(samples: ModuleType, tmp_path: Path) -> None:
    text = write([samples.small(), samples.small()], tmp_path / "r.html").read_text("utf-8")
    names = re.findall(r'<article class="neuron" id="([^"]+)"', text)
    assert len(set(names)) == 2
    assert all(f'href="#{name}"' in text for name in names)


def test_the_download_holds_every_number(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.small()
    text = write([neuron], tmp_path / "r.html").read_text("utf-8")
    link = re.search(r'href="data:application/json;base64,([^"]+)"', text)
    assert link is not None
    numbers = json.loads(base64.b64decode(link[1]))
    assert numbers["verdict"] == "EXACT"
    assert numbers["formula"]["frontier"][1]["held_out"] == 0.001
    np.testing.assert_allclose(numbers["formula"]["points"], neuron.formula.points)
    np.testing.assert_allclose(numbers["examples"]["low"], neuron.examples.low)
    assert numbers["examples"]["cases"][0]["contributors"][0]["similarity"] is None, "NaN is null"


def test_large_arrays_stay_in_the_store(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.small()
    part = replace(neuron.formula, points=np.zeros((400, 64)), directions=np.zeros((400, 64)))
    text = write([replace(neuron, formula=part)], tmp_path / "r.html").read_text("utf-8")
    assert len(text) < 300_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"formula": None}, "The symbolic engine was not asked"),
        ({"examples": None, "crosscheck": None}, "The example engine was not asked"),
        (
            {"formula": None, "failures": (("symbolic", "out of time"),)},
            "The symbolic engine stopped: out of time",
        ),
        (
            {"examples": None, "failures": (("gp", "too few points"),)},
            "The example engine stopped: too few points",
        ),
        ({"formula": None, "examples": None}, "The example engine was not asked"),
        ({"failures": (("suspects", "one class only"),)}, "suspects: one class only"),
    ],
)
def test_a_page_says_which_engine_is_absent_and_why(
    samples: ModuleType, tmp_path: Path, change: dict, said: str
) -> None:
    text = write([replace(samples.small(), **change)], tmp_path / "r.html").read_text("utf-8")
    assert said in text


def test_a_formula_that_is_not_claimed_is_typeset_and_marked(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.small()
    unclaimed = replace(neuron, verdict=Verdict.NONE, formula=replace(neuron.formula, verdict=Verdict.NONE))
    text = write([unclaimed], tmp_path / "r.html").read_text("utf-8")
    assert text.count("It is not claimed") == 1
    assert text.count("<math") == write([neuron], tmp_path / "s.html").read_text("utf-8").count("<math")


def test_contributions_that_cancel_are_not_called_an_explanation(samples: ModuleType, tmp_path: Path) -> None:
    neuron = samples.small()
    case = replace(neuron.examples.cases[0], cancellation=500.0, explains=False)
    cancelling = replace(neuron, examples=replace(neuron.examples, cases=(case,)))
    text = write([cancelling], tmp_path / "r.html").read_text("utf-8")
    assert "Contributions cancel 500 to 1" in text
    assert "Contributions cancel" not in write([neuron], tmp_path / "s.html").read_text("utf-8")


def test_emptiness_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="at least one neuron"):
        write([], tmp_path / "r.html")
    with pytest.raises(UsageError, match="item 0 is a str"):
        write(["fc[0]"], tmp_path / "r.html")  # type: ignore[list-item]
    with pytest.raises(UsageError, match="int is neither"):
        write(3, tmp_path / "r.html")  # type: ignore[arg-type]


def test_a_failed_write_leaves_the_old_report_whole(
    samples: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write([samples.small()], tmp_path / "r.html", "old")
    before = page.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ReportError, match="No space left on device") as raised:
        write([samples.small()], tmp_path / "r.html", "new")
    assert isinstance(raised.value, InterpretError)
    assert page.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_pages_can_be_read_by_others(samples: ModuleType, tmp_path: Path) -> None:
    page = write([samples.small()], tmp_path / "r.html")
    assert stat.S_IMODE(page.stat().st_mode) & 0o044 == 0o044


def test_a_heavy_picture_is_made_smaller(samples: ModuleType, tmp_path: Path) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    neuron = samples.small()
    pictures = tuple(Thumbnail(at, "image", png=buffer.getvalue()) for at in range(4))
    case = replace(neuron.examples.cases[0], thumbnail=pictures[0])
    part = replace(neuron.examples, thumbnails=pictures, cases=(case,))
    page = write([replace(neuron, examples=part)], tmp_path / "r.html")
    assert page.stat().st_size < 300_000
    sizes = re.findall(r'<img [^>]*width="(\d+)" height="(\d+)"', page.read_text("utf-8"))
    assert sizes
    assert set(sizes) == {("96", "72")}, "the shape is kept"


def test_failed_neurons_are_listed_with_their_error(samples: ModuleType, tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from fake_sweep import FakeSession

    from interpret.commands import verbs
    from interpret.sweep import Serial, sweep
    from interpret.sweeping.session import Order

    def swept(out: Path, *addresses: str) -> None:
        order = Order(model="net.py:model", data="0.0", neurons=addresses)
        sweep(order, out, executor=Serial(order, FakeSession(order)))

    for folder, good, said in (
        ("some", ["fc[0]"], "1 neuron of net:model, 1 failed"),
        ("none", [], "0 neurons of net:model, 1 failed"),
        ("many", [f"fc[{at}]" for at in range(MOST_IN_ONE_FILE + 1)], "21 neurons of net:model, 1 failed"),
    ):
        swept(tmp_path / folder, *good, "error[<b>]")
        output = tmp_path / f"{folder}.html"
        assert verbs.report(tmp_path / folder, output, None, quiet=True) == 0
        text = output.read_text("utf-8")
        assert said in text
        assert "Could not be explained" in text
        assert "error[&lt;b&gt;]" in text and "DeadUnit" in text and "error[&lt;b&gt;] is constant" in text
        assert ('data-verdict="' in text) == bool(good)
