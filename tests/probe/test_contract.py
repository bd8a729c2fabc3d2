"""One contract for every kind of module: values and gradients are plain autograd's, and nothing is left behind.

The reference is slow and independent of the probe: one forward hook that clones, and one backward per row and unit.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import weight_norm as old_weight_norm

import interpret
import interpret.probing.structure

N = 4


@dataclasses.dataclass
class Case:
    """A model, its data, a layer to look at, and how a person would read that layer's raw output, rows first."""

    name: str
    make: Callable[[], nn.Module]
    layer: str
    X: Callable[[], Any]
    module: str
    read: Callable[[Any], torch.Tensor] = lambda out: out
    wrt: str = ""
    call: int = 0
    options: dict = dataclasses.field(default_factory=dict)
    tolerance: float = 1e-6


def rows(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(N, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def tokens(vocabulary: int, length: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randint(vocabulary, (N, length), generator=torch.Generator().manual_seed(1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 2))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 2, 2),
        nn.Flatten(),
        nn.LazyLinear(2),
    )


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        self.conv2, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv2(self.relu(self.bn1(self.conv1(x))))
        out += x
        return self.relu(out)


class InPlaceSigmoid(nn.Module):
    """The sum changes what the sigmoid saved for its backward; a probe of ``fc`` must not care."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act, self.out = nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.fc(x))
        h.mul_(2).add_(1)
        return self.out(h)


class Overwritten(nn.Module):
    """The input of ``fc2``, which its backward goes through, is overwritten after ``fc2`` ran."""

    def __init__(self, in_place: bool = True) -> None:
        super().__init__()
        self.fc1, self.fc2, self.in_place = nn.Linear(3, 4), nn.Linear(4, 4), in_place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.fc1(x))
        y = torch.sin(self.fc2(h))
        return h.add_(y) if self.in_place else h + y


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(11, 4), nn.Linear(4, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.embed(ids)).mean(1))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.a(x)) * self.b(z)


class Returns(nn.Module):
    """A body whose output is wrapped in some container."""

    def __init__(self, wrap: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
        super().__init__()
        self.fc, self.wrap = nn.Linear(3, 4), wrap

    def forward(self, x: torch.Tensor) -> Any:
        h = self.fc(x)
        return self.wrap(torch.sin(h), h.square().sum(-1, keepdim=True))


class Wrapped(nn.Module):
    """What follows a module with a container for output must still get that container."""

    def __init__(self, wrap: Callable, unwrap: Callable) -> None:
        super().__init__()
        self.inner, self.unwrap, self.last = Returns(wrap), unwrap, nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.unwrap(self.inner(x)))


@dataclasses.dataclass
class Output:
    hidden: torch.Tensor
    energy: torch.Tensor


class ModelOutput(collections.OrderedDict):
    """As the widespread transformer libraries return: an ordered dict, a dataclass by feel, a tuple by position."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_tuple(self) -> tuple:
        return tuple(self.values())


Pair = collections.namedtuple("Pair", ["hidden", "energy"])  # the old form is what models return


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.fc(x)))


class Lists(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
        self.heads = nn.ModuleDict({"left": nn.Linear(3, 2), "right": nn.Linear(3, 4)})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for step in self.steps:
            x = torch.tanh(step(x))
        return {name: head(x) for name, head in self.heads.items()}


class Cube(torch.autograd.Function):
    """No batching rule, no forward mode, and Python in its backward."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grad * torch.from_numpy(3 * x.detach().numpy() ** 2)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3, 4), nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(Cube.apply(self.fc(x)))


class Straight(torch.autograd.Function):
    """A straight-through estimator whose gradient is not that of its values."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad


class Binarised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3, 4), nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(Straight.apply(self.fc(x)) + 0.1 * self.fc(x)))


class Gated(nn.Module):
    """Forward mode does not know no_grad; plain autograd does, and is what counts."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.gate = nn.Linear(2, 8), nn.Linear(2, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            gate = torch.sigmoid(self.gate(x))
        return torch.tanh(self.fc(x)) * gate


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = {name: p * self.scale for name, p in self.inner.named_parameters()}
        return torch.func.functional_call(self.inner, weights, (x,))


class Folded(nn.Module):
    """Rows and positions share one axis, as in patch and window layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.fc(x.reshape(-1, 3))
        return self.out(torch.tanh(flat)).reshape(len(x), -1, 2).sum(1)


