# ruff: noqa: E501 - a table reads best with one case a line
"""Sixty and more wrong calls: each has a named error that says what was wrong, and the model is as it was found."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from interpret import Probe, errors, layers
from interpret.address import expand, parse
from interpret.data import Data, load
from interpret.errors import InterpretError
from interpret.loading import load_model, read_weights


class Net(nn.Module):
    """One of everything that can go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.drop, self.norm = nn.Linear(3, 5), nn.Dropout(0.5), nn.BatchNorm1d(5)
        self.fc2, self.unused, self.shared = nn.Linear(5, 2), nn.Linear(2, 2), nn.Linear(5, 5)
        self.pair, self.nothing, self.constant, self.label = Pair(), Nothing(), Constant(), Label()
        self.blocked = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        h = self.drop(self.norm(torch.relu(self.fc1(x))))
        h = self.shared(torch.tanh(self.shared(h)))
        self.nothing(h)
        out = self.fc2(h) + self.constant(h)
        return {
            "logits": out,
            "pair": self.pair(h),
            "label": self.label(out),
            "blocked": self.blocked(x.detach()),
        }


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"left": x, "right": x + 1}


class Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> str:
        return "no tensor"


class Constant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(7, 1).sum(0)


class Label(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.argmax(1)


class Raises(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("the model's own complaint")


class TwoFloats(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.fc(x) + self.fc(z)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(7, 3), nn.Linear(3, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.fc(self.embed(ids).mean(1))


class Evil:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pwned",)


NET, TWO, TOKENS, RAISES = Net(), TwoFloats(), Tokens(), Raises()
CONV, GRU, SMALL, META = (
    nn.Conv2d(3, 2, 3),
    nn.GRU(4, 2, batch_first=True),
    nn.Linear(2, 2),
    nn.Linear(3, 2, device="meta"),
)
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")


def probe(address: str = "fc1[0]", **options: Any) -> Probe:
    return Probe(NET, address, **options)


def with_value(value: float) -> np.ndarray:
    bad = X.copy()
    bad[4, 1] = value
    return bad


def image() -> np.ndarray:
    return np.zeros((2, 4, 8, 8), dtype="float32")


def write(name: str, text: str = "", data: bytes | None = None) -> str:
    Path(name).write_bytes(text.encode() if data is None else data)
    return name


def saved(name: str, value: Any) -> str:
    torch.save(value, name)
    return name


def pickled(name: str, value: Any) -> str:
    return write(name, data=pickle.dumps(value))


def arrays(name: str, **values: Any) -> str:
    np.savez(name, **values)
    return name


def model_file(text: str, attribute: str = "model") -> str:
    return write("net.py", "from torch import nn\n" + text) + ":" + attribute


FITTING = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
LINEAR = "model = nn.utils.skip_init(nn.Linear, 3, 2)"

CASES: list[tuple[str, Callable[[], Any], type[InterpretError], str]] = [
    # the text of an address
    ("an open bracket", lambda: probe("fc1["), errors.AddressError, r"text ends at character 5"),
    ("a name as index", lambda: probe("fc1[a]"), errors.AddressError, r"found 'a' at character 5"),
    ("a stray bracket", lambda: probe("fc1]"), errors.AddressError, r"found '\]' at character 4"),
    ("two dots", lambda: probe("fc1..x"), errors.AddressError, r"expected a module name; found '\.' at character 5"),
    ("a leading dot", lambda: probe(".fc1"), errors.AddressError, r"character 1"),
    ("a call that is no number", lambda: probe("fc1@x"), errors.AddressError, r"expected a call number"),
    ("two indices", lambda: probe("fc1[1][2]"), errors.AddressError, r"write \[3, 5\], not \[3\]\[5\]"),
    ("no comma", lambda: probe("fc1[1 2]"), errors.AddressError, r"expected ',' or '\]'"),
    ("two ellipses", lambda: probe("fc1[...,...]"), errors.AddressError, r"at most one '…'"),
    ("a step of zero", lambda: probe("fc1[::0]"), errors.AddressError, r"step of a slice is not 0"),
    ("empty brackets", lambda: probe("fc1[]"), errors.AddressError, r"expected an integer, a slice"),
    ("a space", lambda: parse("fc1 [0]"), errors.AddressError, r"found ' ' at character 4"),
    ("a number for an address", lambda: Probe(NET, 3), errors.AddressError, r"text such as 'fc1\[3\]'; got int"),
    ("a float for an index", lambda: probe("fc1[1.5]"), errors.AddressError, r"found '\.' at character 6"),
    # names that lead nowhere
    ("an unknown layer", lambda: probe("fc9[0]").values(X), errors.UnknownLayer, r"'fc9'.*nearest names: fc"),
    ("an unknown layer inside", lambda: probe("body.fc1").values(X), errors.UnknownLayer, r"nearest names: fc1"),
    ("a key into a linear layer", lambda: probe("fc1.weight"), errors.UnknownLayer, r"'weight' leads nowhere"),
    ("an unknown key", lambda: probe("pair.middle").values(X), errors.UnknownLayer, r"keys left, right"),
    ("an unknown output", lambda: probe("logit[0]").values(X), errors.UnknownLayer, r"keys logits, pair, label"),
    ("no tensor there", lambda: probe("nothing").values(X), errors.ModelError, r"holds no tensor but str"),
    ("several tensors", lambda: probe("pair[0]").values(X), errors.ModelError, r"2 tensors .*say which: left, right"),
    # indices
    ("an index too large", lambda: probe("fc1[5]").values(X), errors.IndexOutOfRange, r"index 5 .* size 5; use 0 to 4"),
    ("an index too negative", lambda: probe("fc1[-6]").values(X), errors.IndexOutOfRange, r"use 0 to 4, or -5 to -1"),
    ("too many indices", lambda: probe("fc1[0,0]").values(X), errors.IndexOutOfRange, r"2 indices.*1 axes"),
    ("an empty slice", lambda: probe("fc1[7:]").values(X), errors.IndexOutOfRange, r"selects nothing"),
    ("a second index too large", lambda: probe("fc1[…,9]").gradients(X), errors.IndexOutOfRange, r"index 9"),
    ("expanding out of range", lambda: expand(NET, X, "fc1[9]"), errors.IndexOutOfRange, r"index 9"),
    # modules that did not run as asked
    ("a module that never runs", lambda: probe("unused[0]").values(X), errors.NeverRan, r"'unused' \(Linear\) did not run"),
    ("a module that ran twice", lambda: probe("shared[0]").values(X), errors.RanTwice, r"ran 2 times.*shared@0 .*shared@1"),
    ("a third call of two", lambda: probe("shared@2[0]").values(X), errors.NeverRan, r"ran 2 times.*the last @1"),
    ("too far from the last call", lambda: probe("shared@-3[0]").values(X), errors.NeverRan, r"ran 2 times"),
    ("wrt that never runs", lambda: probe(wrt="unused").gradients(X), errors.NeverRan, r"'unused'"),
    ("wrt that ran twice", lambda: probe("fc2[0]", wrt="shared").gradients(X), errors.RanTwice, r"shared@1"),
    # gradients that do not exist
    ("wrt behind the unit", lambda: probe(wrt="fc2").gradients(X), errors.Unreachable, r"does not reach the unit"),
    ("wrt beside the unit", lambda: probe("blocked[0]").gradients(X), errors.Unreachable, r"detaches"),
    ("a whole layer cut off", lambda: probe("blocked[:]").gradients(X), errors.Unreachable, r"does not reach"),
    ("an integer unit", lambda: probe("label").gradients(X), errors.BadInput, r"holds torch.int64; gradients need float"),
    ("an unknown wrt", lambda: probe(wrt="fc8").gradients(X), errors.UnknownLayer, r"'fc8'"),
    ("a wrt column too far", lambda: probe(wrt="[3]").gradients(X), errors.IndexOutOfRange, r"index 3 .* size 3"),
    ("two float inputs", lambda: Probe(TWO, "").gradients((X, X)), errors.BadInput, r"say which with wrt=: '0', '1'"),
    ("a key of no input", lambda: Probe(TWO, "", wrt="input.y").gradients({"x": X, "z": X}), errors.UnknownLayer, r"keys x, z"),
    ("no batch axis", lambda: probe("constant").values(X), errors.ModelError, r"no axis of which follows the 6 rows"),
    # data
    ("a NaN", lambda: probe().values(with_value(np.nan)), errors.BadInput, r"1 values that are not finite.*nan at row 4, position \[1\]"),
    ("an infinity", lambda: probe(batch_size=2).values(with_value(np.inf)), errors.BadInput, r"inf at row 4"),
    ("a frame with a NaN", lambda: probe().gradients(pd.DataFrame(with_value(np.nan))), errors.BadInput, r"row 4"),
    ("integers where floats are needed", lambda: probe().gradients(np.ones((4, 3), int)), errors.BadInput, r"floating-point input; this one is torch.int64"),
    ("integer values", lambda: probe().values(np.ones((4, 3), int)), errors.ModelError, r"integer type where the model wants floats"),
    ("token ids without wrt", lambda: Probe(TOKENS, "fc[0]").gradients(np.ones((4, 3), int)), errors.BadInput, r"wrt='embed'"),
    ("a token outside the vocabulary", lambda: Probe(TOKENS, "fc[0]").values(np.full((4, 3), 7)), errors.BadInput, r"vocabulary of 'embed' \(0 to 6\)"),
    ("a wrong width", lambda: probe().values(X[:, :2]), errors.WidthMismatch, r"'fc1' takes 3 features, the batch is input \[6, 2\]"),
    ("wrong channels", lambda: Probe(CONV, "").values(image()), errors.WidthMismatch, r"takes 3 features"),
    ("a wrong sequence width", lambda: Probe(GRU, "0").values(np.zeros((2, 5, 3), "f4")), errors.WidthMismatch, r"takes 4 features"),
    ("no rows", lambda: probe().values(X[:0]), errors.TooFewPoints, r"no rows"),
    ("a single number", lambda: probe().values(np.float32(1)), errors.BadInput, r"expected an array"),
    ("nothing", lambda: probe().values(None), errors.BadInput, r"expected an array.*got NoneType"),
    ("text", lambda: probe().values("d.csv"), errors.BadInput, r"got str"),
    ("an array of text", lambda: probe().values(np.array([["a", "b", "c"]])), errors.BadInput, r"expected numbers, got dtype <U1"),
    ("ragged rows", lambda: probe().values([[1.0, 2.0], [3.0]]), errors.BadInput, r"different lengths"),
    ("a list of arrays", lambda: probe().values([X, X]), errors.BadInput, r"list of arrays is ambiguous"),
    ("inputs of different length", lambda: Probe(TWO, "").values((X, X[:4])), errors.BadInput, r"number of rows \(0: 6, 1: 4\)"),
    ("a column of text", lambda: probe().values(pd.DataFrame({"a": [1.0], "b": ["red"], "c": [2.0]})), errors.BadInput, r"column 'b' holds"),
    ("an argument too many", lambda: probe().values((X, X)), errors.ModelError, r"takes 2 positional arguments"),
    ("an unknown keyword", lambda: probe().values({"y": X}), errors.ModelError, r"unexpected keyword argument 'y'"),
    ("rows of different shape", lambda: Probe(nn.Identity(), "").values(iter([X])).sum() and Probe(nn.Identity(), "", batch_size=1).values(_Ragged()), errors.BadInput, r"pad the data"),
    # the call itself
    ("no model", lambda: Probe("net.py", "fc1"), errors.UsageError, r"takes a torch.nn.Module; got str"),
    ("an unknown reduction", lambda: probe(reduce="median"), errors.UsageError, r"reduce is one of mean, sum"),
    ("a batch of nothing", lambda: probe(batch_size=0), errors.UsageError, r"positive integer; got 0"),
    ("an integer dtype", lambda: probe(dtype=torch.int64), errors.UsageError, r"floating-point torch dtype"),
    ("streaming what is not there", lambda: list(probe().stream(X, what="weights")), errors.UsageError, r"'gradients' or 'values'"),
    ("a model that complains", lambda: Probe(RAISES, "fc").values(X), errors.ModelError, r"ValueError: the model's own complaint"),
    ("layers of a model that complains", lambda: layers(RAISES, X), errors.ModelError, r"own complaint"),
    ("a model without values", lambda: Probe(META, "").values(X), errors.ModelError, r"meta device"),
    # models and weights from files
    ("a model without attribute", lambda: load_model("net.py"), errors.LoadError, r"path/to/file.py:attr"),
    ("a missing file", lambda: load_model("no.py:model"), errors.LoadError, r"no such Python file: 'no.py'"),
    ("a missing package", lambda: load_model("no_such_package:model"), errors.LoadError, r"no module 'no_such_package'"),
    ("a missing attribute", lambda: load_model(model_file(LINEAR, "net")), errors.LoadError, r"no attribute 'net'; it has.*model"),
    ("a file with an error", lambda: load_model(model_file("1 / 0")), errors.LoadError, r"ZeroDivisionError"),
    ("a factory with arguments", lambda: load_model(model_file("def model(n): pass")), errors.LoadError, r"called without arguments: TypeError"),
    ("a factory of something else", lambda: load_model(model_file("def model(): return 3")), errors.LoadError, r"returns int"),
    ("neither model nor factory", lambda: load_model(model_file("model = 3")), errors.LoadError, r"is int, neither"),
    ("missing weights", lambda: load_model(model_file(LINEAR), "no.pt"), errors.LoadError, r"no such weights file"),
    ("a malicious pickle", lambda: read_weights(pickled("evil.pt", Evil())), errors.LoadRefused, r"evil.pt was refused.*would run code"),
    ("a malicious checkpoint", lambda: load_model(model_file(LINEAR), saved("evil.pth", {"weight": Evil()})), errors.LoadRefused, r"would run code"),
    ("a pickled model", lambda: read_weights(saved("model.pt", SMALL)), errors.LoadRefused, r"nn.modules.linear.Linear"),
    ("a truncated checkpoint", lambda: read_weights(write("cut.pt", data=Path(saved("w.pt", FITTING)).read_bytes()[:300])), errors.LoadError, r"cut.pt is no state dict that can be read"),
    ("an empty checkpoint", lambda: read_weights(write("empty.pt")), errors.LoadError, r"empty.pt"),
    ("a checkpoint of a list", lambda: read_weights(saved("list.pt", [1, 2])), errors.LoadError, r"holds list, not a state dict"),
    ("damaged safetensors", lambda: read_weights(write("bad.safetensors", "no")), errors.LoadError, r"not a safetensors file"),
    ("weights of another model", lambda: load_model(model_file(LINEAR), saved("w.pt", {"weight": torch.zeros(3, 3), "gain": torch.zeros(2)})), errors.LoadError, r"lacks bias; it has unknown gain; it has other shapes for weight"),
    # data files
    ("missing data", lambda: load("no.csv"), errors.LoadError, r"no such data file"),
    ("a folder of data", lambda: load("."), errors.LoadError, r"is a folder"),
    ("an unknown ending", lambda: load(write("d.xlsx")), errors.LoadError, r"read from .csv, .npz"),
    ("pickled data", lambda: load(pickled("d.pkl", Evil())), errors.LoadRefused, r"reading one runs code"),
    ("an empty table", lambda: load(write("d.csv")), errors.LoadError, r"is empty"),
    ("a header only", lambda: load(write("d.csv", "a,b\n")), errors.LoadError, r"no rows"),
    ("a name twice", lambda: load(write("d.csv", "a,a\n1,2\n")), errors.NameMismatch, r"columns 0 and 1 have the same name 'a'"),
    ("NUL in a name", lambda: Data(X, names=("a", "b\0", "c")), errors.NameMismatch, r"name 1 contains NUL"),
    ("undeclared text", lambda: load(write("d.csv", "a,b\n1,red\n")), errors.BadInput, r"'b' holds text \('red' in row 0\)"),
    ("a stray text among numbers", lambda: load(write("d.csv", "a,b\n1,2\n2,n/a?\n3,4\n")), errors.BadInput, r"'n/a\?' in row 1"),
    ("an empty cell", lambda: load(write("d.csv", "a,b\n1,2\n3,\n")), errors.BadInput, r"'b' has 1 empty cells, the first in row 1"),
    ("ragged lines", lambda: load(write("d.csv", "a,b\n1,2\n3,4,5\n")), errors.LoadError, r"d.csv is not a table"),
    ("no such target", lambda: load(write("d.csv", "a,b\n1,2\n"), target="y"), errors.NameMismatch, r"no column 'y'"),
    ("no such categorical column", lambda: load(write("d.csv", "a,b\n1,2\n"), categorical=["c"]), errors.NameMismatch, r"no column 'c'"),
    ("objects in an archive", lambda: load(arrays("o.npz", X=np.array([Evil()]))), errors.LoadRefused, r"runs code"),
    ("a damaged archive", lambda: load(write("d.npz", "no archive")), errors.LoadError, r"d.npz is damaged|d.npz holds"),
    ("an archive with wrong names", lambda: load(arrays("n.npz", X=X, names=["a"])), errors.NameMismatch, r"1 names for data of width 3"),
    ("a damaged Parquet file", lambda: load(write("d.parquet", "no")), errors.LoadError, r"not a Parquet file"),
    ("damaged tensors", lambda: load(write("d.safetensors", "no")), errors.LoadError, r"not a safetensors file"),
    ("names that do not fit", lambda: Data(X, names=("a", "b")), errors.NameMismatch, r"2 names for data of width 3"),
    ("units that do not fit", lambda: Data(X, names=("a", "b", "c"), units=("m",)), errors.NameMismatch, r"1 units for 3 names"),
    ("labels that do not fit", lambda: Data(X, np.zeros(4)), errors.BadInput, r"4 labels for 6 rows"),
]  # fmt: skip


class _Ragged(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.zeros(2 + i)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "wrong", "error", "message"), CASES, ids=[case[0] for case in CASES])
def test_a_wrong_call_is_named_and_nothing_is_left_behind(
    name: str, wrong: Callable[[], Any], error: type, message: str, snapshot: Callable
) -> None:
    NET.train()
    NET.fc1.weight.grad = torch.ones_like(NET.fc1.weight)
    NET.fc2.bias.requires_grad_(False)
    before = snapshot(NET)
    with pytest.raises(error, match=f"(?s){message}") as caught:
        wrong()
    assert type(caught.value) is error
    assert len(str(caught.value)) < 700
    assert snapshot(NET) == before
    assert not Path("pwned").exists()


def test_there_are_sixty_cases_with_names_of_their_own() -> None:
    assert len(CASES) >= 60
    assert len({case[0] for case in CASES}) == len(CASES)
