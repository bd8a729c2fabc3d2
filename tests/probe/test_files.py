"""Data and models from files: names, units, kinds and values as they were written; no code is run from weights."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from interpret import Probe
from interpret.data import Data, as_batchable, check_names, load
from interpret.errors import InterpretError, LoadError, LoadRefused, NameMismatch
from interpret.inputs.tables import from_frame, with_units
from interpret.loading import load_model, read_weights

TABLE = "length [m],mass [kg],alive,colour,target\n1.5,2,True,red,0\n3,4.25,False,blue,1\n5,6,True,red,0\n"


def test_a_csv_carries_names_units_kinds_and_target(tmp_path: Path) -> None:
    path = tmp_path / "animals.csv"
    path.write_text(TABLE, encoding="utf-8-sig")
    data = load(path, categorical=["colour"])
    assert data.names == ("length", "mass", "alive", "colour")
    assert data.units == ("m", "kg", "", "")
    assert data.kinds == ("continuous", "continuous", "boolean", "categorical")
    assert (data.fixed, data.continuous) == ((2, 3), ("length", "mass"))
    assert data.categories == {"colour": ("blue", "red")}
    np.testing.assert_array_equal(as_batchable(data), [[1.5, 2, 1, 1], [3, 4.25, 0, 0], [5, 6, 1, 1]])
    np.testing.assert_array_equal(data.y, [0, 1, 0])
    assert data.path == str(path)


def test_declared_columns_of_a_file_have_no_derivative(tmp_path: Path) -> None:
    path = tmp_path / "animals.csv"
    path.write_text(TABLE)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    data = load(path, categorical=["colour"])
    for given_ in (data, data.X, data.rows(slice(0, 2)), data.rows(np.array([True, False, True]))):
        found = Probe(model, "2[0]").gradients(given_)
        assert found[:, :2].abs().min() > 0
        assert not found[:, 2:].any()
    assert Probe(model, "2[0]").gradients(as_batchable(data))[:, 2:].all()


@pytest.mark.parametrize("target", ["mass [kg]", "mass"])
def test_a_target_is_named_with_or_without_its_unit(tmp_path: Path, target: str) -> None:
    path = tmp_path / "animals.csv"
    path.write_text(TABLE)
    data = load(path, target=target, categorical=["colour"])
    assert data.names == ("length", "alive", "colour", "target")
    np.testing.assert_array_equal(data.y, [2, 4.25, 6])


def test_a_csv_without_names(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("1,2.5\n-3,4e2\n")
    data = load(path)
    assert data.names == ("x0", "x1")
    np.testing.assert_array_equal(data.X, [[1, 2.5], [-3, 400]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2,3\n2,3,4\n", "more fields than the 2 names.*row.names = FALSE"),
        (b"a,b\n1,2,3,4\n2,3,4,5\n", "more fields than the 2 names of the header; give every column a name"),
        (b"a,b\n1,2\n1,2,3\n", "line 3, saw 3$"),
        (b"a;b\r\n1.5;2\r\n", "separated by semicolons, not commas; save it with commas$"),
        (b"a;b\n1,5;2,5\n", "separated by semicolons.*points as decimal marks"),
        (b"1.5\t2.5\n3\t4\n", "separated by tabs"),
        (b'a,b\n"1,5",2\n', "column 'a' holds decimal commas.*decimal points"),
        ("größe,b\n1,2\n".encode("latin-1"), "is not UTF-8 text .byte 0xf6.; save it as UTF-8"),
        (b"a,b\n1,2\n1,\xe9\n", "save it as UTF-8"),
    ],
)
def test_a_table_of_another_kind_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InterpretError, match=said):
            load(path)


def test_delimiters_inside_names_and_at_the_end_of_rows_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a;b\n1\n2\n")
    assert load(path).names == ("a;b",)
    path.write_text("a,b\n1,2,\n3,4,\n")
    np.testing.assert_array_equal(load(path).X, [[1, 2], [3, 4]])


def test_text_labels_of_a_target_stay_text() -> None:
    data = from_frame(pd.DataFrame({"a": [1, 2], "label": ["cat", "dog"]}))
    assert (data.names, list(data.y)) == (("a",), ["cat", "dog"])


def test_units_that_would_make_names_equal_stay_in_the_names() -> None:
    assert with_units(["x [m]", "x [s]"]) == (["x [m]", "x [s]"], {})
    assert with_units(["x [m]", "a[0]", "b (cm)"]) == (["x", "a[0]", "b (cm)"], {"x": "m"})


def test_the_same_data_from_every_format(tmp_path: Path) -> None:
    X, y, names, units = (
        np.random.default_rng(0).normal(size=(6, 3)),
        np.arange(6),
        ["a", "b", "c"],
        ["m", "", "s"],
    )
    frame = pd.DataFrame(X, columns=["a [m]", "b", "c [s]"]).assign(target=y)
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    np.savez(tmp_path / "d.npz", X=X, y=y, names=names, units=units)
    meta = {"names": json.dumps(names), "units": json.dumps(units)}
    save_file({"X": torch.tensor(X), "y": torch.tensor(y)}, tmp_path / "d.safetensors", meta)
    for ending in ("csv", "parquet", "npz", "safetensors"):
        data = load(tmp_path / f"d.{ending}")
        np.testing.assert_allclose(as_batchable(data), X, rtol=1e-15)
        np.testing.assert_array_equal(data.y, y)
        assert (data.names, data.units) == (tuple(names), tuple(units)), ending
    assert load(tmp_path / "d.csv", units={"b": "K"}).units == ("m", "K", "s")


def test_units_in_the_metadata_of_parquet_fields(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    field = arrow.field("speed", arrow.float64(), metadata={"unit": "m/s"})
    parquet.write_table(arrow.table([[1.0, 2.0]], schema=arrow.schema([field])), tmp_path / "d.parquet")
    data = load(tmp_path / "d.parquet")
    assert (data.names, data.units) == (("speed",), ("m/s",))


def test_an_archive_of_several_inputs_feeds_a_model_by_name(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.fc = nn.Embedding(5, 3), nn.Linear(3, 2)

        def forward(self, ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return self.fc(self.embed(ids) * weight)

    np.savez(tmp_path / "d.npz", ids=np.arange(4), weight=np.ones((4, 3)))
    data = load(tmp_path / "d.npz")
    assert len(data) == 4
    probe = Probe(Two(), "fc[1]", wrt="weight", batch_size=3)
    assert probe.gradients(data).shape == (4, 3)
    assert probe.gradients(data.rows(slice(1, 3))).shape == (2, 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5))
def test_any_text_but_nul_and_duplicates_is_a_name(names: list[str]) -> None:
    bad = len(set(names)) < len(names) or any("\0" in name for name in names)
    if bad:
        with pytest.raises(NameMismatch):
            check_names(names)
    else:
        assert Data(np.zeros((1, len(names))), names=tuple(names)).names == tuple(names)


def test_a_name_of_ten_kilobytes_is_accepted_and_one_longer_is_not() -> None:
    check_names(["é" * 5120])
    with pytest.raises(NameMismatch, match="longer than 10 kB"):
        check_names(["é" * 5121])


MODEL = """
import torch
from torch import nn
from helper import width
torch.manual_seed(3)
ready = nn.Linear(width, 2)
def made():
    from helper import width
    return nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, 2))
