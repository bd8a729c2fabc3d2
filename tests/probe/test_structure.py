"""Reaching into containers: what is picked is what was put, and nothing else changes."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interpret.probing.structure import children, leaves, mapped, pick, put, single

Point = collections.namedtuple("Point", ["x", "y"])


@dataclasses.dataclass
class Box:
    content: Any
    label: str = "box"


def nested(depth: int) -> st.SearchStrategy:
    leaf = st.integers(0, 99).map(lambda n: torch.tensor(float(n)))
    if depth == 0:
        return leaf
    inner = nested(depth - 1)
    return st.one_of(
        leaf,
        st.lists(inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.dictionaries(st.text(min_size=1, max_size=3), inner, min_size=1, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Box, inner),
    )


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    return (
        type(a) is type(b)
        and children(a).keys() == children(b).keys()
        and all(equal(children(a)[key], children(b)[key]) for key in children(a))
    )


@given(nested(3))
def test_putting_a_leaf_back_changes_nothing_and_another_changes_only_it(value: Any) -> None:
    for keys, leaf in leaves(value):
        assert pick(value, keys) is leaf
        assert equal(put(value, keys, leaf), value)
        changed = put(value, keys, leaf + 1)
        assert torch.equal(pick(changed, keys), leaf + 1)
        assert type(changed) is type(value)
        others = [(k, t) for k, t in leaves(changed) if k != keys]
        assert all(pick(value, k) is t for k, t in others)
        assert pick(value, keys) is leaf


@given(nested(2))
def test_mapping_twice_is_mapping_once_with_both(value: Any) -> None:
    assert equal(mapped(lambda t: t * 2 + 1, value), mapped(lambda t: t + 1, mapped(lambda t: t * 2, value)))


def test_positions_reach_from_the_end() -> None:
    a, b = torch.zeros(1), torch.ones(1)
    assert pick((a, b), ("-1",)) is b
    assert pick(Point(a, b), ("0",)) is a
    assert pick(Point(a, b), ("y",)) is b


def test_a_key_that_leads_nowhere_says_which_there_are() -> None:
    with pytest.raises(KeyError) as caught:
        pick({"a": {"b": torch.zeros(1)}}, ("a", "c"))
    assert caught.value.args == ("c", ("b",))


def test_a_subclass_of_dict_keeps_its_type_and_order() -> None:
    value = collections.OrderedDict(a=torch.zeros(1), b=torch.ones(1))
    changed = put(value, ("a",), torch.ones(2))
    assert type(changed) is collections.OrderedDict
    assert list(changed) == ["a", "b"]
    assert value["a"].shape == (1,)


def test_the_only_tensor_is_found_and_several_are_not() -> None:
    inner = torch.zeros(2)
    assert single({"a": (None, inner)}) == (("a", "1"), inner)
    both = (inner, inner)
    assert single(both) == ((), both)
