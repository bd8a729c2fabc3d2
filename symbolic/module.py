"""A formula as a torch module: one small module per node, so that scripting, exporting and training see
plain torch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from interpret.errors import ExpressionError
from symbolic.expression import Apply, Constant, Leaf, Operators, Tree, Variable, fold
from symbolic.operators import lookup


class FormulaModule(nn.Module):
    """T(x) for x (..., d), giving (...), in the dtype of x.

    Each constant is a parameter, or a buffer where ``trainable`` is False; whole-number exponents are always
    buffers, because the derivative by an exponent does not exist for negative bases.
    """

    def __init__(self, tree: Tree, operators: Operators = None, trainable: bool = True) -> None:
        super().__init__()
        self.root = _build(tree, operators, trainable)

    def forward(self, x: Tensor) -> Tensor:
        """Values (...) at the points x (..., d)."""
        # A formula without variables still has one value for each point.
        value: Tensor = self.root(x)
        return value + torch.zeros_like(x[..., 0])


class _Variable(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[..., self.index]


class _Constant(nn.Module):
    def __init__(self, value: float, trainable: bool) -> None:
        super().__init__()
        tensor = torch.tensor(value, dtype=torch.float64)
        if trainable:
            self.value = nn.Parameter(tensor)
        else:
            self.register_buffer("value", tensor)

    def forward(self, x: Tensor) -> Tensor:
        # A scalar of another dtype does not promote x, so float32 points stay float32.
        return self.value


class _Unary(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], inner: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.inner(x))


class _Binary(nn.Module):
    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], left: nn.Module, right: nn.Module
    ) -> None:
        super().__init__()
        self.function = function
        self.left = left
        self.right = right

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.left(x), self.right(x))


def _cube(a: Tensor) -> Tensor:
    return a * a * a


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "/": torch.div,
    "^": torch.pow,
    "neg": torch.neg,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "abs": torch.abs,
    "square": torch.square,
    "cube": _cube,
    "inv": torch.reciprocal,
}


def _build(tree: Tree, operators: Operators, trainable: bool) -> nn.Module:
    def leaf(node: Leaf) -> nn.Module:
        return _Variable(node.index) if isinstance(node, Variable) else _Constant(node.value, trainable)

    def apply(node: Apply, parts: list[nn.Module]) -> nn.Module:
        function = _FUNCTIONS.get(node.name) or lookup(node.name, operators).torch
        if function is None:
            raise ExpressionError(
                f"operator {node.name!r} has no torch form; user_operator(torch=…) takes it"
            )
        if len(parts) == 1:
            return _Unary(function, parts[0])
        exponent = node.args[1]
        if node.name == "^" and isinstance(exponent, Constant) and exponent.value.is_integer():
            parts[1] = _Constant(exponent.value, trainable=False)
        return _Binary(function, parts[0], parts[1])

    return fold(tree, leaf, apply)
