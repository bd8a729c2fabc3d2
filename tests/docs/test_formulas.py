"""Formulas of the documentation as MathML: bars of the size asked for, slanted letters, indices where they belong."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest


def drawn(hooks: dict[str, Any], latex: str) -> ET.Element:
    return ET.fromstring(re.sub(r' xmlns="[^"]*"', "", hooks["mathml"](latex, "inline")))


def test_large_bars_have_their_size(hooks: dict[str, Any]) -> None:
    left, right = drawn(hooks, r"\Bigl\lvert \frac1N \Bigr\rvert").iter("mo")
    assert (left.get("form"), right.get("form")) == ("prefix", "postfix")
    assert left.text == right.text == "|"
    assert left.get("minsize") == right.get("maxsize") == "1.8em"
    assert [mo.text for mo in drawn(hooks, r"\bigl(a\bigr)").iter("mo")] == ["(", ")"]


def test_bars_without_a_size_do_not_grow(hooks: dict[str, Any]) -> None:
    assert {mo.get("stretchy") for mo in drawn(hooks, r"\lVert a\rVert").iter("mo")} == {"false"}


def test_a_letter_with_a_prime_is_slanted(hooks: dict[str, Any]) -> None:
    assert [mi.text for mi in drawn(hooks, r"\varphi'").iter("mi")] == ["φ"]


@pytest.mark.parametrize(
    "latex", [r"\min_c a", r"\operatorname{var}_{-i}(x)", r"\cos^2 a", r"\max_{a}^{b} c"]
)
def test_a_name_with_an_index_has_no_other_child(hooks: dict[str, Any], latex: str) -> None:
    marked = [e for e in drawn(hooks, latex).iter() if re.fullmatch("m(sub|sup|under|over)+", e.tag)]
    assert marked
    assert all(len(e) == 2 + (e.tag in ("msubsup", "munderover")) for e in marked)


def test_missing_packages_are_a_failure_under_continuous_integration(
    needed: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        needed("no_such_package")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        needed("no_such_package")