class Caching(nn.Module):
    """Keeps its last activation on itself, as many research models do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(2, 4), nn.Linear(4, 8)
        self.last = torch.zeros(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = torch.tanh(self.fc(x))
        return torch.tanh(self.out(self.last))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True, dropout=0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.attn(x, x, x)
        return out + x


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(self.fc(x)).abs().square()


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4)), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False))


def compiled() -> nn.Module:
    return torch.compile(mlp(), backend="eager")


def parametrised() -> nn.Module:
    class Symmetric(nn.Module):
        def forward(self, w: torch.Tensor) -> torch.Tensor:
            return w.triu() + w.triu(1).T

    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    parametrize.register_parametrization(model[0], "weight", Symmetric())
    parametrize.register_parametrization(model[2], "weight", Symmetric())
    return model


def normed(norm: Callable) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(norm(nn.Linear(3, 4)), nn.Tanh(), norm(nn.Linear(4, 3)))


def traced() -> nn.Module:
    return torch.fx.symbolic_trace(Residual())


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)


def half() -> nn.Module:
    return mlp().to(torch.float16)


as_dict = {"wrap": lambda a, b: {"hidden": a, "energy": b}, "unwrap": lambda out: out["hidden"]}
CASES = [
    Case("mlp hidden layer", mlp, "0", rows(3), "0"),
    Case("mlp output layer", mlp, "3", rows(3), "3"),
    Case("mlp model output", mlp, "", rows(3), ""),
    Case("cnn conv before in-place relu", cnn, "0", rows(1, 6, 6), "0"),
    Case("cnn batch norm before in-place relu", cnn, "1", rows(1, 6, 6), "1"),
    Case("cnn in-place relu", cnn, "2", rows(1, 6, 6), "2"),
    Case("cnn head", cnn, "5", rows(1, 6, 6), "5"),
    Case("resnet block, added in place", Residual, "conv2", rows(2, 4, 4), "conv2"),
    Case("resnet block output", Residual, "", rows(2, 4, 4), ""),
    Case("values changed in place after use", InPlaceSigmoid, "act", rows(3), "act"),
    Case("linear before a value changed in place", InPlaceSigmoid, "fc", rows(3), "fc"),
    Case(
        "in-place module on the input",
        lambda: nn.Sequential(nn.ELU(inplace=True), nn.Linear(3, 2)),
        "1",
        rows(3),
        "1",
    ),
    Case("depthwise conv", lambda: nn.Conv2d(3, 6, 3, groups=3), "", rows(3, 4, 4), ""),
    Case(
        "transposed conv",
        lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2), nn.GELU()),
        "0",
        rows(2, 3, 3),
        "0",
    ),
    Case(
        "conv1d and instance norm",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.InstanceNorm1d(3)),
        "1",
        rows(2, 6),
        "1",
    ),
    Case(
        "conv3d and group norm",
        lambda: nn.Sequential(nn.Conv3d(1, 4, 2), nn.GroupNorm(2, 4)),
        "1",
        rows(1, 3, 3, 3),
        "1",
    ),
    Case(
        "pooling and softmax",
        lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Softmax(-1)),
        "2",
        rows(1, 4, 4),
        "2",
    ),
    Case(
        "lstm output sequence",
        lambda: nn.LSTM(3, 4, 2, batch_first=True),
        "0",
        rows(5, 3),
        "",
        lambda o: o[0],
    ),
    Case(
        "lstm last state",
        lambda: nn.LSTM(3, 4, 2, batch_first=True),
        "1.0",
        rows(5, 3),
        "",
        lambda o: o[1][0].transpose(0, 1),
    ),
    Case(
        "gru inside a model",
        lambda: nn.Sequential(nn.GRU(3, 4, batch_first=True)),
        "0.1",
        rows(5, 3),
        "0",
        lambda o: o[1].transpose(0, 1),
    ),
    Case("multi-head attention output", Attention, "attn.0", rows(3, 4), "attn", lambda o: o[0]),
    Case("multi-head attention weights", Attention, "attn.1", rows(3, 4), "attn", lambda o: o[1]),
    Case("transformer encoder layer, inner linear", encoder, "linear1", rows(3, 4), "linear1"),
    Case("transformer encoder layer output", encoder, "", rows(3, 4), ""),
    Case("embedding model, in the embedding", Embedded, "fc", tokens(11, 5), "fc", wrt="embed"),
    Case("latent code", mlp, "3", rows(3), "3", wrt="0"),
    Case("two inputs, in the second", TwoInputs, "", lambda: (rows(3)(), rows(2)()), "", wrt="1"),
    Case(
        "two named inputs, in the first", TwoInputs, "", lambda: {"x": rows(3)(), "z": rows(2)()}, "", wrt="x"
    ),
    Case("dict output", lambda: Returns(as_dict["wrap"]), "hidden", rows(3), "", lambda o: o["hidden"]),
    Case(
        "dict output inside",
        lambda: Wrapped(**as_dict),
        "inner.energy",
        rows(3),
        "inner",
        lambda o: o["energy"],
    ),
    Case("dataclass output", lambda: Returns(Output), "energy", rows(3), "", lambda o: o.energy),
    Case(
        "dataclass output inside",
        lambda: Wrapped(Output, lambda o: o.hidden),
        "inner.hidden",
        rows(3),
        "inner",
        lambda o: o.hidden,
    ),
    Case(
        "named tuple output inside",
        lambda: Wrapped(Pair, lambda o: o.hidden),
        "inner.hidden",
        rows(3),
        "inner",
        lambda o: o.hidden,
    ),
    Case(
        "model output inside",
        lambda: Wrapped(lambda a, b: ModelOutput(hidden=a, energy=b), lambda o: o.hidden),
        "inner.hidden",
        rows(3),
        "inner",
        lambda o: o["hidden"],
    ),
    Case(
        "nested list output",
        lambda: Returns(lambda a, b: [a, {"deep": (b, a)}]),
        "1.deep.1",
        rows(3),
        "",
        lambda o: o[1]["deep"][1],
    ),
    Case("shared module, first call", Shared, "fc@0", rows(3), "fc"),
    Case("shared module, second call", Shared, "fc@1", rows(3), "fc", call=1),
    Case("shared module, last call", Shared, "fc@-1", rows(3), "fc", call=1),
    Case("module list", Lists, "steps.1", rows(3), "steps.1"),
    Case("module dict", Lists, "heads.right", rows(3), "heads.right"),
    Case("parametrised weights", parametrised, "2", rows(3), "2"),
    Case("weight norm", normed(parametrizations.weight_norm), "2", rows(3), "2"),
    Case("spectral norm", normed(parametrizations.spectral_norm), "2", rows(3), "2"),
    Case("weight norm by hooks", normed(old_weight_norm), "2", rows(3), "2"),
    Case("custom autograd function", Custom, "out", rows(3), "out"),
    Case("straight-through estimator", Binarised, "out", rows(3), "out"),
    Case("a part without gradient", Gated, "", rows(2), ""),
    Case("functional_call wrapper", Functional, "inner.2", rows(3), "inner.2"),
    Case("rows and positions on one axis", Folded, "fc", rows(3, 3), "fc", lambda o: o.reshape(N, 3, 4)),
    Case("activation kept on the module", Caching, "", rows(2), ""),
    Case("complex numbers on the way", Fourier, "", rows(3), ""),
    Case("checkpointed body", Checkpointed, "out", rows(3), "out"),
    Case("traced graph", traced, "conv1", rows(2, 4, 4), "conv1"),
    Case("compiled", compiled, "3", rows(3), "3"),
    Case("half precision", half, "3", rows(3), "3", tolerance=2e-3),
    Case(
        "bilinear with custom forward",
        lambda: nn.Bilinear(3, 3, 2),
        "",
        rows(3),
        "",
        options={"forward": lambda m, x: m(x, x.flip(-1))},
    ),
]


def prepared(case: Case) -> tuple[nn.Module, Any]:
    """The model in train mode with frozen parts, stray gradients and a used random state: all of it must survive."""
    torch.manual_seed(0)
    model = case.make()
    with torch.no_grad():
        X = case.X()
        call(model.double() if case.name != "half precision" else model, as_model(X, model), case)
    model.train()
    parameters = list(model.parameters())
    for i, p in enumerate(parameters):
        p.requires_grad_(i % 2 == 0)
        p.grad = torch.full_like(p, 0.25) if i % 3 == 0 else None
    return model, X


def as_model(X: Any, model: nn.Module) -> Any:
    dtype = next((p.dtype for p in model.parameters()), torch.float64)
    return interpret.probing.structure.mapped(lambda t: t.to(dtype) if t.is_floating_point() else t, X)


def call(model: nn.Module, X: Any, case: Case) -> Any:
    if "forward" in case.options:
        return case.options["forward"](model, X)
    return model(**X) if isinstance(X, dict) else model(*X) if isinstance(X, tuple) else model(X)


def reference(model: nn.Module, X: Any, case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (N, *shape) and gradients (N, *shape, *wrt_shape), one backward per row and unit."""
    model = copy.deepcopy(getattr(model, "_orig_mod", model)).eval()
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    X = as_model(X, model)
    X = interpret.probing.structure.mapped(lambda t: t.clone().requires_grad_(t.is_floating_point()), X)
    seen: list[Any] = []
    place: list[torch.Tensor] = []

    def keep(module: nn.Module, args: Any, out: Any) -> Any:
        seen.append(out)
        return interpret.probing.structure.mapped(torch.clone, out)

    def root(module: nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:
        place.append(out.detach().clone().requires_grad_())
        return place[0].clone()

    known = dict(model.named_modules())
    if case.wrt in known and case.wrt:
        known[case.wrt].register_forward_hook(root)
    else:
        place.append(interpret.probing.structure.pick(X, tuple(filter(None, case.wrt.split(".")))))
    known[case.module].register_forward_hook(keep)
    call(model, interpret.probing.structure.mapped(torch.clone, X), case)
    torch.backends.mha.set_fastpath_enabled(fastpath)
    y = case.read(seen[case.call])
    flat = y.reshape(N, -1)
    grads = torch.zeros(N, flat.shape[1], *place[0].shape[1:], dtype=place[0].dtype)
    for n in range(N):
        for u in range(flat.shape[1]):
            (g,) = torch.autograd.grad(flat[n, u], place[0], retain_graph=True)
            assert not g[[m for m in range(N) if m != n]].any()
            grads[n, u] = g[n]
    return y.detach(), grads.reshape(*y.shape, *place[0].shape[1:])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_and_gradients_are_those_of_plain_autograd(case: Case, snapshot: Callable) -> None:
    model, X = prepared(case)
    values, gradients = reference(model, X, case)
    before, given = snapshot(model), interpret.probing.structure.mapped(torch.clone, X)
    for batch_size in (N, 3):
        probe = interpret.Probe(model, case.layer, wrt=case.wrt, batch_size=batch_size, **case.options)
        same(probe.values(X), values, case.tolerance)
        same(probe.gradients(X), gradients, case.tolerance)
        whole = case.layer + "[:]"
        trailing = tuple(range(2, values.ndim))
        by_unit = values.mean(trailing) if trailing else values
        grad_by_unit = gradients.mean(trailing) if trailing else gradients
        same(probe.at(whole).values(X), by_unit, case.tolerance)
        same(probe.at(whole).gradients(X), grad_by_unit, case.tolerance)
        for index in (0, -1, values.shape[1] - 1):
            unit = probe.at(f"{case.layer}[{index}]")
            same(unit.values(X), by_unit[:, index], case.tolerance)
            same(unit.gradients(X), grad_by_unit[:, index], case.tolerance)
    assert snapshot(model) == before
    for (_, a), (_, b) in zip(
        interpret.probing.structure.leaves(X), interpret.probing.structure.leaves(given), strict=True
    ):
        assert torch.equal(a, b), "the caller's data was changed"


def same(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert not found.requires_grad
    torch.testing.assert_close(found.double(), expected.double(), atol=tolerance, rtol=tolerance)


def test_the_catalogue_is_as_long_as_promised() -> None:
    assert len({case.make if isinstance(case.make, type) else case.name for case in CASES}) >= 25
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_backward_survives_what_the_rest_of_the_pass_overwrites() -> None:
    torch.manual_seed(0)
    model, twin = Overwritten().double(), Overwritten(in_place=False).double()
    twin.load_state_dict(model.state_dict())
    X = rows(3)()
    for address in ("fc2", "fc2[1]", "fc1[:]"):
        found = interpret.Probe(model, address, batch_size=3).gradients(X)
        same(found, interpret.Probe(twin, address, batch_size=3).gradients(X), 1e-12)
