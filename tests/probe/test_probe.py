"""What a probe does beyond one module kind: forms of data, wrt, streaming, early stop, ways to a Jacobian."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import interpret
from interpret import Probe
from interpret.data import Data
from interpret.probing.derivatives import Gradients
from interpret.probing.state import frozen

X = np.random.default_rng(0).normal(size=(11, 3))


def mlp(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    steps: list[nn.Module] = []
    for a, b in pairwise(widths):
        steps += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*steps[:-1]).double()


def plain_jacobian(model: nn.Module, X: np.ndarray) -> torch.Tensor:
    rows = [torch.autograd.functional.jacobian(model, row[None]) for row in torch.tensor(X)]
    return torch.stack([jacobian[0, :, 0] for jacobian in rows])


class Loader(Dataset):
    def __init__(self, labelled: bool) -> None:
        self.labelled = labelled

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> Any:
        return (torch.tensor(X[i]), i % 2) if self.labelled else torch.tensor(X[i])


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.tensor(X))


FORMS = {
    "array": X,
    "float32 array": X.astype("float32"),
    "strided array": np.concatenate([X, X], axis=1)[:, :3],
    "big-endian array": X.astype(">f8"),
    "read-only array": np.frombuffer(X.tobytes()).reshape(X.shape),
    "list of lists": X.tolist(),
    "tensor": torch.tensor(X),
    "tensor with gradient": torch.tensor(X, requires_grad=True),
    "frame": pd.DataFrame(X),
    "frame of mixed numbers": pd.DataFrame(
        {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2].astype("float32").astype("float64")}
    ),
    "tuple of one": (X,),
    "data": Data(X, names=("a", "b", "c")),
    "dataset": Loader(labelled=False),
    "dataset with labels": Loader(labelled=True),
    "tensor dataset": TensorDataset(torch.tensor(X), torch.arange(len(X))),
    "loader": DataLoader(Loader(labelled=True), batch_size=4),
    "iterable dataset": Endless(),
    "generator of batches": None,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same(form: str) -> None:
    model = mlp(3, 4, 2)
    probe = Probe(model, "[:]", batch_size=4)
    data = FORMS[form] if form != "generator of batches" else (X[i : i + 4] for i in range(0, len(X), 4))
    tolerance = 1e-6 if "float32" in form or "mixed" in form else 1e-12
    with torch.no_grad():
        expected = model(torch.tensor(X))
    torch.testing.assert_close(probe.values(data), expected, atol=tolerance, rtol=0)
    if form != "generator of batches":
        torch.testing.assert_close(probe.gradients(data), plain_jacobian(model, X), atol=tolerance, rtol=0)


def test_named_inputs_and_what_is_no_array_pass_through() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2).double()

        def forward(
            self, x: torch.Tensor, mask: torch.Tensor, scale: float, extra: None = None
        ) -> torch.Tensor:
            return self.fc(x * mask) * scale

    torch.manual_seed(0)
    model = Masked()
    batch = {"x": X, "mask": X > 0, "scale": 2.0, "extra": None}
    probe = Probe(model, "[0]", batch_size=4)
    assert torch.allclose(probe.gradients(batch), 2 * model.fc.weight.detach()[0] * torch.tensor(X > 0))


def test_a_forward_of_ones_own_gets_the_batch() -> None:
    model = mlp(3, 4, 2)
    probe = Probe(model, "0[1]", forward=lambda m, batch: m(batch["features"] * 2))
    batch = {"features": X, "label": np.zeros(11, int)}
    assert torch.allclose(probe.gradients(batch), 2 * model[0].weight.detach()[1].expand(11, 3))


def test_the_first_batch_runs_whole_and_later_ones_stop_at_the_probe() -> None:
    model = mlp(3, 5, 5, 2)
    ran: list[str] = []
    for name, module in model.named_children():
        module.register_forward_hook(lambda m, args, out, name=name: ran.append(name))
    Probe(model, "2[0]", batch_size=4).values(X)
    assert [ran.count(name) for name in ("0", "1", "2", "3", "4")] == [3, 3, 3, 1, 1]
    ran.clear()
    Probe(model, "2[0]", batch_size=4).gradients(X)
    assert [ran.count(name) for name in ("0", "1", "2", "3", "4")] == [3, 3, 3, 1, 1]


def test_the_backward_stops_at_wrt() -> None:
    model = mlp(3, 4, 4, 2)
    seen: list[str] = []
    model[0].register_full_backward_hook(lambda m, i, o: seen.append("0"))
    model[2].register_full_backward_hook(lambda m, i, o: seen.append("2"))
    Probe(model, "4[0]", wrt="1").gradients(X)
    assert set(seen) == {"2"}


def test_wrt_takes_part_of_a_place() -> None:
    model, columns = mlp(3, 5, 4), [0, 2]
    whole = plain_jacobian(model, X)
    assert torch.allclose(Probe(model, "[:]", wrt="[0::2]").gradients(X), whole[:, :, columns])
    assert torch.allclose(Probe(model, "[1]", wrt="[-1]").gradients(X), whole[:, 1, 2])
    assert torch.allclose(Probe(model, "[1]", wrt="input[1:]").gradients(X), whole[:, 1, 1:])


def test_declared_columns_have_no_derivative() -> None:
    model, whole = mlp(3, 5, 4), None
    whole = plain_jacobian(model, X)
    whole[..., 1] = 0
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    data = Data(X, names=("a", "b", "c")).declared(boolean=["b"])
    assert torch.allclose(Probe(model, "[:]").gradients(data), whole)
    assert torch.allclose(Probe(model, "[2]").gradients(data), whole[:, 2])
    flags = table.assign(b=(table["b"] > 0))
    found = Probe(model, "[:]").gradients(flags)
    assert not found[..., 1].any()
    assert found[..., 0].all()
    assert torch.allclose(Probe(model, "1", wrt="0").gradients(data), Probe(model, "1", wrt="0").gradients(X))


@pytest.mark.parametrize("what", ["values", "gradients"])
def test_a_stream_gives_the_rows_in_order(what: str) -> None:
    probe = Probe(mlp(3, 4, 2), "[:]", batch_size=4)
    parts = list(probe.stream(X, what=what))
    assert [(rows.start, rows.stop) for rows, _ in parts] == [(0, 4), (4, 8), (8, 11)]
    whole = probe.values(X) if what == "values" else probe.gradients(X)
    assert torch.equal(torch.cat([tensor for _, tensor in parts]), whole)


def test_a_memory_map_is_read_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, X)
    data = interpret.data.load(path)
    assert isinstance(data.X, np.memmap)
    probe = Probe(mlp(3, 4, 2), "[1]", batch_size=4)
    assert torch.equal(probe.gradients(data), probe.gradients(X))


def test_capture_reads_many_places_in_one_pass() -> None:
    model = mlp(3, 4, 2)
    calls: list[int] = []
    model[0].register_forward_hook(lambda m, args, out: calls.append(len(out)))
    found = Probe(model, batch_size=8).capture(X, ["0", "2[1]", ""])
    assert {path: tuple(tensor.shape) for path, tensor in found.items()} == {
        "0": (11, 4),
        "2[1]": (11,),
        "": (11, 2),
    }
    assert calls == [8, 3]
    with torch.no_grad():
        assert torch.equal(found["0"], model[0](torch.tensor(X)))
        assert torch.equal(found["2[1]"], found[""][:, 1])


@pytest.mark.parametrize("reduce", ["mean", "sum", "max", "min", "norm"])
def test_reductions_over_positions(reduce: str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 2).double()
    images = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    probe = Probe(conv, "[1]", reduce=reduce)
    out = conv(images.requires_grad_())[:, 1].reshape(5, -1)
    expected = {"max": out.amax(1), "min": out.amin(1), "norm": out.norm(dim=1)}.get(reduce)
    expected = getattr(out, reduce)(1) if expected is None else expected
    (gradient,) = torch.autograd.grad(expected.sum(), images)
    assert torch.allclose(probe.values(images), expected)
    assert torch.allclose(probe.gradients(images), gradient)
    assert torch.allclose(probe.at("[1, :, :]").values(images), conv(images)[:, 1])
    assert torch.allclose(probe.at("[1, *, 0]").values(images), REDUCE[reduce](conv(images)[:, 1, :, 0]))


REDUCE = {
    "mean": lambda t: t.mean(1),
    "sum": lambda t: t.sum(1),
    "max": lambda t: t.amax(1),
    "min": lambda t: t.amin(1),
    "norm": lambda t: t.norm(dim=1),
}


@pytest.mark.parametrize(
    ("widths", "way"), [((3, 8, 4), "direct"), ((3, 16, 16, 16, 32), "forward"), ((30, 8, 8, 4), "direct")]
)
def test_each_way_to_a_jacobian_is_plain_autograds(widths: tuple[int, ...], way: str) -> None:
    model = mlp(*widths)
    data = np.random.default_rng(1).normal(size=(9, widths[0]))
    expected = plain_jacobian(model, data)
    last = f"{2 * len(widths) - 4}"
    probe = Probe(model, f"{last}[:]", batch_size=5)
    assert chosen(probe, data) == way
    assert torch.allclose(probe.gradients(data), expected, atol=1e-12)
    for closed in ({"forward"}, {"direct"}, {"forward", "direct"}):
        assert torch.allclose(gradients_without(probe, data, closed), expected, atol=1e-12)


def chosen(probe: Probe, X: Any) -> str:
    read = Gradients(probe, ())
    with frozen(probe.model):
        for _, batch in probe.batches(X):
            read(batch)
    return read.way


def gradients_without(probe: Probe, X: Any, closed: set[str]) -> torch.Tensor:
    read = Gradients(probe, ())
    read.closed |= closed
    with frozen(probe.model):
        return torch.cat([read(batch) for _, batch in probe.batches(X)])


def test_a_way_that_disagrees_with_plain_autograd_is_not_taken() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.gate = nn.Linear(2, 16).double(), nn.Linear(2, 16).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                gate = torch.sigmoid(self.gate(x))
            return torch.tanh(self.fc(x)) * gate

    torch.manual_seed(0)
    probe = Probe(Gated(), "[:]")
    assert chosen(probe, X[:, :2]) == "reverse"


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 9),
    width=st.integers(1, 6),
    units=st.integers(1, 9),
    batch_size=st.integers(1, 12),
    chunk=st.sampled_from([1, 4096, 2**28]),
)
def test_neither_batches_nor_chunks_change_a_gradient(
    rows: int, width: int, units: int, batch_size: int, chunk: int
) -> None:
    model = mlp(width, 5, units, seed=rows)
    data = np.random.default_rng(rows).normal(size=(rows, width))
    found = Probe(model, "[:]", batch_size=batch_size, chunk_bytes=chunk).gradients(data)
    assert torch.allclose(found, plain_jacobian(model, data), atol=1e-12)


def test_dtypes_and_device_of_results() -> None:
    model = mlp(3, 4, 2)
    assert Probe(model, "[0]").values(X.astype("float32")).dtype is torch.float64
    assert Probe(model.float(), "[0]").values(X).dtype is torch.float32
    assert Probe(model, "[0]", dtype=torch.float64).gradients(X).dtype is torch.float64
    for half in (torch.float16, torch.bfloat16):
        model = mlp(3, 4, 2).to(half)
        for address in ("[0]", "[:]"):
            assert Probe(model, address).gradients(X).dtype is torch.float32
        assert Probe(model, "[0]", dtype=half).values(X).dtype is half
        assert Probe(model, wrt="0").gradients(X).dtype is torch.float32
    assert Probe(nn.Softplus(), "").values(X).dtype is torch.float64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_a_gpu() -> None:
    model = mlp(3, 8, 4)
    expected = Probe(model, "[:]").gradients(X)
    found = Probe(model.cuda(), "[:]").gradients(X)
    assert found.device.type == "cpu"
    assert torch.allclose(found, expected)
    assert Probe(model, "[:]", device="cuda").values(X).is_cuda


def test_a_reinitialised_control_has_other_weights_and_the_same_settings() -> None:
    model = mlp(3, 4, 2)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    probe = Probe(model, "[:]", batch_size=4)
    control = probe.reinitialized(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert (control.address, control.batch_size) == ("[:]", 4)
    assert not torch.allclose(control.values(X), probe.values(X))
    assert torch.equal(control.values(X), probe.reinitialized(3).values(X))
    assert not torch.equal(control.values(X), probe.reinitialized(4).values(X))


def test_a_batch_axis_is_told_from_one_that_is_as_long_by_chance() -> None:
    """Sequence length, hidden size and number of rows are all 4; the last state has its rows in the middle."""
    torch.manual_seed(0)
    lstm = nn.LSTM(4, 4, 4, batch_first=True).double()
    data = torch.randn(4, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        out, (h, _) = lstm(data)
    assert torch.allclose(Probe(lstm, "1.0").values(data), h.transpose(0, 1))
    assert torch.allclose(Probe(lstm, "0").values(data), out)
    for n in (1, 4):
        assert torch.allclose(Probe(lstm, "1.0[1, 2]").values(data[:n]), h[1, :n, 2])


class Attends(nn.Module):
    """Takes the mean map of its attention further, so that asking for heads must not change what it sees."""

    def __init__(self, need: bool, batch_first: bool = True) -> None:
        super().__init__()
        self.attn, self.need = nn.MultiheadAttention(4, 2, batch_first=batch_first, dropout=0.2), need
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.attn.batch_first:
            x = x.transpose(0, 1)
        attended, maps = self.attn(x, x, x, need_weights=self.need)
        attended = attended if self.attn.batch_first else attended.transpose(0, 1)
        return self.out(attended) if maps is None else self.out(maps @ attended)


@pytest.mark.parametrize("need", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_heads_have_addresses(need: bool, batch_first: bool) -> None:
    torch.manual_seed(0)
    model = Attends(need, batch_first).double().eval()
    rows = torch.randn(5, 3, 4, dtype=torch.float64)
    sequence = rows if batch_first else rows.transpose(0, 1)
    q, k, _ = (sequence @ model.attn.in_proj_weight.T + model.attn.in_proj_bias).chunk(3, -1)
    q, k = (t if batch_first else t.transpose(0, 1) for t in (q, k))
    q, k = (t.reshape(5, 3, 2, 2).transpose(1, 2) for t in (q, k))
    expected = torch.softmax(q @ k.transpose(-1, -2) / 2**0.5, -1)
    probe = Probe(model, "attn.heads", batch_size=3)
    assert torch.allclose(probe.values(rows), expected)
    assert torch.allclose(probe.at("attn.heads[1, 0, -1]").values(rows), expected[:, 1, 0, -1])
    assert probe.at("attn.heads[1, 0, -1]").gradients(rows).shape == (5, 3, 4)
    found = probe.capture(rows, ["attn.heads[0]", ""])
    with torch.no_grad():
        assert torch.allclose(found[""], model(rows))
    assert interpret.address.expand(model, rows, "attn.heads") == ["attn.heads[0]", "attn.heads[1]"]
    listed = {layer.path: layer for layer in interpret.layers(model, rows)}["attn.heads"]
    assert (listed.shape, listed.units) == ((2, 3, 3), 2)


def test_a_model_compiled_in_place() -> None:
    model = mlp(3, 5, 2)
    expected = Probe(model, "0[:]").gradients(X), Probe(model, "[:]").values(X)
    model.compile(backend="eager")
    model(torch.tensor(X))
    assert torch.equal(Probe(model, "0[:]").gradients(X), expected[0])
    assert torch.equal(Probe(model, "[:]").values(X), expected[1])


def test_lazy_and_quantised_models_say_what_they_can_do() -> None:
    with pytest.raises(interpret.errors.ModelError, match="lazy parameters"):
        Probe(nn.LazyLinear(3), "").values(X)
    with pytest.raises(interpret.errors.ModelError, match="integer type"):
        Probe(mlp(3, 2), "").values(X > 0)


def test_evaluation_does_not_call_a_models_own_eval() -> None:
    class Merges(nn.Linear):
        """As low-rank adapters do: eval() adds the update to the weights, train() takes it out again."""

        def train(self, mode: bool = True) -> Merges:
            with torch.no_grad():
                self.weight += 1
            return super().train(mode)

    model = Merges(3, 2)
    before = model.weight.detach().clone()
    Probe(model, "[0]").gradients(X)
    assert torch.equal(model.weight, before)
    assert model.training


def test_a_result_larger_than_memory_is_refused_before_it_is_computed() -> None:
    class Wide(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, :, None] * torch.ones(2048)).flatten(1)

    rows = np.ones((60_000, 256), dtype="float32")
    with pytest.raises(interpret.errors.BadInput, match=r"GB are free; address fewer units.*probe.stream"):
        Probe(Wide(), "[:]", batch_size=2).gradients(rows)


def test_ten_million_rows_stream_in_constant_memory(tmp_path: Path) -> None:
    """In a process of its own; what it prints is the memory above the model, in MiB; the file has 153."""
    script = Path(__file__).parents[2] / "benchmarks" / "probe.py"
    run = [sys.executable, str(script), "_stream", "gradients", "10000000", "4", "16384"]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path)
    above, _ = map(float, done.stdout.split())
    assert above < 120


def test_rows_that_influence_each_other_are_reported() -> None:
    coupled = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.warns(UserWarning, match="rows influence each other on the way to '1\\[:\\]'"):
        Probe(coupled, "1[:]").gradients(X)


@pytest.mark.filterwarnings("error")
def test_rows_that_do_not_are_not() -> None:
    Probe(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "1[:]").gradients(X)
    Probe(nn.LSTM(3, 4, batch_first=True), "1.0").gradients(X.reshape(-1, 1, 3).repeat(5, 1))
