"""The grammar of addresses, what an index selects, and which addresses a model has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import interpret
from interpret.address import Address, Reduced, expand, parse, settle
from interpret.errors import AddressError, IndexOutOfRange
from interpret.probing.gather import REDUCTIONS, take


@pytest.mark.parametrize(
    ("text", "path", "call", "keys", "index"),
    [
        ("", "", None, (), None),
        ("fc1", "fc1", None, (), None),
        ("net.2[5]", "net.2", None, (), (5,)),
        ("[0]", "", None, (), (0,)),
        ("layer4.1.conv2[12, 3,3]", "layer4.1.conv2", None, (), (12, 3, 3)),
        ("output[-1, 42]", "output", None, (), (-1, 42)),
        ("fc@1[:]", "fc", 1, (), (slice(None, None),)),
        ("fc@-1", "fc", -1, (), None),
        ("lstm@0.1[…, 2]", "lstm", 0, ("1",), (Ellipsis, 2)),
        ("x[..., ::2]", "x", None, (), (Ellipsis, slice(None, None, 2))),
        ("x[*, 1:-1]", "x", None, (), (Reduced(), slice(1, -1))),
        ('heads["left.one"][0]', "heads", None, ("left.one",), (0,)),
        ("naïve_层.fc-1[0]", "naïve_层.fc-1", None, (), (0,)),
    ],
)
def test_what_a_text_means(text: str, path: str, call: int | None, keys: tuple, index: tuple | None) -> None:
    found = parse(text)
    assert (found.path, found.call, found.keys, found.index) == (path, call, keys, index)
    assert parse(found) is found
    assert parse(str(found)) == found


names = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters=".@[]\"',…"
    ),
    min_size=1,
)
items = st.one_of(
    st.integers(-99, 99),
    st.builds(slice, *[st.none() | st.integers(-9, 9)] * 2, st.none() | st.integers(-3, 3).filter(bool)),
    st.just(Reduced()),
)


@given(
    path=st.lists(names, min_size=1, max_size=3).map(".".join),
    call=st.none() | st.integers(-3, 3),
    index=st.none() | st.lists(items, min_size=1, max_size=4).map(tuple),
    dots=st.none() | st.integers(0, 4),
)
def test_every_address_reads_back_as_itself(
    path: str, call: int | None, index: tuple | None, dots: int | None
) -> None:
    if index is not None and dots is not None:
        index = (*index[:dots], Ellipsis, *index[dots:])
    address = Address(path, call, (), index)
    assert parse(str(address)) == address


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_named_error(text: str) -> None:
    try:
        found = parse(text)
    except AddressError as error:
        message = str(error)
    else:
        assert parse(str(found)) == found
        return
    assert "character" in message


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    index=st.lists(items, min_size=1, max_size=3).map(tuple),
    dots=st.none() | st.integers(0, 3),
)
def test_an_index_means_what_numpy_means(shape: tuple, index: tuple, dots: int | None) -> None:
    """Where no axis is reduced, values are NumPy's own, for every mixture of ints, slices and an ellipsis."""
    if dots is not None:
        index = (*index[:dots], Ellipsis, *index[dots:])
    array = np.random.default_rng(0).normal(size=(2, *shape))
    address = Address("x", None, (), index)
    plain = not any(isinstance(item, Reduced) for item in index)
    try:
        expected = array[(slice(None), *index)] if plain else None
    except IndexError:
        with pytest.raises(IndexOutOfRange):
            settle(address, shape)
        return
    if plain and expected.size == 0:
        with pytest.raises(IndexOutOfRange, match="selects nothing"):
            settle(address, shape)
        return
    try:
        settled = settle(address, shape)
    except IndexOutOfRange:
        assert not plain
        return
    found = take(torch.tensor(array), settled, "mean").numpy()
    if plain:
        missing = tuple(range(found.ndim, expected.ndim)) if dots is None else ()
        np.testing.assert_allclose(found, expected.mean(missing) if missing else expected)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_reduced_axes(reduce: str) -> None:
    value = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    by_hand = {
        "mean": torch.mean,
        "sum": torch.sum,
        "max": torch.amax,
        "min": torch.amin,
        "norm": torch.linalg.vector_norm,
    }
    for text, selected, axes in (
        ("x[1]", value[:, 1], (1, 2)),
        ("x[*, 2]", value[:, :, 2], (1, 2)),
        ("x[:, *, -1]", value[..., -1], (2,)),
        ("x[…, *]", value, (3,)),
    ):
        found = take(value, settle(parse(text), (3, 4, 5)), reduce)
        assert torch.allclose(found, by_hand[reduce](selected, dim=axes))