class Box:
    inner = nn.Linear(2, 2)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "helper.py").write_text("width = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    return tmp_path


def test_models_by_file_module_and_attribute(folder: Path) -> None:
    path = list(sys.path)
    assert isinstance(load_model("net.py:ready"), nn.Linear)
    assert isinstance(load_model(f"{folder}/net.py:made"), nn.Sequential)
    assert isinstance(load_model("net.py:Box.inner"), nn.Linear)
    assert isinstance(load_model("torch.nn:Identity"), nn.Identity)
    assert sys.path == path


@pytest.mark.parametrize("ending", ["safetensors", "pt", "checkpoint"])
def test_weights_from_safetensors_and_state_dicts(folder: Path, ending: str) -> None:
    source = load_model("net.py:made")
    path = folder / f"weights.{ending}"
    if ending == "safetensors":
        save_file(source.state_dict(), path)
    else:
        state = source.state_dict()
        torch.save({"state_dict": state} if ending == "checkpoint" else state, path)
    loaded = load_model("net.py:made", path)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), loaded.parameters(), strict=True))


def test_weights_that_do_not_fit_change_nothing(folder: Path) -> None:
    model = load_model("net.py:ready")
    before = model.weight.detach().clone()
    torch.save({"weight": torch.zeros(2, 3)}, "part.pt")
    with pytest.raises(LoadError, match="lacks bias"):
        load_model("net.py:ready", "part.pt")
    assert torch.equal(model.weight, before)


class Evil:
    """What a malicious file asks for when it is unpickled."""

    def __init__(self, how: Any, *what: Any) -> None:
        self.how, self.what = how, what

    def __reduce__(self) -> tuple:
        return self.how, self.what


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.mkdir, "pwned"),
        Evil(os.system, "mkdir pwned"),
        Evil(eval, "__import__('os').mkdir('pwned')"),
        Evil(exec, "open('pwned', 'w')"),
    ],
    ids=["mkdir", "system", "eval", "exec"],
)
def test_a_malicious_pickle_is_refused(folder: Path, evil: Evil, protocol: int) -> None:
    torch.save({"weight": evil}, "checkpoint.pt", pickle_protocol=protocol)
    Path("plain.pt").write_bytes(pickle.dumps({"weight": evil}, protocol))
    Path("data.npy").write_bytes(pickle.dumps(evil, protocol))
    for name in ("checkpoint.pt", "plain.pt"):
        with pytest.raises(LoadRefused, match=f"{name} was refused"):
            read_weights(name)
        with pytest.raises(LoadRefused):
            load_model("net.py:ready", name)
    with pytest.raises(LoadRefused, match="pickle"):
        load("data.npy")
    assert not Path("pwned").exists()


def test_the_malicious_pickle_is_malicious(folder: Path) -> None:
    """The test above can fail: plain unpickling of the same bytes runs their code."""
    pickle.loads(pickle.dumps(Evil(os.mkdir, "pwned")))
    assert Path("pwned").is_dir()


def test_the_ground_imports_no_engine_and_nothing_heavy() -> None:
    code = (
        "import sys, interpret.probe, interpret.data, interpret.loading, interpret.probing.state\n"
        "heavy = {'pandas', 'sympy', 'gpytorch', 'matplotlib', 'sklearn', 'gp', 'symbolic', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
