"""Public docstrings carry what the reference promises: every argument, shapes of arrays, what is raised."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gp
import interpret
import symbolic
from interpret import errors, explanation
from interpret.errors import UsageError
from symbolic.backends.base import Capabilities, Missing, SearchResult
from symbolic.backends.pysr_options import Made
from symbolic.formula import Coefficient, Control

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
                for method, member in vars(found).items():
                    value = getattr(member, "__func__", member)
                    if inspect.isfunction(value) and not method.startswith("_"):
                        yield f"{package.__name__}.{name}.{method}", value


FUNCTIONS = dict(functions())


def test_there_is_something_to_check() -> None:
    assert len(FUNCTIONS) > 40


@pytest.mark.parametrize("name", FUNCTIONS)
def test_documented(name: str) -> None:
    assert inspect.getdoc(FUNCTIONS[name]), name


def section(text: str, title: str) -> str:
    """What stands below a title of a docstring; "" where it has none."""
    match = re.search(rf"^{title}:\n((?:[ ].*\n?|\n)+)", inspect.cleandoc(text), re.MULTILINE)
    return match[1] if match else ""


def unlisted(found: Any, text: str) -> str:
    """What is wrong with the list of arguments: one that is missing, one that is not taken; "" where nothing is.

    Fewer than two arguments need no list. What is passed on under a keyword (``**filters``) is named somewhere.
    """
    parameters = [p for p in inspect.signature(found).parameters.values() if p.name not in ("self", "cls")]
    passed = {p.name for p in parameters if p.kind is p.VAR_KEYWORD}
    real = {p.name for p in parameters} - passed
    listed = set(re.findall(r"^    \*{0,2}(\w+):", section(text, "Args"), re.MULTILINE))
    if listed - real - passed:
        return f"documents {sorted(listed - real - passed)}, which it does not take"
    if (listed or len(parameters) > 1) and real - listed:
        return f"{sorted(real - listed)} undocumented"
    return "".join(f"says nothing of **{name}" for name in passed if name not in text)


def raised(found: Any) -> list[type[errors.InterpretError]]:
    """The project's errors that a function's own code raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(found)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    names = [call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
    return [vars(errors)[name] for name in names if name in vars(errors)]


def unsaid(found: Any, text: str) -> list[str]:
    """Errors of the project that a function raises and whose docstring names neither them nor a base of theirs."""
    said = set(re.findall(r"\w+", section(text, "Raises")))
    return [e.__name__ for e in raised(found) if not said & {base.__name__ for base in e.__mro__[:-2]}]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_listed_are_the_arguments(name: str) -> None:
    assert unlisted(FUNCTIONS[name], FUNCTIONS[name].__doc__ or "") == "", name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_raised_are_listed(name: str) -> None:
    assert unsaid(FUNCTIONS[name], FUNCTIONS[name].__doc__ or "") == [], name


def test_a_probe_is_made_as_its_class_says() -> None:
    made, text = interpret.Probe.__init__, interpret.Probe.__doc__ or ""
    assert unlisted(made, text) == ""
    assert unsaid(made, text) == []


def test_the_checks_see_enough() -> None:
    assert sum(len(inspect.signature(f).parameters) > 2 for f in FUNCTIONS.values()) > 20
    assert sum(name.count(".") == 2 and bool(raised(f)) for name, f in FUNCTIONS.items()) > 5


def test_the_checks_can_fail() -> None:
    def two(first: int, second: int, **others: int) -> None:
        """Takes what it is given."""

    def called(first: int, second: int) -> None:
        raise UsageError("as an example")

    whole = "Sums.\n\n    Args:\n        first: a.\n        second: b.\n        others: c.\n"
    assert unlisted(two, "") != ""
    assert unlisted(two, whole) == ""
    assert "third" in unlisted(two, whole.replace("second", "third"))
    assert "second" in unlisted(two, whole.replace("        second: b.\n", ""))
    assert "others" in unlisted(two, whole.replace("        others: c.\n", ""))
    assert unsaid(called, "") == ["UsageError"]
    assert unsaid(called, "Sums.\n\n    Raises:\n        BadInput: never.\n") == ["UsageError"]
    assert unsaid(called, "Sums.\n\n    Raises:\n        UsageError: always.\n") == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_have_shapes(name: str) -> None:
    found = FUNCTIONS[name]
    returns = str(inspect.signature(found).return_annotation)
    if ARRAYS.search(returns):
        assert SHAPE.search(inspect.getdoc(found) or ""), f"{name} returns {returns} of no stated shape"


def data_classes() -> Iterator[type]:
    """What an explanation consists of, and what a search backend is told and answers."""
    kinds = [member for member in vars(explanation).values() if inspect.isclass(member)]
    yield from (kind for kind in kinds if kind.__module__ == explanation.__name__)
    yield from (Coefficient, Control, Capabilities, Missing, SearchResult, Made)


@pytest.mark.parametrize("kind", [*data_classes()], ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_field_is_described(kind: type) -> None:
    """Also what an array's shape and type are; and the reference lists the class."""
    text = section(kind.__doc__ or "", "Attributes")
    said = dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE))
    assert list(said) == [field.name for field in dataclasses.fields(kind)]
    for field in dataclasses.fields(kind):
        if "Array" in str(field.type):
            assert re.match(r"\(\w+,[^)]*\) float64", said[field.name]), field.name
    pages = "".join(path.read_text(encoding="utf8") for path in (ROOT / "docs" / "reference").iterdir())
    assert re.search(rf"^::: {re.escape(kind.__module__)}\.{kind.__name__}$", pages, re.MULTILINE)


def test_docstrings_have_no_roles() -> None:
    """Which only Sphinx draws."""
    for package in ("interpret", "gp", "symbolic"):
        for path in (ROOT / package).rglob("*.py"):
            assert not re.search(r":[a-z]+:`", path.read_text(encoding="utf8")), path


def test_the_methods_name_their_source() -> None:
    for module, paper in (
        ("symbolic/api.py", "Wetzel"), ("gp/learned.py", "GPEX"), ("gp/objective.py", "GPEX"),
        ("gp/influence.py", "TRAK"), ("gp/tangent.py", "TRAK"), ("symbolic/structure.py", "AI Feynman"),
    ):  # fmt: skip
        assert paper in (ROOT / module).read_text(encoding="utf8"), module


def test_deliberate_errors_are_listed_by_the_entry_points() -> None:
    for name in ("interpret.explain", "interpret.compare", "gp.distill", "symbolic.fit", "symbolic.parse"):
        assert "Raises:" in (inspect.getdoc(FUNCTIONS[name]) or ""), name
