"""Public docstrings carry what the reference promises: every argument, shapes of arrays, what is raised."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gp
import interpret
import symbolic

ROOT = Path(__file__).parents[2]
#: Words of a signature that say an array goes in or comes out.
ARRAYS = re.compile(r"ArrayLike|NDArray|Array\b|Tensor|Indices")
#: How a docstring gives a shape, or sends the reader to where one is given.
SHAPE = re.compile(r"\((?:[NnMGLDdKC]|\*\w+|\.\.\.)(?:, ?[^)]*)?\)|[Tt]he same as `")


def functions() -> Iterator[tuple[str, Any]]:
    """Functions and public methods that the packages' front pages offer."""
    for package in (interpret, gp, symbolic):
        for name in package.__all__:
            found = getattr(package, name)
            if inspect.isfunction(found):
                yield f"{package.__name__}.{name}", found
            elif inspect.isclass(found) and not issubclass(found, BaseException):
                for method, value in vars(found).items():
                    if inspect.isfunction(value) and not method.startswith("_"):
                        yield f"{package.__name__}.{name}.{method}", value


FUNCTIONS = dict(functions())


def test_there_is_something_to_check() -> None:
    assert len(FUNCTIONS) > 40


@pytest.mark.parametrize("name", FUNCTIONS)
def test_documented(name: str) -> None:
    assert inspect.getdoc(FUNCTIONS[name]), name


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n.count(".") == 1])
def test_arguments_listed_are_the_arguments(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    match = re.search(r"^Args:\n((?:[ ].*\n?|\n)+)", text, re.MULTILINE)
    if match is None:
        return
    listed = re.findall(r"^    (\w+):", match[1], re.MULTILINE)
    real = list(inspect.signature(FUNCTIONS[name]).parameters)
    assert set(listed) <= set(real), f"{name} documents what it does not take"
    assert set(real) - {"options"} <= set(listed) | {"options"}, (
        f"{name}: {set(real) - set(listed)} undocumented"
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_have_shapes(name: str) -> None:
    found = FUNCTIONS[name]
    returns = str(inspect.signature(found).return_annotation)
    if ARRAYS.search(returns):
        assert SHAPE.search(inspect.getdoc(found) or ""), f"{name} returns {returns} of no stated shape"


def test_the_methods_name_their_source() -> None:
    for module, paper in (
        ("symbolic/api.py", "Wetzel"), ("gp/learned.py", "GPEX"), ("gp/objective.py", "GPEX"),
        ("gp/influence.py", "TRAK"), ("gp/tangent.py", "TRAK"), ("symbolic/structure.py", "AI Feynman"),
    ):  # fmt: skip
        assert paper in (ROOT / module).read_text(encoding="utf8"), module


def test_deliberate_errors_are_listed_by_the_entry_points() -> None:
    for name in ("interpret.explain", "interpret.compare", "gp.distill", "symbolic.fit", "symbolic.parse"):
        assert "Raises:" in (inspect.getdoc(FUNCTIONS[name]) or ""), name