class Everything(nn.Module):
    """Something of every kind that is listed differently."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm, self.fc = nn.Conv2d(1, 3, 3), nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)
        self.shared, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        pixels = self.conv(x).flatten(2)
        out, _ = self.lstm(self.attn(pixels, pixels, pixels)[0])
        logits = self.shared(torch.relu(self.shared(self.fc(out[:, -1]))))
        return {"logits": logits, "hidden": out}


X = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype("float32")


def test_layers_lists_every_address_and_each_can_be_read() -> None:
    torch.manual_seed(0)
    model = Everything()
    found = {layer.path: layer for layer in interpret.layers(model, X)}
    assert list(found) == [
        "conv", "lstm.0", "lstm.1.0", "lstm.1.1", "fc", "shared", "unused",
        "attn.0", "attn.1", "attn.heads", "attn.out_proj", "logits", "hidden",
    ]  # fmt: skip
    assert (found["conv"].shape, found["conv"].units, found["conv"].parameters) == ((3, 2, 2), 3, 30)
    assert (found["lstm.0"].shape, found["lstm.0"].units) == ((3, 6), 6)
    assert (found["lstm.1.0"].shape, found["attn.1"].shape) == ((1, 6), (3, 3))
    assert (found["shared"].calls, found["fc"].calls, found["unused"].calls) == (2, 1, 0)
    assert (found["unused"].shape, found["unused"].units, found["unused"].parameters) == (None, None, 6)
    assert (found["hidden"].kind, found["hidden"].units) == ("Everything → hidden", 6)
    for layer in found.values():
        if layer.shape is not None and layer.calls == 1:
            probe = interpret.Probe(model, layer.path)
            assert tuple(probe.values(X).shape[1:]) == layer.shape
            units = expand(model, X, layer.path)
            assert len(units) == layer.units
            assert all(probe.at(unit).values(X).shape == (5,) for unit in units)


def test_layers_without_data_have_paths_and_parameters() -> None:
    found = interpret.layers(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    assert [(layer.path, layer.kind, layer.parameters) for layer in found] == [
        ("0", "Linear", 16),
        ("1", "ReLU", 0),
        ("", "Sequential", 16),
    ]
    assert {(layer.shape, layer.units, layer.calls) for layer in found} == {(None, None, None)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv", ["conv[0]", "conv[1]", "conv[2]"]),
        ("conv[0:2]", ["conv[0]", "conv[1]"]),
        ("conv[-1]", ["conv[2]"]),
        ("conv[1, 0, :]", ["conv[1, 0, 0]", "conv[1, 0, 1]"]),
        ("fc", ["fc[0]", "fc[1]"]),
        ("fc[::-1]", ["fc[1]", "fc[0]"]),
        ("lstm.0", [f"lstm.0[*, {u}]" for u in range(6)]),
        ("lstm.0[-1, 4:]", ["lstm.0[2, 4]", "lstm.0[2, 5]"]),
        ("shared@1[:]", ["shared@1[0]", "shared@1[1]"]),
        ("logits", ["logits[0]", "logits[1]"]),
        ("hidden[0, 5]", ["hidden[0, 5]"]),
    ],
)
def test_expand_gives_scalar_units(text: str, expected: list[str]) -> None:
    torch.manual_seed(0)
    model = Everything()
    assert expand(model, X, text) == expected
    for unit in expected:
        assert interpret.Probe(model, unit).values(X).shape == (5,)


def test_a_scalar_output_is_its_own_unit() -> None:
    class Scalar(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum((1, 2, 3))

    assert expand(Scalar(), X, "") == [""]
    assert interpret.Probe(Scalar(), "").gradients(X).shape == X.shape


def test_a_compiled_model_has_the_addresses_of_the_plain_one() -> None:
    plain = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    inner = nn.Sequential(torch.compile(nn.Linear(3, 2), backend="eager"), nn.ReLU())
    paths = [layer.path for layer in interpret.layers(plain)]
    assert [layer.path for layer in interpret.layers(torch.compile(plain, backend="eager"))] == paths
    assert [layer.path for layer in interpret.layers(inner)] == paths
    rows = torch.randn(4, 3)
    with torch.no_grad():
        assert torch.equal(interpret.Probe(inner, "0").values(rows), inner[0](rows))
    assert torch.equal(
        interpret.Probe(torch.compile(plain, backend="eager"), "_orig_mod.0").values(rows),
        interpret.Probe(plain, "0").values(rows),
    )
